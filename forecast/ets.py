"""ETS(A,N,N) models, fitted by StatsForecast.  The only importer of it; only in the child process.

Models stay here; what leaves is arrays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsforecast.ets import ets_f

from forecast.rolling import DEFAULT_ALPHA
from forecast.settings import FEWEST_POINTS

Floats = NDArray[np.float64]

# A likelihood that is flat in alpha often ends near 0, where a level never follows again.
SMALLEST_ALPHA = 0.05
# Below this range, relative to its size, a series is constant: there is nothing to fit.
_CONSTANT_FRACTION = 1e-7

# Bounds are for alpha, beta, gamma, phi; only the first is used by this model.
_LOWER = np.array([SMALLEST_ALPHA, 1e-4, 1e-4, 0.8])


@dataclass(frozen=True, slots=True)
class Fits:
    """Parameters and last states of fitted models, shape (series,); NaN where nothing fits."""

    alpha: Floats
    smoothed: Floats
    sigma: Floats  # standard deviation of one-step errors


def fitted(history: NDArray[np.floating]) -> Fits:
    """Fit each column of `history` (steps, series), oldest first; NaN is a gap and is skipped.

    A gap leaves the state, so a series is fitted on its known points, one after another.
    """
    triples = [_fit(column) for column in history.T]
    table = np.array(triples, dtype=np.float64).reshape(-1, 3)
    return Fits(alpha=table[:, 0], smoothed=table[:, 1], sigma=table[:, 2])


_UNFITTED = (np.nan, np.nan, np.nan)


def _fit(column: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return (alpha, last state, sigma) of one series, NaN where it has too few points."""
    known = column[np.isfinite(column)].astype(np.float64)
    if len(known) < FEWEST_POINTS:
        return _UNFITTED
    # Fitted in units of its own size: 1e-6 cores and 1e11 bytes meet the same tolerances.
    size = float(np.abs(known).max())
    if float(np.ptp(known)) <= _CONSTANT_FRACTION * size:
        return DEFAULT_ALPHA, float(known[-1]), 0.0
    try:
        model = ets_f(  # type: ignore[no-untyped-call]
            known / size, m=1, model="ANN", damped=False, lower=_LOWER
        )
    except Exception:  # noqa: BLE001 - StatsForecast raises nothing narrower; one series stops no other
        return _UNFITTED
    return (
        float(model["par"][0]),
        float(model["states"][-1, 0]) * size,
        float(np.sqrt(model["sigma2"])) * size,
    )
