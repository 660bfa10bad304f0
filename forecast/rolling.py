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


def rolled(
    smoothed: NDArray[np.floating], alpha: NDArray[np.floating], values: NDArray[np.floating]
) -> Floats:
    """Return the state after one more step; a gap leaves it, a first value starts it."""
    started = np.where(np.isnan(smoothed), values, smoothed)
    following = started + alpha * (values - started)
    return np.asarray(np.where(np.isnan(values), smoothed, following))


def deviation_ahead(sigma: Floats, alpha: Floats, steps: int) -> Floats:
    """Return the standard deviation of y_{t+h} given t: sigma * sqrt(1 + alpha^2 (h - 1))."""
    return sigma * np.sqrt(1.0 + np.square(alpha) * (steps - 1))


def rolled_trend(
    level: Floats, trend: Floats, values: Floats, *, alpha: Floats, beta: Floats, phi: Floats
) -> tuple[Floats, Floats]:
    """Return level and trend of ETS(A,Ad,N) after one more step; a gap leaves them.

    e_t = y_t - l_{t-1} - phi b_{t-1},  l_t = l_{t-1} + phi b_{t-1} + alpha e_t,
    b_t = phi b_{t-1} + beta e_t
    """
    expected = level + phi * trend
    error, is_gap = values - expected, np.isnan(values)
    return (
        np.where(is_gap, level, expected + alpha * error),
        np.where(is_gap, trend, phi * trend + beta * error),
    )


def damped_ahead(level: Floats, trend: Floats, phi: Floats, steps: int) -> Floats:
    """Return the forecast of y_{t+h} by ETS(A,Ad,N): l_t + (phi + ... + phi^h) b_t."""
    damped = sum((phi**ahead for ahead in range(1, steps + 1)), start=np.zeros_like(phi))
    return level + damped * trend
