"""`tidegate backtest`: parse arguments, hold the backtest, print what was found.

`status` loads this file too, so it imports what is heavy in the command itself.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.backtest.evaluation_options import check_evaluation_options, evaluation_options
from agent.backtest.hindsight_options import check_options, hindsight_options, is_given
from agent.backtest.progress import progress
from agent.exits import EXIT_CODES, fail
from agent.options import NearChoice, check_matplotlib
from agent.output import check_writable, print_value, write_whole
from agent.units import approximate_bytes

if TYPE_CHECKING:
    from agent.backtest.report import Report
    from agent.backtest.session import Request, Shown

_WIDTH = 100
_LEAST_FACTOR, _MOST_FACTOR = 0.05, 20.0
_MOST_SEEDS = 1000
_PAGE_SUFFIXES = (".html", ".htm")
_RESOURCES = ("cpu", "memory", "disk_read", "disk_write", "net_in", "net_out")
_POLICIES = (
    *("tidegate", "static", "last", "max-1h", "max-3h", "max-24h", "n-sigma", "borg-default"),
    *("rc-like", "max-predictors", "vpa", "koordinator", "autopilot", "weights", "oracle"),
)


def _all_numbers(
    _context: click.Context, _option: click.Parameter, values: tuple[float, ...]
) -> tuple[float, ...]:
    """Refuse NaN, which no range leaves out."""
    if any(map(isnan, values)):
        raise click.BadParameter("nan is no number")
    return values


_HELP = """Replay TRACE under tidegate's decisions, and under what others use to size
limits.

TRACE is a .parquet or .csv file of what tenants wanted (see `tidegate trace --help`).
Hosts are drawn from its tenants by seed; a tick is a step of the trace.  After a
warm-up (3 days, or half of a trace of less than 6) it is counted how much of their
demand tenants were not served under each policy, on hosts of several capacities:
factors times the peak of the sum of demand.

\b
Policies: tidegate, and twelve peers (docs/backtest.md names their sources)
  static last max-1h max-3h max-24h n-sigma borg-default rc-like
  max-predictors autopilot
  vpa koordinator (of cpu and memory only)
References, which know what no policy can know
  weights  weights by class without any cap: serve whatever is wanted while
           there is any capacity
  oracle   limits that know each step's demand beforehand

Instead of TRACE, --since replays what the agent recorded on this host, under the
host's configuration as it is and, with --set, as it might be: what would have
happened?

With --forecast no limits are set: what is judged is how good the forecasts are, those
of the agent, a naive rule's, and those of plain StatsForecast (docs/forecasting.md).

\b
Open loop (the default): all see what was wanted in the past, whatever they
served of it.
Closed loop: all see only what they served, and tidegate the throttling as a
kernel reports it.

\b
Example: how far would a host with a tenth more than its peak go?
  tidegate trace make office.parquet --tenants 50 --days 8 --step 10m \\
      --kind weekday --kind bursty
  tidegate backtest office.parquet --capacity 1.1 --seeds 2

\b
Example: would strict limits have done yesterday, and gold with less weight?
  tidegate backtest --since 1d --set modes.cpu=strict --set qos.gold.weight=2

\b
Example: how good are forecasts of these tenants?
  tidegate backtest --forecast office.parquet

