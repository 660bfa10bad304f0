"""What is fitted to series, as arrays: the models' parameters and last states.  Pure.

`forecast.ets` fits them with StatsForecast; whoever rolls them forward needs only this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats

HOURS_A_DAY = 24


@dataclass(frozen=True, slots=True)
class LevelFits:
    """ETS(A,N,N), shape (series,) each; NaN where nothing could be fitted."""

    alpha: Floats
    smoothed: Floats
    sigma: Floats  # standard deviation of one-step errors


@dataclass(frozen=True, slots=True)
class TrendFits:
    """ETS(A,Ad,N), shape (series,) each; NaN where nothing could be fitted."""

    alpha: Floats
    beta: Floats
    phi: Floats
    level: Floats
    trend: Floats


@dataclass(frozen=True, slots=True)
class DailyFits:
    """ETS(A,N,A) of hourly means; NaN where nothing could be fitted."""

    alpha: Floats  # (series,)
    gamma: Floats  # (series,)
    level: Floats  # (series,)
    season: Floats  # (24, series): of the hours that follow the last one, in turn


@dataclass(frozen=True, slots=True)
class Models:
    """How each kind of model is fitted to columns of a history (steps, series), NaN a gap."""

    level: Callable[[NDArray[np.floating]], LevelFits]
    trend: Callable[[NDArray[np.floating]], TrendFits]
    daily: Callable[[NDArray[np.floating]], DailyFits]
