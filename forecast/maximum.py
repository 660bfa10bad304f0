"""Bounds on the maximum within one horizon, calibrated on maxima that are complete.  Pure."""

import numpy as np

from forecast.conformal import Calibrator
from forecast.history import Floats, Ints, Singles
from forecast.profile import BOUNDS
from forecast.windows import OpenWindows


class Maximum:
    """What is expected of the next `steps` steps of all series, until they have been seen."""

    def __init__(self, n_series: int, steps: int, score_steps: int) -> None:
        self.steps = steps
        self._calibrator = Calibrator(n_series, BOUNDS, score_steps)
        self._windows = OpenWindows(n_series, len(BOUNDS), steps)

    @property
    def count(self) -> Ints:
        """Return how many maxima of each series the bounds rest on."""
        return self._calibrator.count

    def settle(self, values: Floats) -> None:
        """Take in a step, and hold the maximum that it completes against what was expected."""
        complete = self._windows.close(values)
        self._calibrator.enter(complete.maximum - complete.center)
        self._calibrator.adapt(complete.maximum, complete.bounds)

    def expect(self, center: Floats, spread: Floats, least_spread: Floats) -> Singles:
        """Return bounds (bounds, series) around a center, and keep them to be judged by."""
        scores = self._calibrator.quantiles(spread, least_spread)
        bounds = np.maximum(center + scores, 0.0)
        self._windows.open(center, bounds)
        return bounds.astype(np.float32)

    def rearrange(self, positions: Ints, score_steps: int) -> None:
        """Put the series in a new order; -1 is a newcomer."""
        self._calibrator.rearrange(positions, score_steps)
        self._windows.rearrange(positions)
