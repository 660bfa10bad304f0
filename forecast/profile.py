"""The demand profile: what a forecast says of many series at one step.  Pure."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from forecast.history import moved

Floats = NDArray[np.float64]

# At least 16 levels, denser towards the tail that placement bids for.
LEVELS: Floats = np.array(
    [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999]
)


class Source(IntEnum):
    """Where a series' numbers come from."""

    LEARNING = 0  # too few points: the fallback rule on what there is
    LIVE = 1  # a fitted model, calibrated
    FALLBACK = 2  # enough points, but the forecaster is late, hung or dead


@dataclass(frozen=True, slots=True)
class Profile:
    """Quantiles of the next step's demand, and a bound on the maximum over the horizon.

    Shapes: `levels` (levels,), `grid` (levels, series) rising along axis 0, the others (series,).
    NaN where a series has never been observed.  `step` numbers the last step that was seen.
    """

    step: int
    levels: Floats
    grid: Floats
    expected: Floats
    upper: Floats
    source: NDArray[np.uint8]

    def rearranged(self, positions: NDArray[np.int64]) -> "Profile":
        """Return the profile with its series in a new order; -1 is a newcomer, unobserved."""
        return Profile(
            step=self.step,
            levels=self.levels,
            grid=moved(self.grid, positions, np.nan),
            expected=moved(self.expected, positions, np.nan),
            upper=moved(self.upper, positions, np.nan),
            source=moved(self.source, positions, Source.LEARNING),
        )
