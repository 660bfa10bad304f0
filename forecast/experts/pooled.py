"""Expert: errors pooled over series of like kind, for what one's own past cannot show.  Pure.

An error of the level is divided by the series' own mean error; such relative errors of all series
that are about as spiky make one sample, and its quantiles, times the own mean error, are told.  One
series shows one in a thousand after a thousand steps, a hundred alike after ten.  Global models do
the same (Montero-Manso and Hyndman, Principles and algorithms for forecasting groups of time
series, 2021).  Who lies about its demand moves the pool of its like: how far that is believed of
the next step is learned from each series alone (mixture.py).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.conformal import normal_scores
from forecast.expert import Outlook
from forecast.history import Ints, Singles, moved
from forecast.models import Models
from forecast.sample import quantiles
from forecast.target import Pending, Target

# Mean and square errors look back on about so many windows.
_GAIN = 1 / 128
# Root of the mean square by the mean absolute error: 1.25 of a normal distribution, 1.41 of an
# exponential one.  What lies between two of these is alike.
_SPIKINESS = np.array([1.35, 1.8, 3.0], dtype=np.float32)
# Errors of each kind that are kept, of these as many of one step at most, and what is a sample.
_KEPT, _KEPT_A_STEP, _FEWEST = 4096, 512, 200
# Windows after which a series' own mean error is one.
_FEWEST_OWN = 3
# So many of a series' own mean errors an error is at most: who wakes up after a week of idleness,
# whose mean error has all but vanished by then, would be any number of them off.
_MOST_ERRORS = np.float32(1000.0)


class Pooled:
    """What the level missed each target by, relative to each series' own errors, by kind."""

    def __init__(self, n_series: int, targets: tuple[Target, ...]) -> None:
        self._around = [_Pool(n_series, target) for target in targets]

    def settle(self, step: int, values: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Take in the maxima that are complete."""
        for pool, outcome in zip(self._around, outcomes, strict=True):
            if outcome is not None:
                pool.settle(step, outcome)

    def expect(self, step: int, outlook: Outlook) -> list[Singles]:
        """Return quantiles of each target; NaN until there is a sample of the like."""
        level = outlook.smoothed.astype(np.float32)
        least = outlook.least_spread.astype(np.float32)
        return [pool.expect(step, level, least) for pool in self._around]

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Rest on no model of its own."""

    def rearrange(self, positions: Ints, memory_steps: int) -> None:
        """Put the series in a new order; a newcomer joins its like after a few windows."""
        for pool in self._around:
            pool.rearrange(positions)


class _Pool:
    """Errors of one target."""

    def __init__(self, n_series: int, target: Target) -> None:
        self._target = target
        self._mean: Singles = np.zeros(n_series, dtype=np.float32)  # of absolute errors
        self._square: Singles = np.zeros(n_series, dtype=np.float32)
        self._count: Ints = np.zeros(n_series, dtype=np.int64)
        kinds = len(_SPIKINESS) + 1
        self._errors: Singles = np.full((kinds, _KEPT), np.nan, dtype=np.float32)
        self._entered = [0] * kinds
        # The level, and the error that it was relative to; NaN where that was none.
        self._pending = Pending(n_series, target, (2,))
        self._normal = normal_scores(target.levels).astype(np.float32)

    def settle(self, step: int, outcome: Singles) -> None:
        """Take in what the window that closes now was missed by."""
        level, scale = self._pending.closing(step)
        error, kind = outcome - level, self._kind()
        with np.errstate(over="ignore"):
            relative = np.divide(error, scale, out=np.full_like(error, np.nan), where=scale > 0)
        np.clip(relative, -_MOST_ERRORS, _MOST_ERRORS, out=relative)
        for of, ring in enumerate(self._errors):
            alike = np.sort(relative[(kind == of) & ~np.isnan(relative)])
            # In order, and an even choice: whose they are decides nothing.
            alike = alike[:: -(-len(alike) // _KEPT_A_STEP) or 1]
            ring[(self._entered[of] + np.arange(len(alike))) % _KEPT] = alike
            self._entered[of] += len(alike)
        self._learn(error)

    def expect(self, step: int, level: Singles, least: Singles) -> Singles:
        """Return quantiles around a level, and keep it to be judged."""
        pending = self._pending.opening(step)
        is_own = (self._count >= _FEWEST_OWN) & (self._mean > least)
        pending[0], pending[1] = level, np.where(is_own, self._mean, np.float32(np.nan))
        if max(self._entered) < _FEWEST:
            return np.full((len(self._target.levels), len(level)), np.nan, dtype=np.float32)
        relative = quantiles(np.sort(self._errors, axis=1), self._target.levels)
        relative[np.array(self._entered) < _FEWEST] = np.nan
        told: Singles = level + relative.astype(np.float32)[self._kind()].T * pending[1]
        told += self._normal * least
        return np.maximum(told, np.float32(0.0), out=told)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; the pools stay."""
        self._mean, self._square = (moved(c, positions, 0.0) for c in (self._mean, self._square))
        self._count = moved(self._count, positions, 0)
        self._pending.rearrange(positions)

    def _learn(self, error: Singles) -> None:
        """Move each series' own mean and square error."""
        known = np.flatnonzero(np.isfinite(error))
        self._count[known] += 1
        gain = np.maximum(1.0 / self._count[known], _GAIN).astype(np.float32)
        size = np.abs(error[known])
        self._mean[known] += gain * (size - self._mean[known])
        self._square[known] += gain * (np.square(size) - self._square[known])

    def _kind(self) -> NDArray[np.intp]:
        """Return how spiky each series is, (series,)."""
        size = np.maximum(self._mean, np.float32(1e-30))
        return np.searchsorted(_SPIKINESS, np.sqrt(self._square) / size)
