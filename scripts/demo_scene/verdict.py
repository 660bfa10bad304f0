"""The verdict: what the figures say for and against a regime, in words.  Pure.

Every sentence is computed; two figures within `NOISE` of each other count as the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from scripts.demo_scene.record import Costs, Figures

NOISE = 0.15  # repeated runs of one regime differ by as much


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure to compare; differences up to `least` mean nothing."""

    name: str
    unit: str
    value: Callable[[Figures], float]
    least: float
    is_more_better: bool = False


MEASURES = (
    Measure("web p99", " ms", lambda f: f.p99_s * 1e3, 20),
    Measure("web p50", " ms", lambda f: f.p50_s * 1e3, 5),
    Measure("requests lost", "", lambda f: f.requests - f.answered, 3),
    Measure("reports late", "", lambda f: f.reports - f.reports_in_time, 0),
    Measure("hog's work", " chunks", lambda f: f.work["hog"].done, 20, is_more_better=True),
    Measure("eater's unmet demand", " core-s", lambda f: f.work["eater"].unmet_core_s, 0.2),
    Measure("CPU left idle", " core-s", lambda f: f.idle_core_s, 1),
)


def lines(played: Sequence[Figures], judged: str) -> Iterator[str]:
    """Compare the regime called `judged` with each of the others."""
    ours = next((figures for figures in played if figures.regime == judged), None)
    for other in played:
        if ours is not None and other is not ours:
            yield f"{judged} against {other.regime}: {_against(ours, other)}"


def disturbances(played: Sequence[Figures], costs: Costs) -> Iterator[str]:
    """Name regimes in which the machine itself was slower or faster than in the rehearsal."""
    for figures in played:
        speed = costs.chunk_core_s / figures.chunk_core_s
        if abs(speed - 1.0) > NOISE:
            yield (
                f"under {figures.regime} this machine ran at {speed:.0%} of the rehearsal's speed:"
                " other work on it disturbs these figures"
            )


def _against(ours: Figures, other: Figures) -> str:
    """Return the measures in which `ours` is better, as good and worse, in this order."""
    found: dict[str, list[str]] = {"better": [], "as good": [], "WORSE": []}
    for measure in MEASURES:
        own, theirs = measure.value(ours), measure.value(other)
        found[_judged(measure, own, theirs)].append(
            f"{measure.name} ({_shown(own)} to {_shown(theirs)}{measure.unit})"
        )
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in found.items() if names)


def _judged(measure: Measure, own: float, theirs: float) -> str:
    if own == theirs or abs(own - theirs) <= max(measure.least, NOISE * min(own, theirs)):
        return "as good"
    return "better" if (own > theirs) == measure.is_more_better else "WORSE"


def _shown(value: float) -> str:
    if value == inf:
        return "no end"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
