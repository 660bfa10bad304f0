"""A trace: what tenants wanted of one resource, step by step, put on an even grid from a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.backtest.archive import (
    BYTES_PER_NUMBER,
    LARGEST_BYTES,
    Rows,
    most_rows,
    read_rows,
)
from agent.backtest.columns import QUANTITY_OF
from agent.backtest.faults import TraceError
from agent.tenant import Floats, Ints, Resource
from forecast.history import cleaned

# Steps within this fraction of one another are one step with jitter.
_SAME_STEP_FRACTION = 0.01
_SHORTEST_STEP_S = 0.001
_NO_STEP = "no tenant has rows of two times that are 1 ms or more apart, so there is no step"


@dataclass(frozen=True, slots=True)
class Trace:
    """What tenants of one archive wanted of one resource, step by step.

    Columns are in the resource's base unit and in the tenants' name order.
    """

    name: str
    resource: Resource
    step_s: float
    tenants: tuple[str, ...]
    demand: Floats  # (steps, tenants); NaN where there is no row
    ceiling: Floats  # (tenants,) the largest limit ever seen; inf where there is none


@dataclass(frozen=True, slots=True)
class Grid:
    """Where each of a file's rows goes in (steps, tenants).

    Several rows may share a place: rows given twice, or nearer to one another than a step.
    """

    step_s: float
    n_steps: int
    n_tenants: int
    first_row: Ints  # of the rows of each place that has some
    place: Ints  # step * n_tenants + tenant

    def filled(self, values: Floats) -> Floats:
        """Return values (steps, tenants), the largest of those that share a place; NaN is a gap."""
        grid = np.full(self.n_steps * self.n_tenants, np.nan)
        grid[self.place] = np.fmax.reduceat(cleaned(values), self.first_row)
        return grid.reshape(self.n_steps, self.n_tenants)


def read_trace(path: Path, resource: Resource, *, largest_bytes: int = LARGEST_BYTES) -> Trace:
    """Read what a file (.parquet or .csv) tells of one resource.

    Values that cannot be demand (negative, infinite, absurd) are gaps.

    Raises:
        TraceError: The file is no trace, is too large, or tells nothing of the resource.

    """
    quantity = QUANTITY_OF[resource]
    limits = [quantity.limit] if quantity.limit else []
    rows = read_rows(path, [quantity.demand], limits, largest_bytes=largest_bytes)
    grid = grid_of(path, rows, largest_bytes=largest_bytes)
    demand = grid.filled(rows.values[quantity.demand])
    if np.isnan(demand).all():
        raise TraceError(path, f"has no usable value in column {quantity.demand}")
    limit = rows.values.get(quantity.limit, np.full(len(rows.at_s), np.nan))
    return Trace(path.stem, resource, grid.step_s, rows.names, demand, highest_limit(rows, limit))


def highest_limit(rows: Rows, limit: Floats) -> Floats:
    """Return each tenant's largest limit; inf where none is known, or none but 0."""
    first_row = np.searchsorted(rows.tenant, np.arange(len(rows.names)))
    highest = np.fmax.reduceat(cleaned(limit), first_row)
    return np.where(highest > 0, highest, np.inf)


def grid_of(path: Path, rows: Rows, *, largest_bytes: int) -> Grid:
    """Return the grid of a file's rows: from their first time, a row to the nearest step.

    Raises:
        TraceError: The rows have no step, or not one that fits them.

    """
    step_s = _step_s(path, rows)
    start_s = float(rows.at_s.min())
    n_steps_wide = np.rint((float(rows.at_s.max()) - start_s) / step_s) + 1
    is_too_wide = n_steps_wide * len(rows.names) * BYTES_PER_NUMBER > largest_bytes
    if is_too_wide or n_steps_wide > most_rows(largest_bytes=largest_bytes):
        why = (
            f"its times span {n_steps_wide:.3g} steps of {step_s:g} s for {len(rows.names)} tenants"
        )
        raise TraceError(path, why, "rows must be evenly spaced, and t in seconds")
    step = np.rint((rows.at_s - start_s) / step_s).astype(np.int64)
    # Rows of one place follow one another, since rows are in order of tenant, then time.
    place = step * len(rows.names) + rows.tenant
    first_row = np.flatnonzero(np.diff(place, prepend=-1))
    return Grid(step_s, int(n_steps_wide), len(rows.names), first_row, place[first_row])


def _step_s(path: Path, rows: Rows) -> float:
    """Return the most common difference between a tenant's successive times."""
    differences_s = np.diff(rows.at_s)[np.diff(rows.tenant) == 0]
    differences_s = differences_s[differences_s >= _SHORTEST_STEP_S]
    if len(differences_s) == 0:
        raise TraceError(path, _NO_STEP, "t is in seconds")
    width_s = float(np.median(differences_s)) * _SAME_STEP_FRACTION
    bins = np.rint(differences_s / width_s)
    found, counts = np.unique(bins, return_counts=True)
    return float(np.median(differences_s[bins == found[counts.argmax()]]))
