"""The verdict: what the figures say for and against a regime, in words.  Pure.

Every sentence is computed; two figures within a measure's noise of each other count as the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar

NOISE = 0.15  # repeated runs of one regime differ by as much, unless a measure says otherwise


class Played(Protocol):
    """A regime's figures, whatever they are."""

    @property
    def regime(self) -> str:
        """Return the regime's name."""


F = TypeVar("F", bound=Played)


@dataclass(frozen=True)
class Measure(Generic[F]):
    """One figure to compare; differences up to `least` mean nothing."""

    name: str
    unit: str
    value: Callable[[F], float]
    least: float
    is_more_better: bool = False
    noise: float = NOISE


def lines(measures: Sequence[Measure[F]], played: Sequence[F], judged: str) -> Iterator[str]:
    """Compare the regime called `judged` with each of the others."""
    ours = next((figures for figures in played if figures.regime == judged), None)
    for other in played:
        if ours is not None and other is not ours:
            yield f"{judged} against {other.regime}: {_against(measures, ours, other)}"


def _against(measures: Sequence[Measure[F]], ours: F, other: F) -> str:
    """Return the measures in which `ours` is better, as good and worse, in this order."""
    found: dict[str, list[str]] = {"better": [], "as good": [], "WORSE": []}
    for measure in measures:
        own, theirs = measure.value(ours), measure.value(other)
        found[_judged(measure, own, theirs)].append(
            f"{measure.name} ({_shown(own)} to {_shown(theirs)}{measure.unit})"
        )
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in found.items() if names)


def _judged(measure: Measure[F], own: float, theirs: float) -> str:
    if own == theirs or abs(own - theirs) <= max(measure.least, measure.noise * min(own, theirs)):
        return "as good"
    return "better" if (own > theirs) == measure.is_more_better else "WORSE"


def _shown(value: float) -> str:
    if value == inf:
        return "no end"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
