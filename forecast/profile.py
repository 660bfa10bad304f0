"""The demand profile: what a forecast says of many series at one step.  Pure."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecast.history import moved
from forecast.quality import SHOWN_BOUND, Quality

Floats = NDArray[np.float64]
Numbers = NDArray[np.floating[Any]]  # single precision, as they come from the forecaster, or double

# At least 16 levels, denser towards the tail that placement bids for.
EXPERT_LEVELS: Floats = np.array(
    [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999]
)

# Behind them the end of the distribution, of which no expert can learn: see `forecast.most`.
LEVELS: Floats = np.append(EXPERT_LEVELS, 1.0)

# What a bound on the maximum within a horizon is to hold with.
BOUNDS: Floats = np.array([0.8, 0.95, 0.99])


class Source(IntEnum):
    """Where a series' numbers come from."""

    LEARNING = 0  # too few points: the fallback rule on what there is
    LIVE = 1  # a fitted model, calibrated
    FALLBACK = 2  # enough points, but the forecaster is late or dead, or the model is poor


@dataclass(frozen=True, slots=True)
class Profile:
    """Quantiles of the next step's demand, and bounds on the maximum over three horizons.

    Shapes: `levels` (levels,), `grid` (levels, series) rising along axis 0, `maximum` (horizons,
    bounds, series) rising along both: the nearest horizon first, at `BOUNDS`; the others (series,).
    NaN where a series has never been observed.  `step` numbers the last step that was seen,
    `quality` says how good such forecasts have been; None is that nothing has kept score.
    """

    step: int
    levels: Floats
    grid: Numbers
    expected: Floats
    maximum: Numbers
    source: NDArray[np.uint8]
    quality: Quality | None = None

    @property
    def upper(self) -> Floats:
        """Return what the maximum over the longest horizon stays below with 95 %, (series,)."""
        return shown_bound(self.maximum)

    def rearranged(self, positions: NDArray[np.int64]) -> "Profile":
        """Return the profile with its series in a new order; -1 is a newcomer, unobserved."""
        return Profile(
            step=self.step,
            levels=self.levels,
            grid=moved(self.grid, positions, np.nan),
            expected=moved(self.expected, positions, np.nan),
            maximum=moved(self.maximum, positions, np.nan),
            source=moved(self.source, positions, Source.LEARNING),
            quality=None if self.quality is None else self.quality.rearranged(positions),
        )


def shown_bound(maximum: Numbers) -> Floats:
    """Return, of bounds (horizons, bounds, series), the longest horizon's at 95 %."""
    return np.asarray(maximum[-1, SHOWN_BOUND], dtype=np.float64)
