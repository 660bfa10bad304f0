"""What past occurrences of an event took, relative to the time before them.  Pure.

Of each event (by name) and series the logarithms of ratios are summed, older ones counting for
less, and shrunk towards none: log m = sum / (weight + 1), so that the first occurrence counts for
half.  An occurrence in which nothing happened (a ratio of 1) lowers what was learned.
"""

from dataclasses import dataclass

import numpy as np

from agent.tenant import Floats, Ints

LEAST_RATIO, MOST_RATIO = 0.1, 20.0
_KEPT = 0.9  # of the weight of what was learned before
MOST_WEIGHT = 1 / (1 - _KEPT)
_PRIOR_WEIGHT = 1.0  # of no change at all


@dataclass(frozen=True, slots=True)
class Learned:
    """Rows in the order of their keys, event x n_series + series; columns of shape (rows,)."""

    n_series: int
    key: Ints
    log_sum: Floats
    weight: Floats
    count: Ints

    @classmethod
    def nothing(cls, n_series: int) -> "Learned":
        """Return what is known before the first occurrence."""
        empty = np.empty(0)
        return cls(n_series, np.empty(0, np.int64), empty, empty, np.empty(0, np.int64))

    @classmethod
    def of_rows(
        cls, n_series: int, key: Ints, sums: tuple[Floats, Floats], count: Ints
    ) -> "Learned":
        """Return rows given in any order; of two with one key, one."""
        key, first = np.unique(key, return_index=True)
        log_sum, weight = sums
        return cls(n_series, key, log_sum[first], weight[first], count[first])

    def keys(self, event: Ints, series: Ints) -> Ints:
        """Return the keys of events (numbers) for series."""
        return event * self.n_series + series

    @property
    def events(self) -> Ints:
        """Return the number of each row's event."""
        return self.key // max(self.n_series, 1)

    def without(self, event: Ints) -> "Learned":
        """Return the same without these events."""
        if not len(event):
            return self
        kept = ~np.isin(self.events, event)
        sums = self.log_sum[kept], self.weight[kept]
        return Learned.of_rows(self.n_series, self.key[kept], sums, self.count[kept])

    def multiplier(self, event: Ints, series: Ints) -> Floats:
        """Return what is learned of each, 1 where nothing is."""
        place, is_known = self._places(self.keys(event, series))
        found = np.ones(len(place))
        rows = place[is_known]
        found[is_known] = np.exp(self.log_sum[rows] / (self.weight[rows] + _PRIOR_WEIGHT))
        return found

    def occurrences(self, event: Ints, series: Ints) -> Ints:
        """Return from how many occurrences that is learned."""
        place, is_known = self._places(self.keys(event, series))
        found = np.zeros(len(place), dtype=np.int64)
        found[is_known] = self.count[place[is_known]]
        return found

    def settled(self, event: Ints, series: Ints, ratio: Floats) -> "Learned":
        """Return what is known after one more occurrence of each; every pair at most once."""
        key = self.keys(event, series)
        log_ratio = np.log(np.clip(ratio, LEAST_RATIO, MOST_RATIO))
        fresh = np.setdiff1d(key, self.key)
        merged = self._with(fresh)
        place = np.searchsorted(merged.key, key)
        log_sum, weight, count = merged.log_sum.copy(), merged.weight.copy(), merged.count.copy()
        log_sum[place] = _KEPT * log_sum[place] + log_ratio
        weight[place] = _KEPT * weight[place] + 1.0
        count[place] += 1
        return Learned(self.n_series, merged.key, log_sum, weight, count)

    def rearranged(self, positions: Ints) -> "Learned":
        """Return the same of series in a new order; what has gone is left out."""
        place = np.full(max(self.n_series, 1), -1)
        is_kept = positions >= 0
        place[positions[is_kept]] = np.flatnonzero(is_kept)
        event, series = np.divmod(self.key, max(self.n_series, 1))
        there = place[series] >= 0
        key = event[there] * len(positions) + place[series][there]
        sums = self.log_sum[there], self.weight[there]
        return Learned.of_rows(len(positions), key, sums, self.count[there])

    def _with(self, fresh: Ints) -> "Learned":
        """Return the same and empty rows, in the order of keys."""
        key = np.concatenate((self.key, fresh))
        order, zeros = np.argsort(key), np.zeros(len(fresh))
        return Learned(
            self.n_series,
            key[order],
            np.concatenate((self.log_sum, zeros))[order],
            np.concatenate((self.weight, zeros))[order],
            np.concatenate((self.count, zeros.astype(np.int64)))[order],
        )

    def _places(self, key: Ints) -> tuple[Ints, np.ndarray]:
        place = np.searchsorted(self.key, key)
        is_known = place < len(self.key)
        is_known[is_known] = self.key[place[is_known]] == key[is_known]
        return place, is_known
