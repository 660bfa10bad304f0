"""An expert: the smoothed state, plus the errors that it made of late.  Pure.

A short memory follows what changes, a long one knows what is rare.
"""

import numpy as np

from forecast.conformal import Calibrator
from forecast.expert import Ints, Outlook, Singles
from forecast.history import moved
from forecast.profile import LEVELS


class Residuals:
    """Quantiles of the last `memory_steps` one-step errors around ETS(A,N,N), kept calibrated."""

    def __init__(self, n_series: int, memory_steps: int) -> None:
        self._calibrator = Calibrator(n_series, LEVELS, memory_steps)
        self._center: Singles = np.full(n_series, np.nan, dtype=np.float32)
        self._grid: Singles = np.full((len(LEVELS), n_series), np.nan, dtype=np.float32)

    def settle(self, values: Singles) -> None:
        """Take in what came: it is held against what was expected."""
        self._calibrator.enter(values - self._center)
        self._calibrator.adapt(values, self._grid)

    def expect(self, outlook: Outlook) -> Singles:
        """Return quantiles of the next value; NaN before the first one."""
        self._center = outlook.smoothed.astype(np.float32)
        scores = self._calibrator.quantiles(outlook.spread, outlook.least_spread)
        self._grid = np.maximum(self._center + scores, np.float32(0.0))
        return self._grid

    def rearrange(self, positions: Ints, steps: int) -> None:
        """Put the series in a new order, with a memory of `steps`; -1 is a newcomer."""
        self._calibrator.rearrange(positions, steps)
        self._center = moved(self._center, positions, np.nan)
        self._grid = moved(self._grid, positions, np.nan)
