"""Ticks gathered into steps, which the forecaster sees.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.tenant import Floats, Ints, carried_over


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the making, shape (series,); a step's value is the mean of its ticks."""

    total: Floats
    ticks: Floats
    elapsed_s: float

    @classmethod
    def begun(cls, series: int) -> "Step":
        """Return a step without ticks."""
        return cls(np.zeros(series), np.zeros(series), 0.0)

    def with_tick(self, values: Floats, elapsed_s: float) -> "Step":
        """Add one tick's values; NaN does not count."""
        known = np.isfinite(values)
        return Step(
            self.total + np.where(known, values, 0.0),
            self.ticks + known,
            self.elapsed_s + elapsed_s,
        )

    def rearranged(self, positions: Ints) -> "Step":
        """Return the step with its series in a new order; position -1 is a newcomer."""
        return Step(
            carried_over(self.total, positions, 0.0),
            carried_over(self.ticks, positions, 0.0),
            self.elapsed_s,
        )

    def mean(self) -> Floats:
        """Return the step's value: NaN for a series that no tick knew."""
        return np.divide(
            self.total, self.ticks, out=np.full_like(self.total, np.nan), where=self.ticks > 0
        )


def series_positions(positions: Ints, places: Sequence[int], *, tenants_before: int) -> Ints:
    """Return positions of a new roster's series, resource by resource, among the old; -1: none.

    `places` are those of the resources that are divided now among those that were before, or -1.
    """
    place = np.array(places, dtype=np.int64)[:, None]
    is_known = (positions >= 0) & (place >= 0)
    return np.where(is_known, positions + place * tenants_before, -1).reshape(-1)
