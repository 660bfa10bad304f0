"""An expert: what followed the moments of a series' own past that were most like now.  Pure.

Like now is a moment with a like value and a like mean of the last six: nearest neighbours
(Yakowitz, Nearest-neighbour methods for time series without assuming Markov, 1987).  The rarer a
level, the more neighbours it takes to show it: upper quantiles look at wider circles, at last at
all there is.  In a gap what was expected before it stands.
"""

import numpy as np

from forecast.expert import Floats, Ints, Outlook, Singles
from forecast.history import moved, reringed
from forecast.profile import LEVELS

_MEAN_STEPS = 6
# Neighbours looked at, and the highest level that so many can show.
_NEAR, _WIDER = 48, 300
_NEAR_LEVEL, _WIDER_LEVEL = 0.95, 0.99
_FEWEST_MOMENTS = 24
# Series handled at a time: bounds the scratch memory.
_BLOCK = 512


class Analogues:
    """The last `depth` values of each series, and the mean that went with each."""

    def __init__(self, n_series: int, depth: int) -> None:
        self._values: Singles = np.full((n_series, depth), np.nan, dtype=np.float32)
        self._means: Singles = np.full((n_series, depth), np.nan, dtype=np.float32)
        self._grid: Singles = np.full((len(LEVELS), n_series), np.nan, dtype=np.float32)
        self._seen = 0

    def settle(self, values: Singles) -> None:
        """Take in what came; what lies on either side of a gap is no pair."""
        depth = self._values.shape[1]
        place = self._seen % depth
        self._values[:, place] = values
        self._seen += 1
        recent = np.arange(self._seen - min(_MEAN_STEPS, self._seen, depth), self._seen) % depth
        self._means[:, place] = _mean_of_known(self._values[:, recent])

    def expect(self, outlook: Outlook) -> Singles:
        """Return quantiles of the next value; NaN where too little of the past is like now."""
        for start in range(0, len(self._values), _BLOCK):
            block = slice(start, start + _BLOCK)
            found = self._block_quantiles(block).T
            self._grid[:, block] = np.where(np.isnan(found), self._grid[:, block], found)
        return self._grid.copy()

    def rearrange(self, positions: Ints, steps: int) -> None:
        """Put the series in a new order, with a past of `steps`; -1 is a newcomer."""
        depth, seen = self._values.shape[1], np.full(len(self._values), self._seen)
        self._values, _ = reringed(self._values, seen, positions, steps, np.nan)
        self._means, _ = reringed(self._means, seen, positions, steps, np.nan)
        self._seen = self._seen if steps == depth else min(self._seen, depth, steps)
        self._grid = moved(self._grid, positions, np.nan)

    def _block_quantiles(self, block: slice) -> Singles:
        """Return quantiles of some series, shape (series, levels)."""
        filled = min(self._seen, self._values.shape[1])
        values, means = self._values[block, :filled], self._means[block, :filled]
        newest = (self._seen - 1) % self._values.shape[1]
        following = np.roll(values, -1, axis=1)
        following[:, newest] = np.nan  # what is asked for
        distance = np.abs(values - values[:, newest, None])
        distance += np.abs(means - means[:, newest, None])
        is_pair = ~np.isnan(distance) & ~np.isnan(following)
        count = is_pair.sum(axis=1)
        is_enough = count >= _FEWEST_MOMENTS
        distance, following = (
            np.where(is_pair, column, np.float32(np.inf))[is_enough]
            for column in (distance, following)
        )
        found = np.full((len(values), len(LEVELS)), np.nan, dtype=np.float32)
        found[is_enough] = _nested_quantiles(distance, following, count[is_enough])
        return found


def _mean_of_known(values: Singles) -> Singles:
    """Return each row's mean without its gaps; NaN where there is nothing else."""
    is_known = ~np.isnan(values)
    total = np.where(is_known, values, 0.0).sum(axis=1, dtype=np.float64)
    count = is_known.sum(axis=1)
    mean: Singles = np.full(len(values), np.nan, dtype=np.float32)
    np.divide(total, count, out=mean, where=count > 0, casting="same_kind")
    return mean


def _nested_quantiles(distance: Singles, following: Singles, count: Ints) -> Singles:
    """Return quantiles of what followed, each level among as many neighbours as it needs.

    `distance` and `following` (series, moments) are inf where there is no pair; `count` has pairs.
    """
    near, wider = min(_NEAR, distance.shape[1]), min(_WIDER, distance.shape[1])
    order = _nearest(distance, wider)
    ordered = np.take_along_axis(distance, order, axis=1)
    nearest = np.take_along_axis(order, _nearest(ordered, near), axis=1)
    is_near, is_wider = LEVELS <= _NEAR_LEVEL, LEVELS <= _WIDER_LEVEL
    found = np.empty((len(distance), len(LEVELS)), dtype=np.float32)
    circles = (
        (is_near, np.take_along_axis(following, nearest, axis=1)),
        (is_wider & ~is_near, np.take_along_axis(following, order, axis=1)),
        (~is_wider, following),
    )
    for which, sample in circles:
        found[:, which] = _quantiles(np.sort(sample, axis=1), count, LEVELS[which])
    return np.maximum.accumulate(found, axis=1)


def _nearest(distance: Singles, count: int) -> Ints:
    """Return the places of the `count` smallest of each row, in no order."""
    if count >= distance.shape[1]:
        return np.broadcast_to(np.arange(distance.shape[1]), distance.shape)
    return np.argpartition(distance, count - 1, axis=1)[:, :count]


def _quantiles(ordered: Singles, count: Ints, levels: Floats) -> Singles:
    """Return quantiles of each row's finite values, of which there are at most `count`."""
    top = np.maximum(np.minimum(count, ordered.shape[1]) - 1, 0)[:, None]
    place = np.clip(levels[None, :] * (top + 2) - 1, 0, top)
    low = place.astype(np.int64)
    rows = np.arange(len(ordered))[:, None]
    start, end = ordered[rows, low], ordered[rows, np.minimum(low + 1, top)]
    return np.asarray(start + (end - start) * (place - low), dtype=np.float32)
