"""Quantiles of a sample as small as it may be: of each row of sorted values.  Pure."""

import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats


def quantiles(ordered: NDArray[np.floating], levels: Floats) -> Floats:
    """Return quantiles of each row's finite values, shape (rows, levels).

    `ordered` (rows, values) rises along axis 1, what is not finite last.  The n values stand at
    levels 1/(n+1) to n/(n+1), with straight lines between; where there are none, what is there.
    """
    top = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)[:, None]
    place = np.clip(levels[None, :] * (top + 2) - 1, 0, top)
    low = place.astype(np.int64)
    rows = np.arange(len(ordered))[:, None]
    start, end = ordered[rows, low], ordered[rows, np.minimum(low + 1, top)]
    with np.errstate(invalid="ignore"):  # inf less inf: nothing is known of that row
        return np.asarray(start + (end - start) * (place - low), dtype=np.float64)
