"""`tidegate history`: what a tenant used, wanted and was allowed, as the agent recorded it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from agent.exits import EXIT_CODES, fail
from agent.options import config_option, duration, fault_lines, resource_option, since_option
from agent.output import print_value
from agent.quoting import quoted
from agent.units import seconds_text

if TYPE_CHECKING:
    from agent.history import Past
    from agent.tenant import Resource

_NAMES_HINT = (
    "`tidegate status` has the names of today's tenants; a new one's first step is recorded as it "
    "ends"
)
_HELP = """Show what TENANT used, wanted and was allowed, as the agent recorded it.

Each step is kept for two days, and the mean of every 15 steps for four weeks.  Where that is more
than a screen, a line stands for several steps.

\b
ENDED   when the line's last step ended, local time
USED    mean
DEMAND  mean of what it would have used without its limits
PEAK    the highest demand of a tick
LIMIT   mean of the limits in force; - is none
UNMET   demand that was not served, of all demand

A line without numbers is a time in which the agent did not run, or the tenant was not there.
"""


@click.command(help=_HELP, short_help="Show what a tenant used and wanted.", epilog=EXIT_CODES)
@click.argument("tenant")
@resource_option
@since_option
@click.option(
    "--every",
    "every_s",
    metavar="TIME",
    callback=duration,
    help="One line for so long: 1m, 1h.  [default: fills a screen]",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each step.")
def history(tenant: str, *, as_json: bool, **asked: Any) -> None:
    """Show what a tenant used, wanted and was allowed."""
    from agent.config import ConfigError, load_host
    from agent.history import HISTORY_NAME, HistoryError, read_tenant
    from agent.history_lines import answer_of, steps_a_line, text_lines

    shown, since_s, every_s = (asked[name] for name in ("resource", "since_s", "every_s"))
    now_s = datetime.now(UTC).timestamp()
    try:
        path = load_host(asked["config"]).state_dir / HISTORY_NAME
        past = read_tenant(path, tenant, lasts_s=since_s, now_s=now_s)
        _check(past, tenant, shown)
    except ConfigError as error:
        fail(fault_lines(error.problems, asked["config"]))
    except HistoryError as error:
        fail([str(error), error.hint])
    if as_json:
        print_value(answer_of(past, tenant, shown, each=1))
        return
    for note in _notes(past, since_s, every_s):
        click.echo(f"Note: {note}", err=True)
    each = max(round(every_s / past.step_s), 1) if every_s else steps_a_line(len(past.ended_at_s))
    click.echo("\n".join(text_lines(answer_of(past, tenant, shown, each=each))))


def _notes(past: "Past", since_s: float, every_s: float | None) -> list[str]:
    """Say what span is shown where it is not what was asked for."""
    lasting_s = round(len(past.ended_at_s) * past.step_s)
    lasting, found = seconds_text(lasting_s), []
    source = click.get_current_context().get_parameter_source("since_s")
    is_asked = source is not click.core.ParameterSource.DEFAULT
    if is_asked and lasting_s < since_s - 2 * past.step_s:
        found.append(f"asked for {seconds_text(since_s)}, and {lasting} of it are recorded")
    if every_s is not None and every_s > lasting_s:
        every = seconds_text(every_s)
        found.append(f"one line for all: what is shown, {lasting}, is less than {every}")
    return found


def _check(past: "Past", tenant: str, resource: "Resource") -> None:
    """Refuse what was not recorded, by name.

    Raises:
        HistoryError: The tenant was not there in that time, or the resource is not divided.

    """
    from agent.history import HistoryError

    if tenant not in past.tenants:
        raise HistoryError(f"nothing of {quoted(tenant)} was recorded in that time", _NAMES_HINT)
    if resource not in past.demand:
        there_are = ", ".join(map(str, past.demand))
        raise HistoryError(
            f"nothing of {quoted(str(resource))} was recorded", f"recorded: {there_are}"
        )
