"""Command line: parse arguments, call one function, print what it returned.

Everything heavy is imported by the command that needs it, so that `status` answers at once.
"""

import sys
from pathlib import Path

import click
import msgspec

from agent.answers import Events, Explanation, Status
from agent.backtest.command import backtest
from agent.backtest.commands import trace
from agent.client import AgentError, AgentRefusedError, AgentUnreachableError, get, named, post
from agent.exits import (
    EXIT_CODES,
    EXIT_DEGRADED,
    EXIT_FAULT,
    EXIT_UNREACHABLE,
    Program,
    exit_codes,
    fail,
)
from agent.forecast_command import forecast
from agent.help_words import EVENTS, EXPLAIN, STATUS, WORDS
from agent.history_command import history
from agent.membership_command import attach, exec_command
from agent.options import config_options, fault_lines, json_option, socket_option, tenants_dir_of
from agent.output import (
    print_json,
    print_lines,
    print_value,
    print_wrapped,
    prose_width,
    terminal_width,
)
from agent.pin_command import pin, unpin
from agent.render import (
    explanation_lines,
    finding_lines,
    released_lines,
    resource_lines,
    status_lines,
)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{WORDS}\n{exit_codes(EXIT_UNREACHABLE, EXIT_DEGRADED)}",
)
@click.version_option(package_name="tidegate", prog_name="tidegate")
def main() -> None:
    """Give each tenant of this host the capacity that it is likely to need."""


@main.command(epilog=EXIT_CODES, short_help="Run the agent in the foreground.")
@config_options
def run(config: Path, tenants_dir: Path | None) -> None:
    """Run the agent until it is told to stop; limits stay in force afterwards.

    SIGHUP reads the configuration again; a faulty one is refused and the old one stays.
    """
    from agent.config import ConfigError
    from agent.service import run as run_daemon
    from agent.sole import AgentRunningError

    try:
        run_daemon(config, tenants_dir_of(config, tenants_dir))
    except ConfigError as error:
        fail(fault_lines(error.problems, config))
    except (AgentRunningError, OSError) as error:
        fail([str(error)])


@main.command(
    help=STATUS,
    epilog=exit_codes(EXIT_UNREACHABLE),
    short_help="Show what each tenant has.",
)
@click.option("--resource", metavar="NAME", help="Show tenants' parts of this instead.")
@socket_option
@json_option
def status(resource: str | None, socket_path: Path, as_json: bool) -> None:
    """Show what each tenant uses, is promised and may use."""
    body = _asked(socket_path, "/v1/status")
    if as_json:
        print_json(body)
        return
    answer = msgspec.json.decode(body, type=Status)
    if resource is None:
        print_lines(status_lines(answer, width=terminal_width()))
        return
    try:
        print_lines(resource_lines(answer, resource, width=terminal_width()))
    except ValueError as error:
        fail([str(error)])


@main.command(
    help=EXPLAIN,
    epilog=exit_codes(EXIT_UNREACHABLE),
    short_help="Show why a tenant has its limits.",
)
@click.argument("tenant")
@socket_option
@json_option
def explain(tenant: str, socket_path: Path, as_json: bool) -> None:
    """Show why TENANT has the limits that it has: from measurement to kernel, in numbers."""
    body = _asked(socket_path, named("/v1/tenants", tenant))
    if as_json:
        print_json(body)
        return
    answer = msgspec.json.decode(body, type=Explanation)
    print_lines(explanation_lines(answer, width=prose_width()))


@main.command(epilog=exit_codes(EXIT_UNREACHABLE), short_help="Report a tenant's metrics.")
@click.argument("tenant")
@click.argument("metrics", nargs=-1, required=True, metavar="NAME=VALUE...")
@socket_option
@json_option
def metric(tenant: str, metrics: tuple[str, ...], socket_path: Path, as_json: bool) -> None:
    """Report metrics of TENANT's application: what it may soon have to do, such as queue_depth=42.

    Those that tell of its demand before it comes correct its forecast; `tidegate explain` says
    which do.  A value counts at the end of the step in which it was reported and of the next one.
    """
    from agent.metrics import MetricError, parsed_pairs

    try:
        body = msgspec.json.encode(parsed_pairs(metrics))
    except MetricError as error:
        fail([str(error)])
    answer = _asked(socket_path, f"{named('/v1/tenants', tenant)}/metrics", body)
    if as_json:
        print_json(answer)


@main.command("check-config", epilog=EXIT_CODES, short_help="Check all files at once.")
@config_options
@json_option
def check_config(config: Path, tenants_dir: Path | None, as_json: bool) -> None:
    """Report every fault of the configuration at once; exit 1 if there is one.

    Without a fault, say what is promised, and which files in the tenants' folder are left alone:
    hidden ones, and those whose name does not end in .toml.
    """
    from agent.config import ConfigError
    from agent.host import read_config
    from agent.promises import event_faults, summary, warnings
    from agent.settings import Config

    found: Config | None = None
    try:
        read = read_config(config, tenants_dir_of(config, tenants_dir))
        found, problems = read, event_faults(read)
    except ConfigError as error:
        problems = error.problems
    if found is None or problems:
        if not as_json:
            fail(fault_lines(problems, config))
        print_value({"is_valid": False, "problems": problems})
        sys.exit(EXIT_FAULT)
    if as_json:
        said = {"is_valid": True, "problems": (), "left_alone": found.left_alone}
        print_value({**said, "warnings": warnings(found)})
    else:
        print_wrapped(summary(found))


