"""Series to forecast: synthetic ones, recorded traces, and the share of outcomes that bounds held.

Traces are found in the folder that TIDEGATE_TRACES names; without it such tests are skipped.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.profile import Profile
from forecast.settings import ForecastSettings

Floats = NDArray[np.float64]

TRACE_STEP_S = 300


def trace(name: str, column: str = "cpu_cores", steps: int = 2016) -> Floats:
    """Return one recorded trace (steps, series); skips the test where there is none."""
    folder = os.environ.get("TIDEGATE_TRACES")
    if not folder:
        pytest.skip("no recorded traces: TIDEGATE_TRACES names no folder")
    path = Path(folder) / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no recorded trace at {path}")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path, columns=["tenant", "t", column])
    _, series = np.unique(table["tenant"].to_numpy().astype(str), return_inverse=True)
    row = (table["t"].to_numpy() - table["t"].to_numpy().min()) // TRACE_STEP_S
    values = np.full((int(row.max()) + 1, int(series.max()) + 1), np.nan)
    values[row.astype(np.int64), series] = table[column].to_numpy()
    return values[:steps]


def profiles(
    values: Floats, settings: ForecastSettings, *, fits_per_step: int | None = None
) -> list[Profile]:
    """Forecast every step of `values` (steps, series), refitting some series after each."""
    core = ForecastCore(values.shape[1], settings, MODELS)
    made = []
    for step, row in enumerate(values):
        made.append(core.observe(step, row))
        core.refit(core.due()[:fits_per_step])
    return made


def maxima_ahead(values: Floats, horizon_steps: int) -> Floats:
    """Return the maximum of the `horizon_steps` steps after each step that has so many."""
    ahead = np.lib.stride_tricks.sliding_window_view(values[1:], horizon_steps, axis=0)
    return np.asarray(ahead.max(axis=-1), dtype=np.float64)


def share_held(outcomes: Floats, bounds: Floats) -> float:
    """Return the share of known outcomes that are within their bounds."""
    is_known = np.isfinite(outcomes) & np.isfinite(bounds)
    return float((outcomes <= bounds)[is_known].mean())


def pinball(outcomes: Floats, bounds: Floats, level: float) -> float:
    """Return the mean pinball loss of bounds that should hold with probability `level`."""
    above = outcomes - bounds
    return float(np.nanmean(np.where(above > 0, level * above, (level - 1) * above)))
