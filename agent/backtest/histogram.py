"""Decaying histograms of all tenants' demand at once, as autoscalers keep them.  Pure."""

import math
from dataclasses import dataclass

import numpy as np

from agent.tenant import Bools, Floats, Ints

# From here on all weights are made small again: a power of two, so that none is rounded.
_LARGEST_WEIGHT = 2.0**64


@dataclass(frozen=True, slots=True)
class Buckets:
    """Ranges of values, each a fixed ratio wider than the one before; the last has no end.

    start_k = first * (ratio^k - 1) / (ratio - 1)
    """

    start: Floats  # (buckets,)

    @classmethod
    def up_to(cls, largest: float, *, first: float, ratio: float) -> "Buckets":
        """Return as many buckets as it takes until one starts at `largest` or above."""
        last = math.ceil(math.log(largest * (ratio - 1) / first + 1) / math.log(ratio))
        return cls(first * (ratio ** np.arange(last + 1.0) - 1) / (ratio - 1))

    @classmethod
    def split(cls, largest: float, *, count: int, ratio: float) -> "Buckets":
        """Return `count` buckets of which the last starts at `largest`."""
        return cls(largest * (ratio ** np.arange(float(count)) - 1) / (ratio ** (count - 1) - 1))

    def of(self, values: Floats) -> Ints:
        """Return the bucket of each value >= 0."""
        return np.asarray(np.searchsorted(self.start, values, side="right") - 1, dtype=np.int64)

    def end(self, bucket: Ints) -> Floats:
        """Return where each bucket ends; the last one, which does not, stands for its start."""
        return self.start[np.minimum(bucket + 1, len(self.start) - 1)]


class DecayingHistogram:
    """Weights of all tenants' past values, halved every `half_life` moves of time.

    New values get heavier instead of old ones lighter: only the proportion counts.
    """

    def __init__(self, tenants: int, buckets: Buckets, half_life: float) -> None:
        self.buckets = buckets
        self._weight = np.zeros((tenants, len(buckets.start)))
        self._growth = 2.0 ** (1.0 / half_life)
        self._newest_weight = 1.0

    def age(self) -> None:
        """Let one unit of the half-life pass."""
        self._newest_weight *= self._growth
        if self._newest_weight >= _LARGEST_WEIGHT:
            self._weight /= _LARGEST_WEIGHT
            self._newest_weight /= _LARGEST_WEIGHT

    def add(self, values: Floats, is_taken: Bools, weight: Floats) -> None:
        """Take in one value of each tenant that `is_taken`; a negative weight takes it out."""
        tenant = np.flatnonzero(is_taken)
        bucket = self.buckets.of(values[tenant])
        self._weight[tenant, bucket] += self._newest_weight * weight[tenant]

    def quantile(self, level: float) -> Floats:
        """Return the end of the first bucket with `level` of the weight in and below it."""
        below = np.cumsum(self._weight, axis=1)
        is_enough = below >= level * below[:, -1:]
        return self.buckets.end(is_enough.argmax(axis=1))
