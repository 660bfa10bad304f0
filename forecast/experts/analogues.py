"""Expert: what followed the moments of a series' own past that were most like now.  Pure.

Like now is a moment with a like value and a like mean of the last six: nearest neighbours
(Yakowitz, Nearest-neighbour methods for time series without assuming Markov, 1987).  The rarer a
level, the more neighbours it takes to show it: upper quantiles look at wider circles, at last at
all there is; flat is not the same as certain.  Of moments that are as like, the latest count.  In a
gap what was expected before it stands.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forecast.conformal import normal_scores
from forecast.expert import Outlook
from forecast.history import Floats, Ints, Singles, moved, reringed
from forecast.largest import Largest
from forecast.models import Models
from forecast.sample import quantiles
from forecast.target import Target

Keys = NDArray[np.uint32]

_MEAN_STEPS = 6
# Neighbours looked at, and the highest level that so many can show.
_NEAR, _WIDER = 48, 300
_NEAR_LEVEL, _WIDER_LEVEL = 0.95, 0.99
_FEWEST_MOMENTS = 24
# Series handled at a time: bounds the scratch memory.
_BLOCK = 512
# A distance of single precision, as an integer of the same order: what is not less is none.
_NO_DISTANCE = np.float32(np.inf).view(np.uint32)


class Analogues:
    """The last values of each series, and the mean that went with each, shape (series, steps).

    A mean is NaN where nothing followed: what lies on either side of a gap is no pair.
    """

    def __init__(self, n_series: int, targets: tuple[Target, ...], memory_steps: int) -> None:
        self._targets = targets
        self._values: Singles = np.full((n_series, memory_steps), np.nan, dtype=np.float32)
        self._means: Singles = np.full_like(self._values, np.nan)
        self._grids = [
            np.full((len(target.levels), n_series), np.nan, dtype=np.float32) for target in targets
        ]
        self._normals = [normal_scores(target.levels) for target in targets]
        self._largest = Largest(self._values, _WIDER_LEVEL)
        self._seen = 0

    def settle(self, step: int, values: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Take in what came."""
        depth = self._values.shape[1]
        place = self._seen % depth
        self._means[np.isnan(values), place - 1] = np.nan
        self._largest.enter(self._values[:, place], values)
        self._values[:, place] = values
        self._seen += 1
        recent = np.arange(self._seen - min(_MEAN_STEPS, self._seen, depth), self._seen) % depth
        self._means[:, place] = _mean_of_known(self._values[:, recent])

    def expect(self, step: int, outlook: Outlook) -> list[Singles]:
        """Return quantiles of each target; NaN where too little of the past is like now."""
        for start in range(0, len(self._values), _BLOCK):
            block = slice(start, start + _BLOCK)
            keys = self._likeness(block)
            can_tell = (keys < _NO_DISTANCE).sum(axis=1) >= _FEWEST_MOMENTS
            rows = start + np.flatnonzero(can_tell)
            for grid, found in zip(self._grids, self._quantiles(rows, keys[can_tell]), strict=True):
                grid[:, rows] = np.where(np.isnan(found.T), grid[:, rows], found.T)
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
        self._largest = Largest(self._values, _WIDER_LEVEL)
        self._seen = self._seen if memory_steps == depth else min(self._seen, depth, memory_steps)
        self._grids = [moved(grid, positions, np.nan) for grid in self._grids]

    def _likeness(self, block: slice) -> Keys:
        """Return a key (series, moments) of each moment: the less, the more like now, or the later.

        Its last bits are the moment's age in steps; what differs by less than they take of a
        distance, 1 in 4,000, is as like.  Moments that nothing followed have no distance.
        """
        depth = self._values.shape[1]
        values, means = self._values[block, : self._seen], self._means[block, : self._seen]
        newest = (self._seen - 1) % depth
        distance = np.abs(values - values[:, newest, None])
        distance += np.abs(means - means[:, newest, None])
        distance[:, newest] = np.inf
        ages = ((newest - np.arange(distance.shape[1])) % depth).astype(np.uint32)
        keys: Keys = distance.view(np.uint32)
        keys &= ~self._age_bits
        keys |= ages
        return keys

    @property
    def _age_bits(self) -> np.uint32:
        """Return the bits that the greatest age takes."""
        return np.uint32((1 << (self._values.shape[1] - 1).bit_length()) - 1)

    def _quantiles(self, rows: Ints, keys: Keys) -> list[Singles]:
        """Return quantiles of some series for each target, shape (series, levels) each.

        Each level is found among as many neighbours as it needs.
        """
        keys = _least(keys, _WIDER)
        followed = self._highest_after(rows, (keys & self._age_bits).astype(np.int64))
        made, is_pair = [], keys < _NO_DISTANCE
        for target, highest in zip(self._targets, followed, strict=True):
            known = np.where(is_pair, highest, np.float32(np.nan))
            found = _nested_quantiles(known, target.levels)
            is_rare = target.levels > _WIDER_LEVEL
            if is_rare.any():  # of the next step only
                found[:, is_rare] = self._largest.quantiles(rows, target.levels[is_rare])
            made.append(np.maximum.accumulate(found, axis=1))
        return made

    def _highest_after(self, rows: Ints, ages: Ints) -> Iterator[Singles]:
        """Yield each target's maximum after moments (series, moments); NaN where not all is known.

        Targets come in the order of their length.
        """
        depth = self._values.shape[1]
        first = rows[:, None] * depth
        place = (self._seen - 1 - ages) % depth
        highest, ahead = np.full(ages.shape, -np.inf, dtype=np.float32), 0
        for target in self._targets:
            while ahead < target.steps:
                ahead += 1
                place += 1
                place[place == depth] = 0
                highest = np.maximum(highest, self._values.take(first + place))
            highest[ages < ahead] = np.nan
            yield highest


def _mean_of_known(values: Singles) -> Singles:
    """Return each row's mean without its gaps; NaN where there is nothing else."""
    is_known = ~np.isnan(values)
    total = np.where(is_known, values, 0.0).sum(axis=1, dtype=np.float64)
    count = is_known.sum(axis=1)
    mean: Singles = np.full(len(values), np.nan, dtype=np.float32)
    np.divide(total, count, out=mean, where=count > 0, casting="same_kind")
    return mean


def _least(keys: Keys, count: int) -> Keys:
    """Return the `count` smallest keys of each row, rising."""
    if keys.shape[1] > count:
        keys = np.partition(keys, count - 1, axis=1)[:, :count]
    return np.sort(keys, axis=1)


def _nested_quantiles(known: Singles, levels: Floats) -> Singles:
    """Return quantiles (series, levels) of what followed (series, moments), the most like first.

    What is not known, NaN, counts as nobody's neighbour.
    """
    found = np.empty((len(known), len(levels)), dtype=np.float32)
    is_near = levels <= _NEAR_LEVEL
    rank = np.isfinite(known).cumsum(axis=1)
    near = np.where(rank <= _NEAR, known, np.float32(np.nan))
    for which, sample in ((is_near, near), (~is_near, known)):
        if which.any():
            found[:, which] = quantiles(np.sort(sample, axis=1), levels[which])
    return found