A fault (exit code 1) is a file that is no trace or that cannot be replayed as asked
for, a configuration that is at fault, nothing recorded in the time that is asked for,
or a child process that was lost.
"""


@click.command(help=_HELP, short_help="Replay a trace, and compare policies.", epilog=EXIT_CODES)
@click.argument("trace", type=click.Path(path_type=Path), required=False)
@hindsight_options
@evaluation_options
@click.option(
    "--resource",
    type=click.Choice(_RESOURCES),
    default="cpu",
    show_default=True,
    help="What tenants share.",
)
@click.option(
    "--tenants-per-host",
    type=click.IntRange(1),
    help="[default: 100; 25 where the trace has fewer than 100]",
)
@click.option(
    "--capacity",
    "factors",
    type=click.FloatRange(_LEAST_FACTOR, _MOST_FACTOR),
    multiple=True,
    callback=_all_numbers,
    help="Times the peak; may be given several times.  [default: 0.8 0.9 1.0 1.1 1.4]",
)
@click.option(
    "--mode",
    type=click.Choice(["strict", "elastic"]),
    default="strict",
    show_default=True,
    help=(
        "strict: tidegate's limits sum to at most the capacity, as the peers' always do, so that "
        "all are judged alike: hence the default.  elastic: they close only as a shortage becomes "
        "likely, as an installed agent's do for cpu unless configured otherwise."
    ),
)
@click.option(
    "--policy",
    "policies",
    type=NearChoice(_POLICIES),
    metavar="NAME",
    multiple=True,
    help="Only these; may be given several times.  [default: all]",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, _MOST_SEEDS),
    default=5,
    show_default=True,
    help="How many hosts are drawn: seeds 0, 1, ...",
)
@click.option("--closed-loop", is_flag=True, help="Show policies only what they served.")
@click.option(
    "--per-class",
    is_flag=True,
    help="Tenants are platinum, gold, silver (20/30/50 %, by seed) instead of all gold.",
)
@click.option(
    "--density", is_flag=True, help="Also find how many tenants fit while classes are served."
)
@click.option("--no-fits", is_flag=True, help="Use the fallback rule instead of fitted forecasts.")
@click.option("--jobs", type=click.IntRange(1), help="Processes at work.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every figure of every host.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a page with plots and tables to this file, .html or .htm (needs matplotlib).",
)
@click.option("--force", is_flag=True, help="Replace the file of --html if it exists.")
@click.option(
    "--tenant",
    "tracked",
    multiple=True,
    help="Show this tenant step by step on the page.  [default: worst, spiky, median]",
)
@click.pass_context
def backtest(
    context: click.Context,
    /,
    trace: Path | None,
    *,
    as_json: bool,
    page: Path | None,
    force: bool,
    **chosen: Any,
) -> None:
    """Replay a trace, and compare policies or forecasts; or what this host recorded."""
    check_options(context, trace, chosen["since_s"])
    if trace is None:
        from agent.backtest.hindsight_command import look_back

        mode = chosen["mode"] if is_given(context, "mode") else None
        look_back(chosen, mode=mode, as_json=as_json, width=_WIDTH)
        return
    check_evaluation_options(context)
    _check_page(trace, page, may_replace=force)
    if chosen["is_evaluated"]:
        from agent.backtest.evaluation_command import evaluate

        evaluate(trace, chosen, as_json=as_json, width=_WIDTH)
        return
    _replay(trace, chosen, page, as_json=as_json)


def _replay(trace: Path, chosen: Mapping[str, Any], page: Path | None, *, as_json: bool) -> None:
    """Replay a trace, print what was found, and write the page of it."""
    from agent.backtest.parallel import WorkerGoneError
    from agent.backtest.report import report_lines
    from agent.backtest.session import held, prepared
    from agent.backtest.waiting import ForecasterError

    with _faults_told():
        request = _request(trace, chosen, has_page=page is not None)
        session = prepared(request)
    if page is not None:
        check_writable(page)
    try:
        with progress(session.steps, "replaying") as tell:
            report, shown = held(session, tell)
    except (ForecasterError, WorkerGoneError) as error:
        fail([str(error), "--no-fits needs no forecaster, --jobs 1 the least memory"])
    if as_json:
        print_value(report)
    else:
        click.echo("\n".join(report_lines(report, width=_WIDTH)))
    if page is not None and shown is not None:
        _write_page(page, report, shown)


def _request(trace: Path, chosen: Mapping[str, Any], *, has_page: bool) -> "Request":
    """Return what the options ask for."""
    from agent.allocation import Mode
    from agent.backtest.contest import OURS, Terms, policies_for
    from agent.backtest.protocol import FACTORS
    from agent.backtest.session import Request
    from agent.tenant import Kind, Resource

    if chosen["density"] and chosen["closed_loop"]:
        raise click.UsageError("--density and --closed-loop exclude each other")
    resource = Resource(Kind(chosen["resource"]))
    there_are = policies_for(resource)
    policies = chosen["policies"] or there_are
    if misfits := [name for name in policies if name not in there_are]:
        raise click.UsageError(f"{', '.join(misfits)}: described for cpu and memory only")
    if has_page and OURS not in policies:
        raise click.UsageError("--html shows tidegate's run: it must be among the policies")
    if chosen["tracked"] and not has_page:
        raise click.UsageError("--tenant says what --html shows")
    if has_page:
        check_matplotlib("--html")
    terms = Terms(
        factors=tuple(sorted(set(chosen["factors"]))) or FACTORS,
        mode=Mode(chosen["mode"]),
        policies=tuple(name for name in there_are if name in policies),
        is_closed=chosen["closed_loop"],
        are_fitted=not chosen["no_fits"],
    )
    return Request(
        path=trace,
        resource=resource,
        terms=terms,
        tenants_per_host=chosen["tenants_per_host"],
        seeds=chosen["seeds"],
        is_mixed=chosen["per_class"],
        has_density=chosen["density"],
        has_tracks=has_page,
        tracked=tuple(dict.fromkeys(chosen["tracked"])),
        jobs=chosen["jobs"] or os.cpu_count() or 1,
    )


def _check_page(trace: Path, page: Path | None, *, may_replace: bool) -> None:
    """Refuse to write a page over what is no page, before hours of work.

    Raises:
        click.UsageError: The file is TRACE itself, exists, or is not named as a page.

    """
    if page is None:
        if may_replace:
            raise click.UsageError("--force: only together with --html, whose file it replaces")
        return
    with suppress(OSError):
        if page.samefile(trace):
            raise click.UsageError(f"--html {page}: is TRACE itself, which the page would replace")
    if page.suffix.lower() not in _PAGE_SUFFIXES:
        names = " or ".join(_PAGE_SUFFIXES)
        raise click.UsageError(f"--html {page}: expected a name that ends in {names}")
    if os.path.lexists(page) and not may_replace:
        fail([f"{page}: there is such a file already", "--force replaces it"])


def _write_page(path: Path, report: "Report", shown: "Shown") -> None:
    """Write the page, whole or not at all."""
    from agent.backtest.page import page_of

    text = page_of(report, shown.tracks, seed=shown.seed, factor=shown.factor)
    write_whole(path, text.encode())
    size = approximate_bytes(len(text.encode()))
    click.echo(f"the page with plots and tables is {path} ({size})", err=True)


@contextmanager
def _faults_told() -> Iterator[None]:
    """End the command with a word where the trace is at fault."""
    from agent.backtest.faults import TraceError
    from agent.backtest.protocol import ProtocolError

    try:
        yield
    except TraceError as error:
        fail([str(error), error.hint])
    except ProtocolError as error:
        fail([str(error), "see `tidegate trace show FILE` and --tenants-per-host"])
