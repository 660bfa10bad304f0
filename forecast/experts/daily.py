"""Expert: as much as the time of day and the day of the week make of the level.  Pure.

ETS(A,N,A) of hourly means with a season of 24 hours, as StatsForecast has fitted it, where a test
says that the series has one; days of the week are factors on top.  What is taken from it is how
demand changes from now on: where it stands now, the smoothed level knows better.

Hours and days are counted from the first step: what repeats is the same whatever it is called.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Floats, History, Ints, Singles, moved
from forecast.models import HOURS_A_DAY, Models
from forecast.season import (
    DAYS_A_WEEK,
    day_factors,
    day_of,
    has_season,
    is_enough,
    without_gaps,
)

_HOUR_S = 3600.0
# Four weeks of hours are fitted on.
_MOST_HOURS = 28 * HOURS_A_DAY
# Steps that do not make up an hour by so much would let the time of day drift.
_MOST_DRIFT = 0.01


class Daily:
    """Hours that were seen, and the models fitted on them; NaN while there is none."""

    def __init__(self, n_series: int, step_s: float) -> None:
        self._steps_an_hour = max(round(_HOUR_S / step_s), 1)
        self._has_hours = abs(self._steps_an_hour * step_s / _HOUR_S - 1) <= _MOST_DRIFT
        self._hours, self._ended = History(n_series, _MOST_HOURS), 0
        self._sum, self._known = np.zeros(n_series), np.zeros(n_series)
        self._steps = 0  # of the hour that has begun
        self._fitted_at = np.full(n_series, -HOURS_A_DAY, dtype=np.int64)  # hours ended by then
        self._alpha, self._gamma, self._level = (np.full(n_series, np.nan) for _ in range(3))
        # The season of each hour of the day, hour 0 first; and factors of each day of the week.
        self._season = np.full((HOURS_A_DAY, n_series), np.nan)
        self._days = np.ones((DAYS_A_WEEK, n_series))

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        is_known = np.isfinite(values)
        self._sum += np.where(is_known, values, 0.0)
        self._known += is_known
        self._steps += 1
        if self._steps == self._steps_an_hour:
            mean = np.where(self._known > 0, self._sum / np.maximum(self._known, 1), np.nan)
            self._end_hour(mean)

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the level now, and what the time of day adds to it until then."""
        now = self._steps / self._steps_an_hour
        then = now + steps / self._steps_an_hour
        changed = outlook.smoothed + self._at(then) - self._at(now)
        return np.maximum(changed, 0.0).astype(np.float32)

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Fit those of `series` anew that were not today, and that have a season."""
        due = series[self._ended - self._fitted_at[series] >= HOURS_A_DAY]
        if not len(due) or not self._has_hours:
            return
        self._fitted_at[due] = self._ended
        self._alpha[due] = self._gamma[due] = self._level[due] = self._season[:, due] = np.nan
        hours = self._hours.recent_of(due, _MOST_HOURS).astype(np.float64)
        enough = is_enough(hours)
        if not enough.any():
            return
        due, hours = due[enough], without_gaps(hours[:, enough])
        is_seasonal = has_season(hours)
        due, hours = due[is_seasonal], hours[:, is_seasonal]
        if not len(due):
            return
        numbers = np.arange(self._ended - len(hours), self._ended)
        days = day_factors(hours, int(numbers[0]))
        fits = models.daily(hours / days[day_of(numbers)])
        self._alpha[due], self._gamma[due], self._level[due] = fits.alpha, fits.gamma, fits.level
        self._season[:, due] = np.roll(fits.season, self._ended % HOURS_A_DAY, axis=0)
        self._days[:, due] = days

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._hours.rearrange(positions, _MOST_HOURS)
        self._sum, self._known = (
            moved(self._sum, positions, 0.0),
            moved(self._known, positions, 0.0),
        )
        self._fitted_at = moved(self._fitted_at, positions, -HOURS_A_DAY)
        self._alpha, self._gamma, self._level = (
            moved(column, positions, np.nan) for column in (self._alpha, self._gamma, self._level)
        )
        self._season = moved(self._season, positions, np.nan)
        self._days = moved(self._days, positions, 1.0)

    def _end_hour(self, mean: Floats) -> None:
        """Roll the models forward by one hour; a gap leaves them as they are."""
        self._hours.append(mean)
        hour = self._ended % HOURS_A_DAY
        value = mean / self._days[day_of(np.array(self._ended))]
        error = np.nan_to_num(value - self._level - self._season[hour], nan=0.0)
        self._level = self._level + self._alpha * error
        self._season[hour] += self._gamma * error
        self._sum[:], self._known[:], self._steps = 0.0, 0.0, 0
        self._ended += 1

    def _at(self, hours: float) -> Floats:
        """Return what is expected so long after the hour began: each mean stands for mid-hour."""
        before = int(np.floor(hours - 0.5))
        part = hours - 0.5 - before
        return (1 - part) * self._mean(before) + part * self._mean(before + 1)

    def _mean(self, ahead: int) -> Floats:
        """Return the expected mean of the hour that is so many after the one that has begun."""
        number = self._ended + ahead
        factor = self._days[day_of(np.array(number))]
        return np.asarray(factor * (self._level + self._season[number % HOURS_A_DAY]))
