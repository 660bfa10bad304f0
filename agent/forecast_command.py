"""`tidegate forecast`: a tenant's demand, what was and is forecast of it, and how good that is."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from agent.answers import Status, TenantForecast
from agent.client import AgentError, AgentUnreachableError, get, named
from agent.exits import EXIT_UNREACHABLE, exit_codes, fail
from agent.options import (
    check_matplotlib,
    config_option,
    fault_lines,
    json_option,
    resource_option,
    since_option,
    socket_option,
)
from agent.output import check_writable, print_lines, print_value, terminal_width, write_whole
from agent.quoting import quoted

if TYPE_CHECKING:
    from agent.forecast_view import View
    from agent.history import Past
    from agent.tenant import Resource

_FORMS = (".png", ".svg")
_ONLY_RANKED, _ONLY_SHOWN = ("worst",), ("since_s", "output", "config")
_HELP = """Show what TENANT wanted, what had been forecast of it, and what is forecast now.

The line is demand, as recorded step by step; the dots reach from what had been expected of a step
to the bound that the highest demand of the longest horizon from then on was to stay below, at 95 %.
To the right of the vertical line is the forecast of now.  Below it are the bounds within a third,
two thirds and all of the longest horizon (5, 10 and 15 minutes, unless configured otherwise).

\b
expected  in the next step, by the experts that are believed by how they did
source    live, learning (too little history) or fallback (a simple rule)
made      when the last step ended that the forecast knows
experts   how far each is believed now
accuracy  how often bounds held, what was lost beside the last value (naive)
          and beside the best single expert, and how wide the bounds are

With --quality, show all tenants by how good their forecasts are, the worst first:

\b
bounds held   how often the bound on the maximum over the longest
              horizon held; the head says how often it should
loss saved    of the pinball loss of the next step's quantiles: of the naive
              forecast's (NAIVE) and of the best single expert's (BEST)
of the mean   LOSS95 the pinball loss of the bound at 95 %, SPARE95 how far
demand        it stood above what came, BIAS what was expected too much
HORIZONS      how many of them that rests on: one begins every third of a
              horizon; half of a score is forgotten after 96 of them side by
              side
VERDICT       poor: the bound at 95 % held less than 85 % of the time, or 10 %
              more was lost than by the naive forecast; refitted early.
              replaced: poor for another 4 horizons, and a simple rule did
              better, which stands in until the model does.
              unjudged: fewer than 58 HORIZONS, which take as long as 20 side
              by side: 5 hours, of 15 minutes each

