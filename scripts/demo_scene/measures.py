"""What the CPU's scene is judged by, and where the machine itself was faster or slower.  Pure."""

from collections.abc import Iterator, Sequence

from scripts.demo_scene.record import Costs, Figures
from scripts.demo_scene.verdict import NOISE, Measure

MEASURES: tuple[Measure[Figures], ...] = (
    Measure("web p99", " ms", lambda f: f.waits.p99_s * 1e3, 20),
    Measure("web p50", " ms", lambda f: f.waits.p50_s * 1e3, 5),
    Measure("requests lost", "", lambda f: f.waits.given_up, 3),
    Measure("reports late", "", lambda f: f.reports - f.reports_in_time, 0),
    Measure("hog's work", " chunks", lambda f: f.work["hog"].done, 20, is_more_better=True),
    Measure("eater's unmet demand", " core-s", lambda f: f.work["eater"].unmet_core_s, 0.2),
    Measure("CPU left idle", " core-s", lambda f: f.idle_core_s, 1),
)


def disturbances(played: Sequence[Figures], costs: Costs) -> Iterator[str]:
    """Name regimes in which the machine itself was slower or faster than in the rehearsal."""
    for figures in played:
        speed = costs.chunk_core_s / figures.chunk_core_s
        if abs(speed - 1.0) > NOISE:
            yield (
                f"under {figures.regime} this machine ran at {speed:.0%} of the rehearsal's speed:"
                " other work on it disturbs these figures"
            )
