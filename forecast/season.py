"""Whether hourly means repeat from day to day, and what days of the week make of them.  Pure.

All arrays have shape (hours, series), oldest first.
"""

import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats
from forecast.models import HOURS_A_DAY

DAYS_A_WEEK = 7
# A season has to be seen so often before it is believed.
FEWEST_DAYS = 3
# One-sided 5 %: how rarely a series without a season passes for one.
_CRITICAL = 1.645
# Days of the week are told apart from two weeks on; each is believed like one of so many.
_FEWEST_HOURS, _PRIOR_DAYS = 14 * HOURS_A_DAY, 2.0
_TINY = 1e-30


def without_gaps(hours: Floats) -> Floats:
    """Return hours with the same hour of the day before, or else after, in place of each gap."""
    filled = hours.copy()
    count = len(hours)
    there = range(HOURS_A_DAY, count)
    back = range(count - HOURS_A_DAY - 1, -1, -1)
    for hour, other in [
        *((h, h - HOURS_A_DAY) for h in there),
        *((h, h + HOURS_A_DAY) for h in back),
    ]:
        filled[hour] = np.where(np.isnan(filled[hour]), filled[other], filled[hour])
    return filled


def is_enough(hours: Floats) -> NDArray[np.bool_]:
    """Say of which series each hour of the day was seen on three days or more; NaN is a gap."""
    first = -len(hours) % HOURS_A_DAY
    known = np.zeros((first + len(hours), hours.shape[1]), dtype=np.int64)
    known[first:] = np.isfinite(hours)
    seen = known.reshape(-1, HOURS_A_DAY, hours.shape[1]).sum(axis=0)
    return np.asarray((seen >= FEWEST_DAYS).all(axis=0))


def has_season(hours: Floats) -> NDArray[np.bool_]:
    """Say which series' autocorrelation at a day is more than chance; not one that has gaps.

    The test of Assimakopoulos and Nikolopoulos (The theta model, 2000): above 1.645 times
    Bartlett's standard error, sqrt((1 + 2 sum of r_i^2 below a day) / n).
    """
    less_mean = hours - hours.mean(axis=0)
    power = np.maximum((less_mean**2).sum(axis=0), _TINY)
    lags = range(1, HOURS_A_DAY + 1)
    correlation = (
        np.stack([(less_mean[lag:] * less_mean[:-lag]).sum(axis=0) for lag in lags]) / power
    )
    error = np.sqrt((1 + 2 * (correlation[:-1] ** 2).sum(axis=0)) / len(hours))
    return np.asarray(correlation[-1] > _CRITICAL * error)


def day_factors(hours: Floats, first_hour: int) -> Floats:
    """Return what each day of the week has of the mean, (7, series), 1 while little is known.

    `first_hour` numbers the first row; hour 0 is the first one of day 0.
    """
    if len(hours) < _FEWEST_HOURS:
        return np.ones((DAYS_A_WEEK, hours.shape[1]))
    day = day_of(np.arange(first_hour, first_hour + len(hours)))
    mean = np.maximum(hours.mean(axis=0), _TINY)
    is_on = day[None] == np.arange(DAYS_A_WEEK)[:, None]
    days = is_on.sum(axis=1)[:, None] / HOURS_A_DAY
    ratio = is_on @ hours / np.maximum(is_on.sum(axis=1), 1)[:, None] / mean
    return np.asarray((days * ratio + _PRIOR_DAYS) / (days + _PRIOR_DAYS))


def day_of(hour: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the day of the week that hours are on, from the number of each."""
    return hour // HOURS_A_DAY % DAYS_A_WEEK
