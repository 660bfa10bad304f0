"""How much each series may need at all: what it has needed once it may need again.  Pure.

Beyond the highest level that experts learn, the quantile function rises to the most that the series
has needed, which is believed ever less as time passes.
"""

import numpy as np

from forecast.history import Ints, Singles, moved

# Chosen on recorded traces: two days left 6 to 20 % more unmet where capacity is plenty, no
# forgetting at all up to 10 % more.
_HALF_LIFE_S = 4 * 86400.0


class Most:
    """The most that each series has needed, halved every four days; NaN before the first value."""

    def __init__(self, n_series: int, step_s: float) -> None:
        self._kept = np.float32(0.5 ** (step_s / _HALF_LIFE_S))
        self.values: Singles = np.full(n_series, np.nan, dtype=np.float32)

    def settle(self, came: Singles) -> None:
        """Take in a step (series,); NaN is a gap."""
        self.values = np.fmax(self._kept * self.values, came)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer."""
        self.values = moved(self.values, positions, np.nan)
