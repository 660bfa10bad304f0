"""What the audience sees: the bill, a line of timeline every two seconds, and the table."""

from collections.abc import Callable, Sequence
from math import inf, isnan

from rich.console import Console
from rich.table import Table

from scripts.demo_scene import regimes, scene, service, verdict
from scripts.demo_scene.record import Costs, Figures, Moment, TenantNow
from scripts.demo_scene.regimes import Regime

_WIDTH = 118  # the lab's output is no terminal: say how wide it is
_MS = 1e3
_BEFORE_END_S = 2.0  # the height of the last surge

Row = tuple[str, Callable[[Figures], str]]


def console() -> Console:
    """Return where everything is written: standard output."""
    return Console(width=_WIDTH, highlight=False)


def closing(out: Console, played: Sequence[Figures], costs: Costs) -> None:
    """Print the table and, in words, what it says."""
    out.print("", table(played))
    for text in verdict.lines(played, judged=regimes.REGIMES[-1].name):
        out.print(f"- {text}")
    for text in verdict.disturbances(played, costs):
        out.print(f"- {text}")


def bill(out: Console, costs: Costs) -> None:
    """Say what is played, and what the rehearsal measured."""
    out.print("[bold]Four tenants on one CPU, the same scene under each regime[/bold]")
    for role in scene.ROLES:
        out.print(f"  {role.name:<7}{role.qos:<9} {role.does}")
    out.print(f"  {scene.COUNTED_S:g} s are counted after {scene.PRELUDE_S:g} s of prelude")
    out.print(
        f"  the web service's visitors ask for {scene.QUIET_CORES:g} of the CPU when quiet,"
        f" {scene.SURGE_CORES:g} in a surge, every {scene.TIDE_S:g} s"
    )
    out.print(
        f"  alone on the idle host: a request takes {costs.request_core_s * _MS:.1f} ms,"
        f" a chunk of report or hog {costs.chunk_core_s * _MS:.1f} ms,"
        f" a scan {costs.scan_core_s_per_byte * scene.MIB * _MS:.2f} ms per MiB"
    )


def opening(out: Console, regime: Regime) -> None:
    """Announce a regime and head its timeline."""
    out.print(f"\n[bold]{regime.name}[/bold]: {regime.says}")
    heads = "".join(f"{role.name:>12}" for role in scene.ROLES)
    out.print(f"       web asks  answers  p50   p99 |{heads}  idle |     web   eater")
    cores = f"{'CPU used/limit':>12}".center(12 * len(scene.ROLES))
    out.print(f"    s    of CPU  lost        ms |{cores}       | MiB used/high")


def line(moment: Moment) -> str:
    """Return one line of the timeline."""
    cores = "".join(f"{_of(_cores(moment.tenants[role.name])):>12}" for role in scene.ROLES)
    memory = "".join(f"{_of(_mebibytes(moment.tenants[name])):>8}" for name in ("web", "eater"))
    lost = f"-{moment.given_up}" if moment.given_up else ""
    return (
        f"{moment.at_s:5.0f}{moment.asked_cores:10.2f} {moment.answered:4}{lost:>4}"
        f"{_ms(moment.p50_s):>6}{_ms(moment.p99_s):>6} |{cores}{moment.idle_cores:6.2f} |{memory}"
    )


def account(out: Console, figures: Figures) -> None:
    """Show what the regime said of itself in the last surge, if it is one that speaks."""
    at_s = scene.PRELUDE_S + scene.COUNTED_S - _BEFORE_END_S
    for moment, asked in zip(figures.timeline, figures.asked, strict=True):
        if asked and abs(moment.at_s - at_s) < 1.0:
            out.print(f"\n[bold]{figures.regime}, {at_s:g} s into the scene[/bold]")
            for text in service.shown(asked, width=_WIDTH):
                out.print(f"  {text}", markup=False, soft_wrap=True)


def table(played: Sequence[Figures]) -> Table:
    """Return all figures, a column each regime."""
    made = Table("counted over the same seconds of the same scene", title_justify="left")
    for figures in played:
        made.add_column(figures.regime, justify="right")
    for title, cell in _ROWS:
        made.add_row(title, *(cell(figures) for figures in played), end_section=title in _LAST)
    return made


def _ms(seconds: float) -> str:
    if isnan(seconds):
        return "-"
    return "gone" if seconds == inf else f"{seconds * _MS:.0f}"


def _latency(seconds: float) -> str:
    return f"over {scene.REQUEST_TIMEOUT_S * _MS:.0f}" if seconds == inf else _ms(seconds)


def _cores(tenant: TenantNow) -> tuple[str, str]:
    limit = "max" if tenant.limit_cores == inf else f"{tenant.limit_cores:.2f}"
    return f"{tenant.usage_cores:.2f}", limit


def _mebibytes(tenant: TenantNow) -> tuple[str, str]:
    high = "max" if tenant.high_bytes == inf else f"{tenant.high_bytes / scene.MIB:.0f}"
    return f"{tenant.memory_bytes / scene.MIB:.0f}", high


def _of(parts: tuple[str, str]) -> str:
    return "/".join(parts)


def _done(figures: Figures, name: str) -> str:
    work = figures.work[name]
    return f"{work.done:.0f} of {work.wanted:.0f}"


def _scanned(figures: Figures) -> str:
    work = figures.work["eater"]
    return f"{work.done / scene.MIB:.0f} of {work.wanted / scene.MIB:.0f}"


def _unmet(name: str) -> Row:
    return f"  {name}", lambda figures: f"{figures.work[name].unmet_core_s:.2f}"


_ROWS: tuple[Row, ...] = (
    ("web (platinum): p50, ms", lambda f: _latency(f.p50_s)),
    ("web (platinum): p99, ms", lambda f: _latency(f.p99_s)),
    ("web: requests answered", lambda f: _done(f, "web")),
    ("report (gold): reports in time", lambda f: f"{f.reports_in_time} of {f.reports}"),
    ("hog (silver): chunks packed", lambda f: f"{f.work['hog'].done:.0f}"),
    ("eater (silver): MiB scanned", _scanned),
    ("unmet demand, core-seconds of work", lambda _: ""),
    *(_unmet(role.name) for role in scene.ROLES),
    ("CPU left idle, core-seconds", lambda f: f"{f.idle_core_s:.2f}"),
    ("web: pages read again from disk", lambda f: f"{f.web_refaults}"),
    ("tidegate's own CPU, core-seconds", lambda f: f"{f.daemon_core_s:.2f}"),
    ("this machine's speed, ms per chunk", lambda f: f"{f.chunk_core_s * _MS:.1f}"),
)
_LAST = ("eater (silver): MiB scanned", f"  {scene.ROLES[-1].name}")
