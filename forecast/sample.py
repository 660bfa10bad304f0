"""Quantiles of a sample as small as it may be: of each row of values.  Pure."""

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


def upper_quantiles(falling: NDArray[np.floating], count: Ints, levels: Floats) -> Floats:
    """Return what `quantiles` does of samples of which only the largest values are there.

    `falling` (rows, values) falls along axis 1, NaN where a sample has no more; `count` (rows,)
    is how many values each has, or had.
    """
    top = np.maximum(count - 1, 0)
    return _between(falling[:, ::-1], top + 1 - falling.shape[1], top, levels)


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
