"""Expert: as much as the level of that smoothing which has done best of late.  Pure.

Simple exponential smoothing at several speeds side by side, never fitted: where a series changes
its manners, another speed takes over within some steps, long before a model is fitted anew.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Ints, Singles, moved
from forecast.rolling import rolled

_ALPHAS: Singles = np.array([[0.05], [0.1], [0.2], [0.4], [0.8]], dtype=np.float32)
# Half of an error is forgotten after 35 steps.
_KEPT_A_STEP = np.float32(0.98)


class SmoothingGrid:
    """Levels at all speeds, and the absolute errors of each, shape (speeds, series)."""

    def __init__(self, n_series: int) -> None:
        self._levels: Singles = np.full((len(_ALPHAS), n_series), np.nan, dtype=np.float32)
        self._errors: Singles = np.zeros_like(self._levels)

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        missed = np.abs(values - self._levels)
        forgotten = self._errors * _KEPT_A_STEP + missed
        self._errors = np.where(np.isnan(missed), self._errors, forgotten)
        self._levels = rolled(self._levels, _ALPHAS, values).astype(np.float32)

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the level of the speed with the smallest errors."""
        best = self._errors.argmin(axis=0)
        level: Singles = self._levels[best, np.arange(len(best))]
        return level

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._levels = moved(self._levels, positions, np.nan)
        self._errors = moved(self._errors, positions, 0.0)
