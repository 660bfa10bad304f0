"""Ticks gathered into steps, which the forecaster sees, and their recent history.  Pure."""

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

    def mean(self) -> Floats:
        """Return the step's value: NaN for a series that no tick knew."""
        return np.divide(
            self.total, self.ticks, out=np.full_like(self.total, np.nan), where=self.ticks > 0
        )


def appended(history: Floats, values: Floats, most_steps: int) -> Floats:
    """Return `history` (steps, series) with one more row, bounded to `most_steps` rows."""
    return np.concatenate((history, values[None]))[-most_steps:]


def rearranged(columns: Floats, positions: Ints, resources: int) -> Floats:
    """Return columns (..., resources * tenants before) in the order of a new roster."""
    by_resource = columns.reshape(*columns.shape[:-1], resources, -1)
    moved = carried_over(by_resource, positions)
    return moved.reshape(*columns.shape[:-1], resources * len(positions))
