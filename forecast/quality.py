"""How good forecasts have been: figures of each series, and what was made of them.  Pure.

Every figure is without a unit, so that tenants and resources compare: amounts are shares of the
series' mean demand, skills shares of another's loss.  NaN is not known yet.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from forecast.history import moved

Singles = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

MOST_EXPERTS = 32
WHOLE_PCT = 100
# Which of the three bounds (80, 95 and 99 %) are scored by pinball loss too, and how many.
PINBALL_BOUNDS = slice(1, 3)
PINBALLS = 2
# A poor forecast: its bound at 95 % held less often than this, or it lost so much more than the
# naive one.  It is good again only beyond the second number, so that it does not flicker.
POOR_COVERAGE, GOOD_COVERAGE = 0.85, 0.88
POOR_SKILL, GOOD_SKILL = -0.1, -0.05
# Which of the bounds people are shown, and forecasts are judged by: the one at 95 %.
SHOWN_BOUND = 1


class Verdict(IntEnum):
    """What was made of a series' figures."""

    UNJUDGED = 0  # they rest on too little
    GOOD = 1
    POOR = 2  # refitted early; the model stays as long as the fallback rule does no better
    REPLACED = 3  # poor, and the fallback rule does better: its numbers stand in


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of forecasts that time has judged, newer ones counting more.

    Shapes: `shares` (experts, series), in percent, of how far each expert is believed now;
    `coverage` (bounds, series), how often each bound on the longest horizon's maximum held;
    `pinball` (2, series), the loss of those at 95 and 99 % over the mean demand; all others
    (series,).  `windows` is how many horizons that ended the figures rest on, older ones counting
    less; `sharpness` how far the bound at 95 % stood above the maximum that came, and `bias` how
    far the expectation above the next step's value, both over the mean demand.  `skill` is 1 - loss
    / naive loss of the next step's quantiles, mean over all levels, and `skill_best` the same
    against the single expert that lost least.  Naive is the last value, give or take its changes.
    """

    experts: tuple[str, ...]
    shares: Bytes
    verdict: Bytes
    windows: Singles
    coverage: Singles
    pinball: Singles
    sharpness: Singles
    bias: Singles
    skill: Singles
    skill_best: Singles

    def rearranged(self, positions: Ints) -> "Quality":
        """Return the figures with their series in a new order; of a newcomer none is known."""
        return Quality(
            experts=self.experts,
            shares=moved(self.shares, positions, 0),
            verdict=moved(self.verdict, positions, Verdict.UNJUDGED),
            windows=moved(self.windows, positions, 0.0),
            coverage=moved(self.coverage, positions, np.nan),
            pinball=moved(self.pinball, positions, np.nan),
            sharpness=moved(self.sharpness, positions, np.nan),
            bias=moved(self.bias, positions, np.nan),
            skill=moved(self.skill, positions, np.nan),
            skill_best=moved(self.skill_best, positions, np.nan),
        )

    def cut(self, part: slice) -> "Quality":
        """Return the figures of some series in a row."""
        return Quality(
            self.experts,
            self.shares[:, part],
            self.verdict[part],
            self.windows[part],
            self.coverage[:, part],
            self.pinball[:, part],
            self.sharpness[part],
            self.bias[part],
            self.skill[part],
            self.skill_best[part],
        )

    @property
    def badness(self) -> Singles:
        """Return how far each series is on the way to a poor forecast: 1 is poor, 0 is fine."""
        misses = (0.95 - self.coverage[SHOWN_BOUND]) / (0.95 - POOR_COVERAGE)
        worse: Singles = np.fmax(misses, self.skill / POOR_SKILL).astype(np.float32)
        return np.maximum(worse, np.float32(0.0))

    def is_poor(self) -> NDArray[np.bool_]:
        """Say whose figures are poor; nothing is said of what is not known."""
        is_poor = (self.coverage[SHOWN_BOUND] < POOR_COVERAGE) | (self.skill < POOR_SKILL)
        return np.asarray(is_poor)

    def is_good(self) -> NDArray[np.bool_]:
        """Say whose figures are good enough for a poor forecast to be forgotten."""
        is_poor = (self.coverage[SHOWN_BOUND] < GOOD_COVERAGE) | (self.skill < GOOD_SKILL)
        return np.asarray(~is_poor)
