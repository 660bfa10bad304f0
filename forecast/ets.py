"""Exponential smoothing models, fitted by StatsForecast.  Its only importer; only in the child.

Models stay here; what leaves is arrays.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsforecast.ets import ets_f

from forecast.history import Floats
from forecast.models import HOURS_A_DAY, DailyFits, LevelFits, Models, TrendFits
from forecast.rolling import DEFAULT_ALPHA
from forecast.settings import FEWEST_POINTS

# A likelihood that is flat in alpha often ends near 0, where a level never follows again.
SMALLEST_ALPHA = 0.05
# StatsForecast refuses a damped trend with fewer.
_FEWEST_TREND_POINTS = 10
# Below this range, relative to its size, a series is constant: there is nothing to fit.
_CONSTANT_FRACTION = 1e-7
# Bounds are for alpha, beta, gamma, phi; only those that a model has are used.
_LOWER = np.array([SMALLEST_ALPHA, 1e-4, 1e-4, 0.8])


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of model: what it needs, and what is read from a fit."""

    fewest_points: int
    arguments: dict[str, Any]
    parameters: tuple[int, ...]  # places in StatsForecast's par, that have no unit
    states: tuple[int, ...]  # places in its last state, in the series' unit
    constant: tuple[float, ...]  # parameters of a series that does not vary


_LEVEL = _Kind(
    FEWEST_POINTS, {"m": 1, "model": "ANN", "damped": False}, (0,), (0,), (DEFAULT_ALPHA,)
)
_TREND = _Kind(
    _FEWEST_TREND_POINTS,
    {"m": 1, "model": "AAN", "damped": True},
    (0, 1, 3),
    (0, 1),
    (DEFAULT_ALPHA, 0.0, 1.0),
)
# The state has the level and then the season's hours, the last one first.
_DAILY = _Kind(
    2 * HOURS_A_DAY,
    {"m": HOURS_A_DAY, "model": "ANA", "damped": False},
    (0, 2),
    (0, *range(HOURS_A_DAY, 0, -1)),
    (DEFAULT_ALPHA, 0.0),
)


def fitted_levels(history: NDArray[np.floating]) -> LevelFits:
    """Fit ETS(A,N,N) to each column of `history` (steps, series), oldest first.

    NaN is a gap and is skipped: it leaves the state, so a series is fitted on its known points,
    one after another.
    """
    (alpha,), (level,), sigma = _fitted(history, _LEVEL)
    return LevelFits(alpha, level, sigma)


def fitted_trends(history: NDArray[np.floating]) -> TrendFits:
    """Fit ETS(A,Ad,N) to each column of `history` (steps, series), oldest first, without gaps."""
    (alpha, beta, phi), (level, trend), _ = _fitted(history, _TREND)
    return TrendFits(alpha, beta, phi, level, trend)


def fitted_days(hours: NDArray[np.floating]) -> DailyFits:
    """Fit ETS(A,N,A) to each column of hourly means (hours, series), oldest first, no gaps."""
    (alpha, gamma), states, _ = _fitted(hours, _DAILY)
    return DailyFits(alpha, gamma, states[0], states[1:])


MODELS = Models(level=fitted_levels, trend=fitted_trends, daily=fitted_days)


def _fitted(history: NDArray[np.floating], kind: _Kind) -> tuple[Floats, Floats, Floats]:
    """Return parameters, last states and the deviation of errors: (numbers, series), (series,).

    NaN where there are too few points, or StatsForecast finds nothing.
    """
    columns = [_fit(column, kind) for column in history.T]
    width = len(kind.parameters) + len(kind.states)
    table = np.array(columns, dtype=np.float64).reshape(-1, width + 1).T
    return table[: len(kind.parameters)], table[len(kind.parameters) : width], table[width]


def _fit(column: NDArray[np.floating], kind: _Kind) -> tuple[float, ...]:
    """Return parameters, last states and the deviation of errors of one series."""
    nothing = (np.nan,) * (len(kind.parameters) + len(kind.states) + 1)
    known = column[np.isfinite(column)].astype(np.float64)
    if len(known) < kind.fewest_points:
        return nothing
    # Fitted in units of its own size: 1e-6 cores and 1e11 bytes meet the same tolerances.
    size = float(np.abs(known).max())
    if float(np.ptp(known)) <= _CONSTANT_FRACTION * size:
        return (*kind.constant, float(known[-1]), *(0.0,) * (len(kind.states) - 1), 0.0)
    try:
        model = ets_f(known / size, lower=_LOWER, **kind.arguments)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - StatsForecast raises nothing narrower; one series stops no other
        return nothing
    return (
        *(float(model["par"][place]) for place in kind.parameters),
        *(float(model["states"][-1, place]) * size for place in kind.states),
        float(np.sqrt(model["sigma2"])) * size,
    )
