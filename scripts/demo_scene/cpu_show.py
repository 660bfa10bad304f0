"""What the audience sees of the CPU's scene: the bill, a line every two seconds, the table."""

from collections.abc import Iterator, Sequence
from math import inf

from rich.console import Console
from rich.table import Table

from scripts.demo_scene import measures, scene, service, show, verdict
from scripts.demo_scene.record import Costs, Figures, Moment, TenantNow
from scripts.demo_scene.regime import TIDEGATE, Regime

_BEFORE_END_S = 2.0  # the height of the last surge


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
        f"  alone on the idle host: a request takes {costs.request_core_s * show.MS:.1f} ms,"
        f" a chunk of report or hog {costs.chunk_core_s * show.MS:.1f} ms,"
        f" a scan {costs.scan_core_s_per_byte * scene.MIB * show.MS:.2f} ms per MiB"
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
    return (
        f"{moment.at_s:5.0f}{moment.asked_cores:10.2f} {show.waits_cells(moment.waits)}"
        f" |{cores}{moment.idle_cores:6.2f} |{memory}"
    )


def account(out: Console, figures: Figures) -> None:
    """Show what the regime said of itself in the last surge, if it is one that speaks."""
    at_s = scene.PRELUDE_S + scene.COUNTED_S - _BEFORE_END_S
    for moment, asked in zip(figures.timeline, figures.asked, strict=True):
        if asked and abs(moment.at_s - at_s) < 1.0:
            said = service.shown(asked, width=show.WIDTH)
            show.quoted(out, f"{figures.regime}, {at_s:g} s into the scene", said)


def table(played: Sequence[Figures]) -> Table:
    """Return all figures, a column each regime."""
    return show.table(_ROWS, played, _LAST)


def verdicts(played: Sequence[Figures], costs: Costs) -> Iterator[str]:
    """Return what the figures say, and where other work on the machine disturbed them."""
    yield from verdict.lines(measures.MEASURES, played, judged=TIDEGATE.name)
    yield from measures.disturbances(played, costs)


def _latency(seconds: float) -> str:
    return show.ms(seconds, endless=f"over {scene.REQUEST_TIMEOUT_S * show.MS:.0f}")


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


def _unmet(name: str) -> show.Row[Figures]:
    return f"  {name}", lambda figures: f"{figures.work[name].unmet_core_s:.2f}"


_ROWS: tuple[show.Row[Figures], ...] = (
    ("web (platinum): p50, ms", lambda f: _latency(f.waits.p50_s)),
    ("web (platinum): p99, ms", lambda f: _latency(f.waits.p99_s)),
    ("web: requests answered", lambda f: _done(f, "web")),
    ("report (gold): reports in time", lambda f: f"{f.reports_in_time} of {f.reports}"),
    ("hog (silver): chunks packed", lambda f: f"{f.work['hog'].done:.0f}"),
    ("eater (silver): MiB scanned", _scanned),
    ("unmet demand, core-seconds of work", lambda _: ""),
    *(_unmet(role.name) for role in scene.ROLES),
    ("CPU left idle, core-seconds", lambda f: f"{f.idle_core_s:.2f}"),
    ("web: pages read again from disk", lambda f: f"{f.web_refaults}"),
    ("tidegate's own CPU, core-seconds", lambda f: f"{f.daemon_core_s:.2f}"),
    ("this machine's speed, ms per chunk", lambda f: f"{f.chunk_core_s * show.MS:.1f}"),
)
_LAST = ("eater (silver): MiB scanned", f"  {scene.ROLES[-1].name}")
