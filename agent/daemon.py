"""The daemon: the timer, the watchdog and reloads around the control loop."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import numpy as np
import structlog

from agent.audit import log_drift, log_grants
from agent.calendar import Calendar
from agent.config import ConfigError, check_reload
from agent.forecaster import Forecaster
from agent.handles import opened_kernel
from agent.host import read_machine
from agent.indicators import LeadingIndicators
from agent.loading import Loading
from agent.metric_files import MetricFiles
from agent.paths import ORIGINALS_NAME
from agent.persistence import Persistence, unix_now_s
from agent.pinboard import PinBoard
from agent.policy import (
    calendar_plan,
    forecast_settings,
    loop_settings,
    policy_of,
    thrift_of,
    uplinks_of,
)
from agent.ports import Kernel
from agent.promises import left_alone_text
from agent.pushed import PushedMetrics
from agent.record import TickRecord
from agent.release import Unenforced, enforced_names
from agent.releasing import Releasing
from agent.settings import Config
from agent.sole import AgentRunningError, RootLock, other_agent
from agent.sources import Sources
from agent.status import AgentFacts
from agent.telemetry import configure
from agent.tenant import Resource, Roster
from agent.tenant_places import TenantPlaces
from agent.tick import ControlLoop, LoopSettings
from agent.verdicts import log_verdicts
from agent.wording import enforcing_text
from enforce.made import ensure
from enforce.originals import Originals

log = structlog.get_logger()

_LAST_WAIT_S = 1.0  # for a release that is under way when the agent stops


class Daemon:
    """Everything that lives as long as the process: kernel handles, child, server, last record."""

    def __init__(
        self,
        config: Config,
        reread: Callable[[Mapping[Resource, float]], Config],
        read_machine: Callable[[], Mapping[Resource, float]] = read_machine,
    ) -> None:
        self.config, self._reread = config, reread
        self._read_machine, self._machine = read_machine, read_machine()
        self.record: TickRecord | None = None
        self.reload_problem: str | None = None
        self._reloads_begun = self._reloads_ended = 0
        self._releasing: Releasing | None = None
        # A reload, with the release that is under way; and as long as no tick has gone by since.
        self._is_ending = self._is_untold = False
        self._wake: Callable[[], None] | None = None
        self.failed_ticks, self._steps_saved, self._tick_cost_s = 0, 0, float("nan")
        self.thrift, self._ticked_at_s = thrift_of(config), float("inf")
        self._root_lock: RootLock | None = None
        self._root_lock = self._lock_for(config)
        self._kept = Persistence(config.host.state_dir, config.host.runtime_dir)
        self._originals = _opened_originals(config)
        self._roster = Roster.of(config.tenants, config.resources)
        self._had_tenants, self._unmade = bool(config.tenants), dict[str, str]()
        self._tenant_places = TenantPlaces(config, self._roster)
        self._release_unenforced()
        self._make_cgroups(self._roster.names)
        places = self._tenant_places.places
        self._kernel = opened_kernel(config, self._roster, places, self._originals)
        self._loading: Loading | None = None
        self._forecaster = Forecaster(
            forecast_settings(config), hung_after_s=config.forecast.hung_after_s
        )
        self._loop = ControlLoop(
            self._roster,
            policy_of(config.on(self._machine)),
            self._loop_settings(),
            kernel=self._kernel,
            forecaster=self._forecaster,
            ledgers=self._kept.ledgers(self._roster),
        )
        self._loop.watch_drift(config.drift, self._kept.pins)
        self.pushed, self._metric_files = PushedMetrics(), MetricFiles(_metric_paths(config))
        self._indicators = LeadingIndicators(
            self._roster, self._loop.policy.foreseen, (self._metric_files, self.pushed)
        )
        self._sources = Sources(calendar_plan(config))
        self._calendar = self._begun_calendar()
        self._begin_with_past(config)

    def _begun_calendar(self) -> Calendar:
        return Calendar(
            self._sources.plan,
            self._roster,
            self._loop.policy.foreseen,
            clock=unix_now_s,
            store=self._kept.learned,
            expand=self._sources.expanded,
        )

    def _begin_with_past(self, config: Config) -> None:
        """Go on from what an earlier agent recorded, and from the last counters that it saw."""
        self._loop.adjusting = (self._indicators, self._calendar)
        policy, settings = self._loop.policy, forecast_settings(config)
        self._kept.recall(self._forecaster, self._roster, policy, settings)
        sample = self._kept.last_sample(self._roster, config.disks)
        self._loop.resume(sample, time.monotonic())

    def close(self) -> None:
        """Let go of everything; limits stay as they are (fail static)."""
        self._kept.keep(self._roster, self._loop.ledgers)
        self._kept.close()
        self._metric_files.close()
        self._forecaster.close()
        self._kernel.close()
        if self._releasing is not None:
            self._releasing.wait(_LAST_WAIT_S)
        if self._root_lock is not None:
            self._root_lock.close()

    @property
    def pins(self) -> PinBoard:
        """Return what keeps pins; threads may use it."""
        return self._kept.pins

    def facts(self) -> AgentFacts:
        """Return what the daemon knows of itself, for the control socket."""
        return AgentFacts(
            tick_s=self.thrift.period_s,
            tick_cost_s=self._tick_cost_s,
            failed_ticks=self.failed_ticks,
            pid=os.getpid(),
            reloads_begun=self._reloads_begun,
            reloads_ended=self._reloads_ended - self._is_reload_under_way,
            reload_problem=self.reload_problem,
            state_problem=self._kept.state_problem,
            history_problem=self._kept.history_problem,
            events_problem=self._calendar.problem,
            source_problems=self._sources.problems,
            uplift_problem=self._kept.learned.problem,
            originals_problem=self._originals.problem,
            release_problem=self._release_problem,
            thrift_problem=self.thrift.problem,
            pins_problem=self.pins.problem,
            checkpoint_problem=self._kept.checkpoint_problem,
            places_problem=self._tenant_places.problem,
            metrics_problem=self._metric_files.problem or self._indicators.problem,
            horizons_s=self._horizons_s,
        )

    @property
    def _is_reload_under_way(self) -> bool:
        """Say whether what was read is in force, and not yet in all that is asked for."""
        return self._is_untold or (self._is_ending and self.is_releasing)

    @property
    def _horizons_s(self) -> tuple[float, ...]:
        settings = forecast_settings(self.config)
        return tuple(steps * settings.step_s for steps in settings.horizons_steps)

    def summary(self) -> str:
        """Return one line for `systemctl status`."""
        observed = int(self._roster.is_observed_only.sum())
        is_observing = self.config.host.is_observing
        doing = enforcing_text(len(self._roster), observed, is_observing=is_observing)
        problem = f"; reload refused: {self.reload_problem}" if self.reload_problem else ""
        failing = f"; {self.failed_ticks} ticks FAILED" if self.failed_ticks else ""
        return f"{doing}{failing}{problem}"

    def tick(self, now_s: float, late_ticks: int) -> bool:
        """Run one tick; return whether it went well.

        A fault in it is logged and counted, and the limits stay; as do they where another agent
        has come to set limits for the tenants.
        """
        began_s, failed_before = time.process_time(), self.failed_ticks
        thread_began_s = time.thread_time()
        try:
            self._keep_root_lock()
            self._tend_cgroups()
            record = self._loop.tick(now_s, late_ticks=late_ticks)
            record = replace(
                record, indicators=self._indicators.tick(), agenda=self._calendar.agenda
            )
            self._kept.checkpoint(self._roster, self._loop.ledgers, record.sample)
            before, self.record = self.record, record
            log_grants(before, self.record)
            log_drift(self.record)
            log_verdicts(before, self.record)
            if self._loop.steps_closed != self._steps_saved:
                self._follow_machine()
        except AgentRunningError as error:
            self.failed_ticks += 1
            log.error("not ticking beside another agent", problem=str(error))  # noqa: TRY400
        except Exception:
            self.failed_ticks += 1
            log.exception("tick failed; limits stay as they are", failed_ticks=self.failed_ticks)
        self._is_untold, self._tick_cost_s = False, time.process_time() - began_s
        if self._loop.steps_closed != self._steps_saved:
            self._keep_step()
            self._steps_saved = self._loop.steps_closed
            if self._release_problem is not None and not self.is_releasing:
                self._is_ending = False
                self._release_unenforced()
        self._spent(time.thread_time() - thread_began_s, now_s)
        return self.failed_ticks == failed_before

    def _keep_step(self) -> None:
        """Keep balances, and the step that has just ended; a fault in it is logged."""
        loop = self._loop
        try:
            self._kept.keep(self._roster, loop.ledgers)
            if loop.closed is not None:
                step_s = loop.settings.step_s
                self._kept.record(loop.closed, self._roster, loop.policy, step_s=step_s)
        except Exception:
            log.exception("step not kept")

    def _follow_machine(self) -> None:
        """Divide what the machine has by now: CPUs go offline, memory is taken by a balloon."""
        before, self._machine = self._machine, self._read_machine()
        if self._machine == before:
            return
        self._loop.adapt(policy_of(self.config.on(self._machine)))
        has = {str(resource): amount for resource, amount in self._machine.items()}
        log.warning("the machine has another capacity", **has)

    def _spent(self, cost_s: float, now_s: float) -> None:
        """Book what a tick cost, and leave out as many as it takes to keep within the budget."""
        before, elapsed_s = self.thrift, now_s - self._ticked_at_s
        self.thrift, self._ticked_at_s = before.after_tick(cost_s, elapsed_s), now_s
        if self.thrift.every == before.every:
            return
        self._loop.settings = self._loop_settings()
        log.warning("ticking at another pace", period_s=self.thrift.period_s)

    @property
    def is_reloading(self) -> bool:
        """Say whether a reload has begun and not ended."""
        return self._loading is not None

    @property
    def has_loaded(self) -> bool:
        """Say whether there is a reload to end: not while one before it still lets go of limits."""
        return self._loading is not None and self._loading.is_done and not self.is_releasing

    @property
    def is_releasing(self) -> bool:
        """Say whether limits are being taken back beside the ticks."""
        return self._releasing is not None and not self._releasing.is_done

    @property
    def _release_problem(self) -> str | None:
        return None if self._releasing is None else self._releasing.problem

    def begin_reload(self, wake: Callable[[], None]) -> None:
        """Begin to read the configuration, and call `wake` when that is done; ticks may go on."""
        self._reloads_begun += 1
        self._wake = wake
        accepted = self.config.machine
        self._loading = Loading(lambda: self._reread(accepted), wake)

    def end_reload(self) -> None:
        """Apply the configuration that was read, or keep the old one and say why.

        To be called between ticks, once `has_loaded`.
        """
        loading, self._loading = self._loading, None
        if loading is not None:
            self.reload_problem = self._problem_of(loading)
            self._reloads_ended += 1

    def _problem_of(self, loading: Loading) -> str | None:
        """Apply what was read; return why it was refused, if it was."""
        try:
            config = loading.config()
            check_reload(self.config, config)
            self._adopt(config)
        except (ConfigError, AgentRunningError, OSError) as error:
            log.warning("reload refused: the old configuration stays", problem=str(error))
            return str(error)
        log.info("configuration reloaded", tenants=len(self._roster))
        log_left_alone(config)
        return None

    def _adopt(self, config: Config) -> None:
        """Go on under `config`; where that fails, nothing has changed.

        Raises:
            AgentRunningError: Another agent sets limits there.
            OSError: Too few descriptors are left, or the tenants' parent cannot be made.

        """
        roster, old = Roster.of(config.tenants, config.resources), self._kernel
        tenant_places = TenantPlaces(config, roster)
        with ExitStack() as undo:
            kernel = opened_kernel(config, roster, tenant_places.places, self._originals)
            undo.callback(kernel.close)
            lock = self._lock_for(config)
            undo.pop_all()
        self.config, self._roster, self._kernel = config, roster, kernel
        self._tenant_places = tenant_places
        configure(config.log.level)
        self._make_cgroups(roster.names)
        self.thrift = self.thrift.under(thrift_of(config))
        self._had_tenants |= bool(config.tenants)
        policy = policy_of(config.on(self._machine))
        plan = self._sources.followed(calendar_plan(config), self._calendar.agenda)
        self._calendar.replan(plan)
        self._loop.drift.settings = config.drift
        self._loop.reconfigure(roster, policy, self._loop_settings(), kernel=kernel)
        self._metric_files.reconfigure(_metric_paths(config))
        self._root_lock, unlocked = lock, self._root_lock if lock is None else None
        self._release_unenforced(old, unlocked)
        self._is_ending = self._is_untold = True
        self._forecaster.reconfigure(
            forecast_settings(config), hung_after_s=config.forecast.hung_after_s
        )

    def _lock_for(self, config: Config) -> RootLock | None:
        """Return the lock on the tenants' parent; who only observes does without.

        Raises:
            AgentRunningError: Another agent sets limits there.
            OSError: The parent cannot be made.

        """
        root = config.host.cgroup_root
        if not config.host.is_observing:
            return self._root_lock or RootLock(root)
        other = other_agent(root)
        if other is not None:
            log.warning("only observing what another agent limits", problem=str(other))
        return None

    def _keep_root_lock(self) -> None:
        """Lock the tenants' parent again where it was removed: the lock went with it.

        Raises:
            AgentRunningError: Another agent was faster.

        """
        if self._root_lock is None or self._root_lock.is_current():
            return
        with suppress(OSError):  # it cannot be made now: nothing can be written there either
            lock = RootLock(self.config.host.cgroup_root)
            self._root_lock.close()
            self._root_lock = lock

    def _tend_cgroups(self) -> None:
        """See to tenants' cgroups before a tick: ours are made, units' get their files."""
        self._make_cgroups(self._absent())
        if (roster := self._tenant_places.capped()) is not None:
            self._loop.cap(roster)
        if self.record is not None and self.record.roster.names is self._roster.names:
            self._tenant_places.open_up(self.record, self._kernel.applier)

    def _absent(self) -> tuple[str, ...]:
        """Return the tenants whose cgroup the last tick did not find."""
        if self.record is None or self.record.roster.names is not self._roster.names:
            return ()
        absent = np.flatnonzero(self.record.sample.cgroup_id == 0)
        return tuple(self._roster.names[position] for position in absent)

    def _make_cgroups(self, names: Sequence[str]) -> None:
        """Make our own cgroups that are missing, except where the agent only observes."""
        names = self._tenant_places.own(names)
        if self.config.host.is_observing or not names:
            return
        problems = ensure(self.config.host.cgroup_root, names)
        for name, problem in problems.items():
            if self._unmade.get(name) != problem:  # said once, not every tick
                log.warning("cgroup cannot be made", tenant=name, problem=problem)
        self._unmade = problems

    def _loop_settings(self) -> LoopSettings:
        is_held = not self._had_tenants and bool(self._originals.cgroups)
        return loop_settings(self.config, self.thrift, is_held=is_held)

    def _release_unenforced(
        self, old: Kernel | None = None, unlocked: RootLock | None = None
    ) -> None:
        """Close the `old` kernel and put back what is not to be limited any more, beside the ticks.

        Not before: what was being lowered, or asked of systemd, is still written till then.  So
        long the tenants' parent stays locked, also where it need not be any more (`unlocked`).
        See `agent.release` for what is put back.
        """
        host, originals, before = self.config.host, self._originals, self._release_problem
        unenforced = Unenforced(
            originals=originals,
            host=host,
            roster=self._roster,
            enforced=enforced_names(self._roster, self._tenant_places.places, originals),
            is_locked=not host.is_observing or unlocked is not None,
            had_tenants=self._had_tenants,
            has_uplinks=bool(uplinks_of(self.config)),
            was_in_the_way=before is not None,
        )

        def released() -> str | None:
            with ExitStack() as last:
                if unlocked is not None:
                    last.callback(unlocked.close)
                if old is not None:
                    old.close()
                return unenforced.release()

        until_then = before or unenforced.waiting()
        self._releasing = Releasing(released, self._wake_up, until_then=until_then)

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake()


def _opened_originals(config: Config) -> Originals:
    originals = Originals(config.host.state_dir / ORIGINALS_NAME)
    if originals.problem is not None:
        log.warning("originals damaged", problem=originals.problem)
    return originals


def _metric_paths(config: Config) -> dict[str, str]:
    """Return the files of the tenants that have one."""
    return {t.name: t.metrics_file for t in config.tenants if t.metrics_file is not None}


def log_left_alone(config: Config) -> None:
    """Say which files beside the tenants' are none."""
    if text := left_alone_text(config):
        log.info("files left alone beside the tenants'", files=text)
