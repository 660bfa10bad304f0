"""Expert: as much as just now.  Pure."""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Ints, Singles, moved


class Naive:
    """The last value that was known."""

    def __init__(self, n_series: int) -> None:
        self._last: Singles = np.full(n_series, np.nan, dtype=np.float32)

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        self._last = np.where(np.isnan(values), self._last, values)

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the last value."""
        return self._last

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._last = moved(self._last, positions, np.nan)
