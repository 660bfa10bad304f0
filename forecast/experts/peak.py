"""Experts: as much as the recent maximum, and as half-way from the level to it.  Pure.

A maximum is looked for in the last four windows of the length that is asked for.  Of seven centers
for the maximum to come, half-way had the lowest or nearly the lowest loss on recorded traces.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import History, Ints, Singles

_WINDOWS = 4


class Peak:
    """The highest of the last values; `halfway` meets it half-way from the smoothed level."""

    def __init__(self, n_series: int, longest_steps: int, *, halfway: bool) -> None:
        self._recent, self._halfway = History(n_series, _WINDOWS * longest_steps), halfway

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        self._recent.append(values)

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the recent maximum, or what is half-way to it."""
        highest = self._recent.recent_maximum(_WINDOWS * steps).astype(np.float32)
        if not self._halfway:
            return highest
        level = outlook.smoothed.astype(np.float32)
        return np.asarray((level + np.fmax(highest, level)) / 2, dtype=np.float32)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._recent.rearrange(positions, self._recent.most_steps)
