"""Whom to believe of rare windows: weights that all series learn together.  Pure.

A bound at 99 % that is judged each five minutes misses three times a day: of one series it takes
days to tell who is good at it, of all of them hours.  So beside each series' own weights
(mixture.py), and with what those make of the experts as one expert more, there is one set of
weights at each level that all series share, learned in the same way from the sum over series of
what each saves, in units of its own mean error.  So what mixture.py says of regret holds of that
sum: over all series together little more is lost than by any expert, or by all of the own weights;
where series differ, the crowd learns to believe each one's own.  Of one series alone it says
nothing.  What one series can move is bounded, at some cost to the bound: whoever is further off
than `_MOST_ERRORS` counts as that far.
"""

import numpy as np

from forecast.history import Floats, Ints, Singles, moved
from forecast.mixture import (
    HALF_LIFE_WINDOWS,
    Mixture,
    averaged,
    blocks_of,
    reseated,
    slopes,
    weights,
)
from forecast.target import Pending, Target

# An own mean error looks back on about so many windows.
_GAIN = 1 / 128
# So many of a series' own mean errors an expert is apart from the mixture at most: who is further
# off is no worse for the crowd, however sure a series is of itself.
_MOST_ERRORS = np.float32(20.0)
_KEPT = 0.5 ** (1 / HALF_LIFE_WINDOWS)


class CrowdMixture:
    """Weights of all experts, and of what each series makes of them, for one target."""

    def __init__(self, n_experts: int, n_series: int, target: Target) -> None:
        self._own = Mixture(n_experts, n_series, target)
        shape = (n_experts + 1, len(target.levels), 1)  # the last is what the own weights make
        self._saved: Floats = np.zeros(shape)
        self._squares: Floats = np.zeros(shape)
        self._error: Singles = np.zeros(n_series, dtype=np.float32)
        self._windows: Ints = np.zeros(n_series, dtype=np.int64)
        self._levels: Singles = target.levels.astype(np.float32)[:, None]
        self._pending = Pending(n_series, target, (len(target.levels),))

    def settle(self, step: int, outcome: Singles) -> None:
        """Hold what was said of the window that closes now against what came, (series,)."""
        said, mixed = self._own.said(step), self._pending.closing(step)
        saved = np.zeros(self._saved.shape[:2])
        for block in blocks_of(len(outcome)):
            slope = slopes(mixed[:, block], outcome[block], self._levels)
            apart = self._in_errors(mixed[:, block] - said[..., block], block)
            saved += (slope * apart).sum(axis=-1, dtype=np.float64)
        if not np.isnan(outcome).all():
            self._saved = _KEPT * self._saved + saved[..., None]
            self._squares = _KEPT * self._squares + np.square(saved[..., None])
        self._learn(outcome - mixed[0])
        self._own.settle(step, outcome)

    def mixed(self, step: int, grids: list[Singles]) -> Singles:
        """Return the mixture of `grids`, each (levels, series); NaN where no expert can tell."""
        said = [*grids, self._own.mixed(step, grids)]
        found = np.empty_like(said[-1])
        for block in blocks_of(found.shape[1]):
            told = np.stack([grid[:, block] for grid in said])
            weight = weights(self._saved, self._squares, ~np.isnan(told))
            found[:, block] = averaged(told, weight)
        self._pending.opening(step)[:] = found
        return found

    def rearrange(self, positions: Ints, experts: list[int]) -> None:
        """Put the series and the experts in a new order; -1 is new to the others."""
        order = [*experts, len(self._saved) - 1]
        self._saved = reseated(self._saved, order, 0.0)
        self._squares = reseated(self._squares, order, 0.0)
        self._error = moved(self._error, positions, 0.0)
        self._windows = moved(self._windows, positions, 0)
        self._own.rearrange(positions, experts)
        self._pending.rearrange(positions)

    def _in_errors(self, apart: Singles, block: slice) -> Singles:
        """Return distances in units of each series' own mean error, bounded; 0 of who slept."""
        error = self._error[block]
        is_unit = error > 0
        with np.errstate(over="ignore"):
            found = np.where(is_unit, apart / np.where(is_unit, error, np.float32(1.0)), 0.0)
        found = np.clip(np.nan_to_num(found, nan=0.0), -_MOST_ERRORS, _MOST_ERRORS)
        return np.asarray(found, dtype=np.float32)

    def _learn(self, error: Singles) -> None:
        """Move each series' own mean error; NaN is none."""
        known = np.flatnonzero(np.isfinite(error))
        self._windows[known] += 1
        gain = np.maximum(1.0 / self._windows[known], _GAIN).astype(np.float32)
        self._error[known] += gain * (np.abs(error[known]) - self._error[known])
