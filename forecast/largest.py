"""The largest values of each series' recent past, kept in order as the past moves on.  Pure.

A step changes them for few series: only these are looked through anew.
"""

import math

import numpy as np

from forecast.history import Floats, Ints, Singles
from forecast.sample import upper_quantiles


class Largest:
    """Of each series as many of the largest values as rare levels need, shape (series, values).

    `ring` (series, steps) is the past itself, NaN where there is none; its owner writes it.
    """

    def __init__(self, ring: Singles, lowest_level: float) -> None:
        steps = ring.shape[1]
        self._needed = min(math.ceil((steps + 1) * (1.0 - lowest_level)) + 1, steps)
        self._ring = ring
        self._falling: Singles = np.full((len(ring), self._needed), np.nan, dtype=np.float32)
        self._known: Ints = (~np.isnan(ring)).sum(axis=1)
        self._is_stale = np.ones(len(ring), dtype=np.bool_)

    def enter(self, left: Singles, came: Singles) -> None:
        """Take note that `came` took the place of `left` in the ring, each (series,)."""
        self._known += np.isnan(left).astype(np.int64) - np.isnan(came)
        # Negated, so that one that is NaN, of a past that is still short, leaves nothing be.
        least = self._falling[:, -1]
        self._is_stale |= ~((left < least) | np.isnan(left)) | ~((came < least) | np.isnan(came))

    def quantiles(self, rows: Ints, levels: Floats) -> Floats:
        """Return quantiles of some series, (rows, levels), at levels not below the lowest."""
        stale = rows[self._is_stale[rows]]
        if len(stale):
            falling = np.partition(-self._ring[stale], self._needed - 1, axis=1)
            self._falling[stale] = -np.sort(falling[:, : self._needed], axis=1)
            self._is_stale[stale] = False
        return upper_quantiles(self._falling[rows], self._known[rows], levels)
