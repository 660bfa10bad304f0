"""Experts: as much as the recent maximum, and as half-way from the level to it.  Pure.

A maximum is looked for in the last four windows of the length that is asked for, as far back as
history is kept.  Of seven centers for the maximum to come, half-way had the lowest or nearly the
lowest loss on recorded traces.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Ints, Singles

_WINDOWS = 4


class Peak:
    """The highest of the last values; `halfway` meets it half-way from the smoothed level."""

    def __init__(self, *, halfway: bool) -> None:
        self._halfway = halfway

    def settle(self, values: Singles) -> None:
        """Take in what came: the history at hand has it."""

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the recent maximum, or what is half-way to it."""
        highest = outlook.recent.recent_maximum(_WINDOWS * steps).astype(np.float32)
        if not self._halfway:
            return highest
        level = outlook.smoothed.astype(np.float32)
        return np.asarray((level + np.fmax(highest, level)) / 2, dtype=np.float32)

    def rearrange(self, positions: Ints) -> None:
        """Keep nothing of its own."""