@main.command(epilog=exit_codes(EXIT_DEGRADED), short_help="Say what this host can and cannot do.")
@config_options
@socket_option
@json_option
def doctor(config: Path, tenants_dir: Path | None, socket_path: Path, as_json: bool) -> None:
    """Say what this host can and cannot do, and what to do about it.

    Each finding is ok, degraded (tidegate runs, with less) or missing (it cannot run, or a limit
    that is configured cannot be enforced); behind -> stands what helps.
    """
    from agent.doctor import examined, worst_state

    findings = examined(config, tenants_dir_of(config, tenants_dir), socket_path)
    if as_json:
        print_value(findings)
    else:
        print_lines(finding_lines(findings, width=prose_width()))
    codes = {"ok": 0, "degraded": EXIT_DEGRADED, "missing": EXIT_FAULT}
    sys.exit(codes[worst_state(findings)])


@main.command(
    epilog=exit_codes(EXIT_UNREACHABLE), short_help="Have the agent read its files again."
)
@click.option(
    "--pid", type=click.IntRange(min=1), help="Signal this process, even if it cannot be asked."
)
@socket_option
def reload(pid: int | None, socket_path: Path) -> None:
    """Have the agent read its configuration again, and wait; exit 1 where it is refused.

    `systemctl reload tidegate` does this.  What is refused leaves the old configuration in force.
    What was taken on has been through a tick by then: `status`, `explain` and `events` show it.
    """
    from agent.reload import reload as reload_agent

    try:
        problem = reload_agent(socket_path, pid=pid)
    except AgentError as error:
        signalled = "" if pid is None else "signalled, but what became of it is not known: "
        fail([f"{signalled}{error}", error.hint], EXIT_UNREACHABLE)
    except OSError as error:
        fail([f"the agent cannot be signalled: {error.strerror}"])
    if problem is not None:
        fail(["reload refused: the old configuration stays", problem])


@main.command(epilog=EXIT_CODES, short_help="Take the agent's limits back.")
@config_options
@json_option
def release(config: Path, tenants_dir: Path | None, as_json: bool) -> None:
    """Put every control file back to what it held right before the agent first wrote it.

    A limit that someone had set by then is put back too; what the agent never wrote stays as it is.
    The agent must be stopped first, or it would set its limits again; while one runs, this refuses.
    Processes stay where they are: a cgroup that the agent made is removed only if it is empty.
    What cannot be put back is kept on record, so this can be run again; with nothing left to put
    back it says so.  `systemctl disable tidegate` keeps the agent from returning at the next boot.
    """
    from agent.config import ConfigError, load_host
    from agent.release import release as release_all
    from agent.sole import AgentRunningError

    try:
        released, problem = release_all(load_host(config))
    except ConfigError as error:
        fail(fault_lines(error.problems, config))
    except AgentRunningError as error:
        fail([f"{error}: stop it first (systemctl stop tidegate), or it sets its limits again"])
    except OSError as error:
        fail([str(error)])
    if problem is not None:
        click.echo(f"Warning: {problem}", err=True)
    if as_json:
        print_value(released)
    else:
        print_lines(released_lines(released, width=terminal_width()))
    sys.exit(EXIT_FAULT if any(one.result == "refused" for one in released) else 0)


@main.command(
    help=EVENTS, epilog=exit_codes(EXIT_UNREACHABLE), short_help="List known events to come."
)
@socket_option
@json_option
@click.option("--all", "is_whole", is_flag=True, help="List each time that an event comes.")
def events(socket_path: Path, as_json: bool, is_whole: bool) -> None:
    """List known events that are on or coming."""
    from agent.event_lines import event_lines

    body = _asked(socket_path, "/v1/events")
    if as_json:
        print_json(body)
        return
    answer = msgspec.json.decode(body, type=Events)
    print_lines(event_lines(answer, width=terminal_width(), is_whole=is_whole))


main.add_command(backtest)
main.add_command(forecast)
main.add_command(attach)
main.add_command(exec_command)
main.add_command(history)
main.add_command(pin)
main.add_command(unpin)
main.add_command(trace)


def _asked(socket_path: Path, target: str, body: bytes | None = None) -> bytes:
    """Return the agent's answer, to what is posted where it is; or end with why there is none."""
    try:
        return get(socket_path, target) if body is None else post(socket_path, target, body)
    except AgentUnreachableError as error:
        fail([str(error), error.hint], EXIT_UNREACHABLE)
    except AgentRefusedError as error:
        fail([str(error), error.hint])
