"""Ticks gathered into steps, which the forecaster sees.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.tenant import Floats, Ints, carried_over
from forecast.history import moved

_MEANS = 3


@dataclass(frozen=True, slots=True)
class ClosedStep:
    """What one step came to, shape (series,); NaN where no tick knew."""

    demand: Floats  # mean, corrected for throttling: what the forecaster sees
    peak: Floats  # the highest demand of a tick
    usage: Floats  # mean
    limit: Floats  # mean of those in force
    expected: Floats | None = None  # what had been forecast of the step before it began
    bound: Floats | None = None  # of the maximum over the longest horizon from then on, at 95 %


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the making, shape (series,) each; a step's value is the mean of its ticks."""

    totals: Floats  # (measures, series) of demand, usage, limit
    ticks: NDArray[np.float32]  # whole numbers
    peak: Floats  # (series,) of demand
    elapsed_s: float

    @classmethod
    def begun(cls, series: int) -> "Step":
        """Return a step without ticks."""
        nothing = np.zeros((_MEANS, series))
        no_ticks = np.zeros((_MEANS, series), dtype=np.float32)
        return cls(nothing, no_ticks, np.full(series, np.nan), 0.0)

    def with_tick(
        self, demand: Floats, usage: Floats, limit: Floats, *, elapsed_s: float
    ) -> "Step":
        """Add one tick's values; NaN does not count."""
        values = np.stack((demand, usage, limit))
        known = np.isfinite(values)
        return Step(
            self.totals + np.where(known, values, 0.0),
            self.ticks + known,
            np.fmax(self.peak, demand),
            self.elapsed_s + elapsed_s,
        )

    def rearranged(self, positions: Ints) -> "Step":
        """Return the step with its series in a new order; position -1 is a newcomer."""
        return Step(
            carried_over(self.totals, positions, 0.0),
            moved(self.ticks, positions, 0.0),
            carried_over(self.peak, positions),
            self.elapsed_s,
        )

    def closed(self) -> ClosedStep:
        """Return what the step came to."""
        means = np.full_like(self.totals, np.nan)
        np.divide(self.totals, self.ticks, out=means, where=self.ticks > 0)
        demand, usage, limit = means
        return ClosedStep(demand, self.peak, usage, limit)


def series_positions(positions: Ints, places: Sequence[int], *, tenants_before: int) -> Ints:
    """Return positions of a new roster's series, resource by resource, among the old; -1: none.

    `places` are those of the resources that are divided now among those that were before, or -1.
    """
    place = np.array(places, dtype=np.int64)[:, None]
    is_known = (positions >= 0) & (place >= 0)
    return np.where(is_known, positions + place * tenants_before, -1).reshape(-1)
