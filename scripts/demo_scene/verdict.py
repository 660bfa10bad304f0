"""The verdict: what the figures say for and against a regime, in words.  Pure.

Every sentence is computed; two figures within `NOISE` of each other count as the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from scripts.demo_scene.record import Costs, Figures

NOISE = 0.15  # repeated runs of one regime differ by as much on a shared machine


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure to compare, with the sign that makes less of it better (+1) or worse (-1)."""

    name: str
    unit: str
    value: Callable[[Figures], float]
    is_less_better: bool
    floor: float  # differences below this mean nothing


MEASURES = (
    Measure("web p99", "ms", lambda f: f.p99_s * 1e3, is_less_better=True, floor=20.0),
    Measure("web p50", "ms", lambda f: f.p50_s * 1e3, is_less_better=True, floor=5.0),
    Measure("requests lost", "", lambda f: f.requests - f.answered, is_less_better=True, floor=3),
    Measure(
        "reports late", "", lambda f: f.reports - f.reports_in_time, is_less_better=True, floor=0
    ),
    Measure("hog's work", "chunks", lambda f: f.work["hog"].done, is_less_better=False, floor=20),
    Measure(
        "eater's unmet demand", "core-s", lambda f: f.work["eater"].unmet_core_s,
        is_less_better=True, floor=0.2,
    ),
    Measure("CPU left idle", "core-s", lambda f: f.idle_core_s, is_less_better=True, floor=1.0),
)  # fmt: skip


def lines(played: Sequence[Figures], judged: str) -> Iterator[str]:
    """Compare the regime called `judged` with each other one, measure by measure."""
    ours = next((figures for figures in played if figures.regime == judged), None)
    others = [figures for figures in played if figures.regime != judged]
    if ours is None or not others:
        return
    for measure in MEASURES:
        parts = [f"{_compared(measure, ours, other)} {other.regime}" for other in others]
        value = _shown(measure.value(ours), measure.unit)
        yield f"{measure.name}: {judged} {value}: {', '.join(parts)}"


def disturbances(played: Sequence[Figures], costs: Costs) -> Iterator[str]:
    """Name regimes in which the machine itself was slower or faster than in the rehearsal."""
    for figures in played:
        ratio = figures.chunk_core_s / costs.chunk_core_s
        if abs(ratio - 1.0) > NOISE:
            yield (
                f"{figures.regime}: the machine gave {1 / ratio:.2f} of the rehearsal's speed"
                " (other work on it?); its figures compare poorly"
            )


def _compared(measure: Measure, ours: Figures, other: Figures) -> str:
    own, theirs = measure.value(ours), measure.value(other)
    shown = _shown(theirs, "")
    if own == theirs or abs(own - theirs) <= max(measure.floor, NOISE * min(own, theirs)):
        return f"as good as {shown} under"
    is_better = (own < theirs) == measure.is_less_better
    return f"{'better' if is_better else 'WORSE'} than {shown} under"


def _shown(value: float, unit: str) -> str:
    text = "without end" if value == inf else f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{text} {unit}".strip()
