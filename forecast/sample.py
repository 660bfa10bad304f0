"""Quantiles of a sample as small as it may be: of each row of values.  Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats, Ints


def quantiles(ordered: NDArray[np.floating], levels: Floats) -> Floats:
    """Return quantiles of each row's finite values, shape (rows, levels).

    `ordered` (rows, values) rises along axis 1, what is not finite last.  The n values stand at
    levels 1/(n+1) to n/(n+1), with straight lines between; where there are none, what is there.
    """
    count = np.isfinite(ordered).sum(axis=1)
    return _between(ordered, np.zeros_like(count), np.maximum(count - 1, 0), levels)


def upper_quantiles(values: NDArray[np.floating], levels: Floats) -> Floats:
    """Return what `quantiles` does of `values` in any order, NaN none, at levels close to 1.

    Only the largest are put in order: of 2,016 a twentieth of the time at 0.995.
    """
    n = values.shape[1]
    needed = min(math.ceil(n + 1 - float(levels.min()) * (n + 1)) + 1, n)
    falling = np.sort(np.partition(-values, needed - 1, axis=1)[:, :needed], axis=1)
    top = np.maximum((~np.isnan(values)).sum(axis=1) - 1, 0)
    return _between(-falling[:, ::-1], top + 1 - needed, top, levels)


def _between(ordered: NDArray[np.floating], skipped: Ints, top: Ints, levels: Floats) -> Floats:
    """Return quantiles of samples of whose order the first `skipped` are not there, (rows,)."""
    top, skipped = top[:, None], skipped[:, None]
    place = np.clip(levels[None, :] * (top + 2) - 1, 0, top)
    low = place.astype(np.int64)
    rows = np.arange(len(ordered))[:, None]
    start = ordered[rows, low - skipped]
    end = ordered[rows, np.minimum(low + 1, top) - skipped]
    with np.errstate(invalid="ignore"):  # inf less inf: nothing is known of that row
        return np.asarray(start + (end - start) * (place - low), dtype=np.float64)
