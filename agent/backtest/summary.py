"""What a trace file holds, in a few numbers and lines of text."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.backtest.archive import LARGEST_BYTES, Rows, read_rows
from agent.backtest.columns import CPU, QUANTITIES, Quantity
from agent.backtest.faults import TraceError
from agent.backtest.trace import Grid, grid_of, highest_limit
from agent.table import Column, table
from agent.tenant import Floats
from agent.units import approximate_bytes, seconds_text, three_digits

_PER_S = "_per_s"


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """One column over all tenants, in its base unit; `limit` is None where there is none."""

    column: str
    tenants: int  # that have a value
    gap_fraction: float  # of all (step, tenant)
    mean: float  # of the sum over tenants, over the steps
    peak: float  # of that sum
    limit: float | None  # sum of the tenants' limits


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A file's size, and its columns that hold something."""

    tenants: int
    steps: int
    step_s: float
    columns: tuple[ColumnSummary, ...]


def summarised(path: Path, *, largest_bytes: int = LARGEST_BYTES) -> TraceSummary:
    """Sum up a trace file, one column in memory at a time.

    Raises:
        TraceError: The file is no trace, is too large, or has no usable value.

    """
    found = [_summed(path, quantity, largest_bytes) for quantity in QUANTITIES]
    columns = tuple(column for one in found for column in one.columns if column.tenants)
    if not columns:
        raise TraceError(path, "has no usable value in any column that a trace has")
    return replace(found[0], columns=columns)


def summary_lines(name: str, summary: TraceSummary, *, width: int) -> list[str]:
    """Return the summary for a terminal."""
    lasting = seconds_text(summary.steps * summary.step_s)
    step = seconds_text(summary.step_s)
    start = f"{name}: {summary.tenants} tenants, {summary.steps} steps of {step} ({lasting})"
    heads, lines, _ = table(_COLUMNS, summary.columns, width=width)
    return [start, "", *heads, *lines]


def _summed(path: Path, quantity: Quantity, largest_bytes: int) -> TraceSummary:
    """Sum up what a file holds of one quantity, if it has its column."""
    wanted = [name for name in (quantity.demand, quantity.limit) if name]
    rows = read_rows(path, [], wanted, largest_bytes=largest_bytes)
    grid = grid_of(path, rows, largest_bytes=largest_bytes)
    columns = (_column(quantity, rows, grid),) if quantity.demand in rows.values else ()
    return TraceSummary(grid.n_tenants, grid.n_steps, grid.step_s, columns)


def _column(quantity: Quantity, rows: Rows, grid: Grid) -> ColumnSummary:
    demand = grid.filled(rows.values[quantity.demand])
    is_known = ~np.isnan(demand)
    total = np.sum(demand, axis=1, where=is_known)  # unlike nansum, it makes no copy
    return ColumnSummary(
        column=quantity.demand,
        tenants=int(is_known.any(axis=0).sum()),
        gap_fraction=float(1 - is_known.mean()),
        mean=float(total.mean()),
        peak=float(total.max()),
        limit=_sum_of_limits(rows, rows.values.get(quantity.limit)),
    )


def _sum_of_limits(rows: Rows, limit: Floats | None) -> float | None:
    """Return the sum, None where some tenant has no limit."""
    total = np.inf if limit is None else float(highest_limit(rows, limit).sum())
    return total if np.isfinite(total) else None


def _amount(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    if column == CPU.demand:
        return three_digits(value)
    return approximate_bytes(value) + ("/s" if column.endswith(_PER_S) else "")


_COLUMNS: tuple[Column[ColumnSummary], ...] = (
    Column("COLUMN", lambda one: one.column, is_left=True),
    Column("TENANTS", lambda one: str(one.tenants)),
    Column("GAPS", lambda one: f"{100 * one.gap_fraction:.1f}%"),
    Column("MEAN", lambda one: _amount(one.column, one.mean)),
    Column("PEAK", lambda one: _amount(one.column, one.peak)),
    Column("LIMITS", lambda one: _amount(one.column, one.limit)),
)
