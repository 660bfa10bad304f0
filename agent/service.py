"""Runs the daemon: ticks on schedule, reloads and ends on signals, as systemd would have it."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import structlog

from agent.control import ControlServer
from agent.daemon import Daemon, log_left_alone
from agent.heap import give_back_large_blocks
from agent.host import read_config
from agent.notify import Notifier
from agent.schedule import Schedule
from agent.settings import Config
from agent.signals import Signals
from agent.sole import sole_agent
from agent.telemetry import configure
from agent.tenant import Resource

log = structlog.get_logger()


def run(path: Path, tenants_dir: Path) -> None:
    """Run the agent until SIGTERM or SIGINT; limits stay in force afterwards.

    Raises:
        ConfigError: The configuration is unusable at start.
        AgentRunningError: Another agent runs on this host, or sets limits for these tenants.
        OSError: A folder of the agent's own, or the tenants' parent, cannot be used; or there is
            no room for the threads that answer.

    """

    def reread(accepted: Mapping[Resource, float]) -> Config:
        return read_config(path, tenants_dir, accepted)

    give_back_large_blocks()
    config = reread({})
    configure(config.log.level)
    log_left_alone(config)
    config.host.state_dir.mkdir(parents=True, exist_ok=True)  # systemd made it; a person may not
    signals = Signals()
    signals.install()
    with ExitStack() as held:
        held.enter_context(sole_agent(config.host.runtime_dir))
        daemon = held.enter_context(closing(Daemon(config, reread)))
        server = ControlServer(
            config.host.socket_path,
            lambda: daemon.record,
            daemon.facts,
            push=daemon.pushed.push,
            pins=daemon.pins,
        )
        try:
            held.enter_context(server)
        except RuntimeError as error:
            hint = "see `ulimit -u`, and TasksMax= of the service"
            raise OSError(f"the control socket cannot be served ({error}): {hint}") from error
        serve(daemon, signals, Notifier.from_environment())
    log.info("stopped; limits stay in force (`tidegate release` takes them back)")


def serve(daemon: Daemon, signals: Signals, notifier: Notifier) -> None:
    """Tick on schedule until told to stop; systemd hears only of ticks that went well."""
    schedule = Schedule(time.monotonic(), daemon.config.periods.tick_s)
    said = ""
    while not signals.stop:
        is_well = daemon.tick(time.monotonic(), schedule.late_ticks)
        if is_well:
            notifier.watchdog()
            summary = daemon.summary()
            if not said:
                notifier.ready(summary)
            elif summary != said:
                notifier.status(summary)
            said = summary
        schedule = schedule.after_tick(time.monotonic(), daemon.thrift.every)
        beat = notifier if is_well else Notifier()
        while not _waited(schedule, daemon, signals, beat) and not signals.stop:
            schedule = _reloaded(schedule, daemon, signals, notifier)
    notifier.stopping()


def _reloaded(schedule: Schedule, daemon: Daemon, signals: Signals, notifier: Notifier) -> Schedule:
    """End the reload whose files are read, or begin the one that was asked for.

    One that is asked for meanwhile begins after it: files may have changed behind the reader.
    """
    if daemon.has_loaded:
        daemon.end_reload()
        notifier.ready(daemon.summary())
        return schedule.under(daemon.config.periods.tick_s, time.monotonic())
    signals.reload = False
    notifier.reloading()
    daemon.begin_reload(signals.wake)
    return schedule


def _waited(schedule: Schedule, daemon: Daemon, signals: Signals, notifier: Notifier) -> bool:
    """Sleep until the next tick is due, with a sign of life where that is long.

    Returns:
        False where there is something else to do before it is due.

    """
    while True:
        if signals.stop or daemon.has_loaded or (signals.reload and not daemon.is_reloading):
            return False
        wait_s = schedule.wait_s(time.monotonic())
        if wait_s <= 0:
            return True
        signals.wait(min(wait_s, (notifier.watchdog_s or 2 * wait_s) / 2))
        notifier.watchdog()
