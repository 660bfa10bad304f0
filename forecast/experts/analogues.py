"""Expert: what followed the moments of a series' own past that were most like now.  Pure.

Like now is a moment with a like value and a like mean of the last six: nearest neighbours
(Yakowitz, Nearest-neighbour methods for time series without assuming Markov, 1987).  The rarer a
level, the more neighbours it takes to show it: upper quantiles look at wider circles, at last at
all there is; flat is not the same as certain.  In a gap what was expected before it stands.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.conformal import normal_scores
from forecast.expert import Outlook
from forecast.history import Ints, Singles, moved, reringed
from forecast.models import Models
from forecast.sample import quantiles
from forecast.target import Target

_MEAN_STEPS = 6
# Neighbours looked at, and the highest level that so many can show.
_NEAR, _WIDER = 48, 300
_NEAR_LEVEL, _WIDER_LEVEL = 0.95, 0.99
_FEWEST_MOMENTS = 24
# Series handled at a time: bounds the scratch memory.
_BLOCK = 512


class Analogues:
    """The last values of each series, and the mean that went with each, shape (series, steps)."""

    def __init__(self, n_series: int, targets: tuple[Target, ...], memory_steps: int) -> None:
        self._targets = targets
        self._values: Singles = np.full((n_series, memory_steps), np.nan, dtype=np.float32)
        self._means: Singles = np.full_like(self._values, np.nan)
        self._grids = [
            np.full((len(target.levels), n_series), np.nan, dtype=np.float32) for target in targets
        ]
        self._normals = [normal_scores(target.levels) for target in targets]
        self._seen = 0

    def settle(self, step: int, values: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Take in what came; what lies on either side of a gap is no pair."""
        depth = self._values.shape[1]
        place = self._seen % depth
        self._values[:, place] = values
        self._seen += 1
        recent = np.arange(self._seen - min(_MEAN_STEPS, self._seen, depth), self._seen) % depth
        self._means[:, place] = _mean_of_known(self._values[:, recent])

    def expect(self, step: int, outlook: Outlook) -> list[Singles]:
        """Return quantiles of each target; NaN where too little of the past is like now."""
        for start in range(0, len(self._values), _BLOCK):
            block = slice(start, start + _BLOCK)
            for grid, found in zip(self._grids, self._block_quantiles(block), strict=True):
                grid[:, block] = np.where(np.isnan(found.T), grid[:, block], found.T)
        return [
            np.maximum(grid + normal * outlook.least_spread, 0.0).astype(np.float32)
            for grid, normal in zip(self._grids, self._normals, strict=True)
        ]

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Rest on no model."""

    def rearrange(self, positions: Ints, memory_steps: int) -> None:
        """Put the series in a new order, with a past of so many steps; -1 is a newcomer."""
        depth, seen = self._values.shape[1], np.full(len(self._values), self._seen)
        self._values, _ = reringed(self._values, seen, positions, memory_steps, np.nan)
        self._means, _ = reringed(self._means, seen, positions, memory_steps, np.nan)
        self._seen = self._seen if memory_steps == depth else min(self._seen, depth, memory_steps)
        self._grids = [moved(grid, positions, np.nan) for grid in self._grids]

    def _block_quantiles(self, block: slice) -> list[Singles]:
        """Return quantiles of some series for each target, shape (series, levels)."""
        values, means = (self._oldest_first(ring[block]) for ring in (self._values, self._means))
        distance = np.abs(values - values[:, -1:])
        distance += np.abs(means - means[:, -1:])
        is_pair = np.zeros(values.shape, dtype=np.bool_)
        is_pair[:, :-1] = ~np.isnan(distance[:, :-1]) & ~np.isnan(values[:, 1:])
        is_enough = np.flatnonzero(is_pair.sum(axis=1) >= _FEWEST_MOMENTS)
        values, is_pair = values[is_enough], is_pair[is_enough]
        circles = _circles(np.where(is_pair, distance[is_enough], np.float32(np.inf)))
        made = []
        for target in self._targets:
            found = np.full((len(distance), len(target.levels)), np.nan, dtype=np.float32)
            found[is_enough] = _nested_quantiles(values, is_pair, circles, target)
            made.append(found)
        return made

    def _oldest_first(self, ring: Singles) -> Singles:
        depth = ring.shape[1]
        if self._seen <= depth:
            return ring[:, : self._seen]
        return np.roll(ring, -(self._seen % depth), axis=1)


def _mean_of_known(values: Singles) -> Singles:
    """Return each row's mean without its gaps; NaN where there is nothing else."""
    is_known = ~np.isnan(values)
    total = np.where(is_known, values, 0.0).sum(axis=1, dtype=np.float64)
    count = is_known.sum(axis=1)
    mean: Singles = np.full(len(values), np.nan, dtype=np.float32)
    np.divide(total, count, out=mean, where=count > 0, casting="same_kind")
    return mean


def _circles(distance: Singles) -> tuple[Ints, Ints]:
    """Return the places of the nearest moments, and of the wider circle around them."""
    near, wider = min(_NEAR, distance.shape[1]), min(_WIDER, distance.shape[1])
    order = _nearest(distance, wider)
    ordered = np.take_along_axis(distance, order, axis=1)
    return np.take_along_axis(order, _nearest(ordered, near), axis=1), order


def _nested_quantiles(
    values: Singles, is_pair: NDArray[np.bool_], circles: tuple[Ints, Ints], target: Target
) -> Singles:
    """Return quantiles of what followed, each level among as many neighbours as it needs.

    `values` (series, moments) are oldest first, and where there is no pair nothing followed.
    """
    levels = target.levels
    is_near, is_wider = levels <= _NEAR_LEVEL, levels <= _WIDER_LEVEL
    found = np.empty((len(values), len(levels)), dtype=np.float32)
    for which, places in ((is_near, circles[0]), (is_wider & ~is_near, circles[1])):
        if which.any():
            after = _maxima_after(values, places, target.steps)
            is_known = np.take_along_axis(is_pair, places, axis=1) & ~np.isnan(after)
            sample = np.where(is_known, after, np.float32(np.inf))
            found[:, which] = quantiles(np.sort(sample, axis=1), levels[which])
    if not is_wider.all():  # of the next step only
        sample = np.where(is_pair[:, :-1], values[:, 1:], np.float32(np.inf))
        found[:, ~is_wider] = quantiles(np.sort(sample, axis=1), levels[~is_wider])
    return np.maximum.accumulate(found, axis=1)


def _maxima_after(values: Singles, places: Ints, steps: int) -> Singles:
    """Return the maximum of the `steps` values after each place; NaN where not all are known."""
    last = values.shape[1] - 1
    rows = np.arange(len(values))[:, None]
    highest: Singles = values[rows, np.minimum(places + 1, last)]
    for ahead in range(2, steps + 1):
        highest = np.maximum(highest, values[rows, np.minimum(places + ahead, last)])
    highest[places + steps > last] = np.nan
    return highest


def _nearest(distance: Singles, count: int) -> Ints:
    """Return the places of the `count` smallest of each row, in no order."""
    if count >= distance.shape[1]:
        return np.broadcast_to(np.arange(distance.shape[1]), distance.shape)
    return np.argpartition(distance, count - 1, axis=1)[:, :count]
