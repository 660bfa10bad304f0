"""The command line of traces: parse arguments, call one function, print what it returned.

`status` loads this file too, so it imports what is heavy in the command that needs it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.backtest.kinds import MEANING_OF, Kind
from agent.exits import EXIT_CODES, EXIT_OUTPUT, fail
from agent.output import print_value
from agent.units import parse_seconds, seconds_text

if TYPE_CHECKING:
    from agent.backtest.synthetic import Recipe

_DAY_S = 86400.0
_HOUR_S = 3600.0
_DEFAULT_DAYS = 7.0
_FEWEST_STEPS = 2
_MOST_STEPS = 10_000_000  # of one tenant, which is made in one piece: some 1 GB
_LONGEST_DAYS = 3660.0
_SHORTEST_STEP_S = 1.0
_ROUNDING_STEPS = 1e-9  # 0.1 h has 6 steps of a minute
_SUMMARY_WIDTH = 100

_FORMAT = """\b
A trace is a Parquet or CSV file, told by its suffix, of a row per tenant and
step:
  tenant               name
  t                    seconds, evenly spaced
  cpu_cores            what the tenant wanted, mean of the step
  cpu_limit_cores      its own limit
  mem_bytes, mem_limit_bytes
  io_read_bytes_per_s, io_write_bytes_per_s
  net_rx_bytes_per_s, net_tx_bytes_per_s
Only tenant, t and the column that is asked for are needed; the rest may be
null or absent.
"""
_KINDS_HELP = "\b\nKinds:\n" + "\n".join(
    f"  {kind:<9}{meaning}" for kind, meaning in MEANING_OF.items()
)
_MAKE_HELP = f"""Make a trace of synthetic tenants and write it to FILE (.parquet or .csv).

The same options and seed make the same trace.  A tenant's rows depend on its number, the seed,
the kinds, the duration and the step; never on how many tenants there are.

{_KINDS_HELP}

\b
Example: two weeks of 50 office tenants and nightly jobs, one row a minute
  tidegate trace make office.parquet --tenants 50 --days 14 --step 1m \\
      --kind weekday --kind batch
"""
_SHOW_HELP = """Show what FILE holds: tenants, steps, and each column that has values.

\b
TENANTS  that have a value in this column
GAPS     share of all steps and tenants without a usable value
MEAN     of the sum over all tenants, in cores, bytes or bytes per second
PEAK     of that sum: a host of this capacity would have held it
LIMITS   sum of the tenants' own limits; - where some tenant has none
"""


def _step_s(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """Return the seconds of a step as people write it."""
    try:
        step_s = parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; expected for example 1s, 5m or 1h") from error
    if step_s < _SHORTEST_STEP_S:
        raise click.BadParameter(f"{text!r} is shorter than 1s")
    return step_s


@click.group(
    help=f"Make and show traces: what tenants wanted, step by step.\n\n{_FORMAT}",
    short_help="Make and show traces for the backtest.",
    epilog=EXIT_CODES,
)
def trace() -> None:
    """Hold the commands of traces."""


@trace.command(help=_MAKE_HELP, short_help="Make a synthetic trace.", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tenants", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="How long.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How long.  [default: 7]")
@click.option(
    "--step",
    "step_s",
    callback=_step_s,
    default="5m",
    show_default=True,
    help="Time between rows: 1s, 5m, 1h; at least 1s.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([kind.value for kind in Kind]),
    multiple=True,
    help="What tenants are like; several are taken in turn.  [default: mix]",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def make(file: Path, *, force: bool, **chosen: Any) -> None:
    """Make a synthetic trace."""
    from agent.backtest.archive import most_rows_made, write_rows
    from agent.backtest.faults import TraceError, UnwritableError
    from agent.backtest.synthetic import tenants_made

    try:
        recipe = _recipe(**chosen)
        _check_rows(recipe, most_rows_made(file))
        n_rows = write_rows(file, tenants_made(recipe), may_replace=force)
    except UnwritableError as error:
        fail([str(error)], EXIT_OUTPUT)
    except TraceError as error:
        fail([str(error), error.hint])
    lasting = seconds_text(recipe.n_steps * recipe.step_s)
    click.echo(f"{file}: {n_rows:,} rows of {recipe.n_tenants} tenants over {lasting}")


@trace.command(help=_SHOW_HELP, short_help="Show what a trace holds.", epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def show(file: Path, *, as_json: bool) -> None:
    """Show what a trace holds."""
    from agent.backtest.faults import TraceError
    from agent.backtest.summary import summarised, summary_lines

    try:
        summary = summarised(file)
    except TraceError as error:
        fail([str(error), error.hint])
    if as_json:
        print_value(summary)
    else:
        click.echo("\n".join(summary_lines(file.name, summary, width=_SUMMARY_WIDTH)))


def _recipe(  # the options of `make`
    *,
    tenants: int,
    hours: float | None,
    days: float | None,
    step_s: float,
    kinds: tuple[str, ...],
    seed: int,
) -> "Recipe":
    """Return what to make.

    Raises:
        click.UsageError: The duration is no duration, or has more steps than are made.

    """
    from agent.backtest.synthetic import Recipe

    if hours is not None and days is not None:
        raise click.UsageError("--hours and --days exclude each other")
    duration_s = _DEFAULT_DAYS * _DAY_S if days is None else days * _DAY_S
    duration_s = duration_s if hours is None else hours * _HOUR_S
    if duration_s > _LONGEST_DAYS * _DAY_S:
        raise click.UsageError(f"expected a duration of {_LONGEST_DAYS:.0f} days or less")
    steps = duration_s / step_s + _ROUNDING_STEPS
    if not steps >= _FEWEST_STEPS:
        raise click.UsageError("expected a duration of two steps or more")
    if steps > _MOST_STEPS:
        raise click.UsageError(f"{steps:,.0f} steps a tenant, and at most {_MOST_STEPS:,} are made")
    return Recipe(tenants, int(steps), step_s, tuple(map(Kind, kinds)) or (Kind.MIX,), seed)


def _check_rows(recipe: "Recipe", most_rows: int) -> None:
    n_rows = recipe.n_steps * recipe.n_tenants
    if n_rows > most_rows:
        raise click.UsageError(f"{n_rows:,} rows, and at most {most_rows:,} can be read back")
