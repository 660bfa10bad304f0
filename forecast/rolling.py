"""State equations of exponential smoothing, over all series at once.  Pure.

ETS(A,N,N) in innovations form (Hyndman et al., Forecasting with Exponential Smoothing, 2008):
    e_t = y_t - l_{t-1},   l_t = l_{t-1} + alpha * e_t,   forecast of y_{t+h} = l_t
A fitted state rolled forward this way equals what StatsForecast gets by replaying the series.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Until a model is fitted: quick enough to follow, slow enough not to chase noise.
DEFAULT_ALPHA = 0.3


def rolled(smoothed: Floats, alpha: Floats, values: Floats) -> Floats:
    """Return the state after one more step; a gap leaves it, a first value starts it."""
    started = np.where(np.isnan(smoothed), values, smoothed)
    following = started + alpha * (values - started)
    return np.where(np.isnan(values), smoothed, following)


def deviation_ahead(sigma: Floats, alpha: Floats, steps: int) -> Floats:
    """Return the standard deviation of y_{t+h} given t: sigma * sqrt(1 + alpha^2 (h - 1))."""
    return sigma * np.sqrt(1.0 + np.square(alpha) * (steps - 1))