Figures begin anew when the agent is restarted.
"""


@click.command(
    help=_HELP,
    short_help="Show a tenant's forecast, and how good forecasts are.",
    epilog=exit_codes(EXIT_UNREACHABLE),
)
@click.argument("tenant", required=False)
@click.option("--quality", "is_ranking", is_flag=True, help="Rank all tenants, the worst first.")
@resource_option
@since_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the plot to this file, .png or .svg (needs matplotlib).",
)
@click.option("--worst", type=click.IntRange(min=1), metavar="N", help="Rank no more than these.")
@config_option
@socket_option
@json_option
@click.pass_context
def forecast(
    context: click.Context, /, tenant: str | None, *, is_ranking: bool, **asked: Any
) -> None:
    """Show a tenant's forecast, or all tenants' quality."""
    _check(context, tenant, is_ranking=is_ranking)
    if tenant is None:
        _rank(asked["socket_path"], asked["resource"], asked["worst"], as_json=asked["as_json"])
        return
    output = asked["output"]
    if output is not None:
        if output.suffix.lower() not in _FORMS:
            raise click.BadParameter(f"{quoted(output.name)}: expected a name in .png or .svg")
        check_matplotlib("--output")
        check_writable(output)
    view, notes = _view(tenant, **asked)
    _print(view, notes, as_json=asked["as_json"])
    if output is not None:
        from agent.forecast_figure import figure_bytes

        write_whole(output, figure_bytes(view, output.suffix.lower().removeprefix(".")))


def _print(view: "View", notes: Sequence[str], *, as_json: bool) -> None:
    from agent.forecast_lines import view_lines
    from agent.forecast_view import answer_of

    if as_json:
        print_value(answer_of(view))
        return
    width = terminal_width()
    print_lines(view_lines(view, width=min(width, 160), has_plot=_has_braille()))
    for note in notes:
        click.echo(f"Note: {note}", err=True)


def _check(context: click.Context, tenant: str | None, *, is_ranking: bool) -> None:
    """Refuse what does not go together.

    Raises:
        click.UsageError: It is neither a tenant nor a ranking, or both, or an option of the other.

    """
    if (tenant is None) != is_ranking:
        what = "both" if is_ranking else "neither"
        raise click.UsageError(f"expected either TENANT or --quality, got {what}")
    for name in _ONLY_SHOWN if is_ranking else _ONLY_RANKED:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = name.removesuffix("_s")
            wanted = "TENANT" if is_ranking else "--quality"
            raise click.UsageError(f"--{option}: only together with {wanted}")


def _rank(socket_path: Path, shown: "Resource", worst: int | None, *, as_json: bool) -> None:
    from agent.forecast_lines import quality_lines, ranked

    try:
        answer = msgspec.json.decode(get(socket_path, "/v1/status"), type=Status)
        rows = ranked(answer, str(shown))[:worst]
    except AgentError as error:
        fail([str(error), error.hint], _exit_code(error))
    except ValueError as error:
        fail([str(error)])
    if as_json:
        print_value(rows)
    else:
        print_lines(quality_lines(rows, str(shown), width=terminal_width()))


def _view(tenant: str, **asked: Any) -> tuple["View", list[str]]:
    """Return what there is to be shown, and what is missing of it."""
    from agent.forecast_view import view_of
    from agent.history import FINE_S, HistoryError

    shown, notes = asked["resource"], []
    said, past, failed = None, None, None
    try:
        body = get(asked["socket_path"], named("/v1/forecasts", tenant))
        said = msgspec.json.decode(body, type=TenantForecast)
    except AgentError as error:
        failed = error
        notes.append(f"no forecast of now: {error}")
    try:
        past = _past(asked["config"], tenant, shown, asked["since_s"])
    except HistoryError as error:
        notes.append(f"no history: {error}")
    if said is not None and all(one.resource != str(shown) for one in said.resources):
        there_are = ", ".join(one.resource for one in said.resources)
        fail([f"there is no forecast of {quoted(str(shown))}", f"there are: {there_are}"])
    if said is None and past is None:
        fail(notes, EXIT_UNREACHABLE if failed is None else _exit_code(failed))
    now_s, is_fine = datetime.now(UTC).timestamp(), asked["since_s"] <= FINE_S
    return view_of(tenant, shown, past, said, now_s=now_s, is_fine=is_fine), notes


def _past(config: Path, tenant: str, shown: "Resource", since_s: float) -> "Past":
    """Return what was recorded of a tenant.

    Raises:
        HistoryError: Nothing was.

    """
    from agent.config import ConfigError, load_host
    from agent.history import HISTORY_NAME, HistoryError, read_tenant

    try:
        path = load_host(config).state_dir / HISTORY_NAME
    except ConfigError as error:
        fail(fault_lines(error.problems))
    now_s = datetime.now(UTC).timestamp()
    past = read_tenant(path, tenant, lasts_s=since_s, now_s=now_s)
    if tenant not in past.tenants or shown not in past.demand:
        raise HistoryError(
            f"nothing of {quoted(tenant)} and {quoted(str(shown))} was recorded in that time", ""
        )
    return past


def _exit_code(error: AgentError) -> int:
    return EXIT_UNREACHABLE if isinstance(error, AgentUnreachableError) else 1


def _has_braille() -> bool:
    """Say whether the terminal's encoding has the dots."""
    return (sys.stdout.encoding or "").lower().startswith("utf")
