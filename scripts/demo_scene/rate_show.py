"""What the audience sees of the network's and the disk's scene: bill, timeline, table."""

from collections.abc import Sequence

from rich.console import Console

from scripts.demo_scene import rates, service, show, verdict
from scripts.demo_scene.rates import RateFigures, RateMoment, RateScene
from scripts.demo_scene.regime import TIDEGATE, Regime


def bill(out: Console, scene: RateScene) -> None:
    """Say what is played."""
    out.print(f"\n[bold]{scene.title}[/bold]")
    for part in scene.parts:
        floor, share = (
            f"{number / scene.unit_bytes_per_s:g}"
            for number in (part.floor_bytes_per_s, part.share_bytes_per_s)
        )
        out.print(
            f"  {part.name:<7}{part.qos:<9} {part.does}; sold: a floor of {floor} {scene.unit},"
            f" a fixed cap of {share}"
        )
    out.print(f"  {rates.COUNTED_S:g} s are counted after {rates.PRELUDE_S:g} s of prelude")


def opening(out: Console, regime: Regime) -> None:
    """Announce a regime."""
    out.print(f"\n[bold]{regime.name}[/bold]: {regime.says}")


def heads(out: Console, scene: RateScene) -> None:
    """Head a timeline."""
    parts = "".join(f"{part.name:>9}" for part in scene.parts)
    limits = "".join(f"{part.name:>10}" for part in scene.parts)
    used = f"{scene.unit} used"
    out.print(f"      answers  p50   p99 |{used:>18} | {scene.limits}, {scene.unit}")
    out.print(f"    s    lost        ms |{parts} |{limits}")


def line(scene: RateScene, moment: RateMoment) -> str:
    """Return one line of the timeline."""
    used = "".join(
        f"{moment.bytes_per_s[part.name] / scene.unit_bytes_per_s:9.1f}" for part in scene.parts
    )
    limits = "".join(
        f"{moment.limits[part.name].text(scene.unit_bytes_per_s):>10}" for part in scene.parts
    )
    return f"{moment.at_s:5.0f}{show.waits_cells(moment.waits)} |{used} |{limits}"


def account(out: Console, scene: RateScene, asked: tuple[bytes, ...]) -> None:
    """Show what a regime said of itself at the end, if it is one that speaks."""
    if asked:
        said = service.shown(asked, width=show.WIDTH, resource=scene.resource)
        show.quoted(out, "at the end of these seconds", said)


def closing(out: Console, scene: RateScene, played: Sequence[RateFigures]) -> None:
    """Print the table and, in words, what it says."""
    out.print(f"\n[bold]{scene.title}[/bold]")
    judged = verdict.lines(rates.measures(scene), played, judged=TIDEGATE.name)
    show.closing(out, show.table(_rows(scene), played, ()), judged)


def _rows(scene: RateScene) -> tuple[show.Row[RateFigures], ...]:
    small, bulk = (f"{part.name} ({part.qos})" for part in scene.parts)

    def got(name: str, figures: RateFigures) -> str:
        return f"{figures.bytes_per_s[name] / scene.unit_bytes_per_s:.1f}"

    endless = f"over {rates.REQUEST_TIMEOUT_S * show.MS:.0f}"
    return (
        (f"{small}: p50, ms", lambda f: show.ms(f.waits.p50_s, endless=endless)),
        (f"{small}: p99, ms", lambda f: show.ms(f.waits.p99_s, endless=endless)),
        (f"{small}: requests answered", lambda f: f"{f.waits.answered} of {f.waits.requests}"),
        (f"{small}: {scene.unit}", lambda f: got(scene.small.name, f)),
        (f"{bulk}: {scene.unit}", lambda f: got(scene.bulk.name, f)),
        ("used of all that there is, %", lambda f: f"{f.used_fraction:.0%}"[:-1]),
        ("CPU left idle, core-seconds", lambda f: f"{f.idle_core_s:.2f}"),
        ("tidegate's own CPU, core-seconds", lambda f: f"{f.daemon_core_s:.2f}"),
    )
