"""Plain StatsForecast as a forecaster child: what the agent's own forecasts are compared with.

Each series has an AutoETS model without a season (ZZN), refitted in its turn as the agent's models
are, and rolled forward with StatsForecast's own `forward`.  Bounds are its Gaussian ones.  Only
the backtest starts it: `python -I -m forecast.autoets`
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from statsforecast.models import AutoETS

from forecast.fallback import MAXIMUM_STEPS, fallback_profile
from forecast.history import LARGEST_VALUE, Floats, History, Ints, cleaned, moved
from forecast.profile import BOUNDS, EXPERT_LEVELS, LEVELS, Profile, Source
from forecast.settings import ForecastSettings
from forecast.worker import main

# A two-sided interval of 90 % ends at the 95 % quantile.
_INTERVAL_PCT = 90
_INTERVAL_Z = NormalDist().inv_cdf(0.5 + _INTERVAL_PCT / 200)


class AutoETSCore:
    """One AutoETS model a series; what has none, or one that fails, gets the fallback rule."""

    def __init__(self, n_series: int, settings: ForecastSettings) -> None:
        self.settings = settings
        # Rolled forward from the beginning of what it was fitted on.
        self._history = History(n_series, settings.history_steps + self._most_rolled)
        self._models: list[AutoETS | None] = [None] * n_series
        self._size = np.ones(n_series)
        self._points = np.zeros(n_series, dtype=np.int64)
        self._last_fit_step = np.full(n_series, -1, dtype=np.int64)
        self._step_count = 0

    @property
    def n_series(self) -> int:
        """Return how many series are forecast."""
        return self._history.n_series

    @property
    def _most_rolled(self) -> int:
        """Return for how many steps a model may be rolled: refits are late by one at most."""
        return round(self.settings.refit_s / self.settings.step_s) + 2

    def learn(self, values: Floats) -> None:
        """Take in one step of the past."""
        values = cleaned(values)
        self._history.append(values)
        self._points += np.isfinite(values)
        self._step_count += 1

    def observe(self, step: int, values: Floats) -> Profile:
        """Take in the newest step (series,), NaN a gap, and return what to expect next."""
        self.learn(values)
        recent = self._history.recent(MAXIMUM_STEPS)
        rule = fallback_profile(recent, step=step, min_points=self.settings.min_points)
        profile = Profile(
            step, LEVELS, rule.grid, rule.expected, rule.maximum.copy(), rule.source.copy()
        )
        for series in range(self.n_series):
            self._forecast(series, profile)
        return profile

    def due(self) -> Ints:
        """Return the series that may be fitted, those never or longest not fitted first."""
        fittable = np.flatnonzero(self._points >= self.settings.min_points)
        return fittable[np.argsort(self._last_fit_step[fittable], kind="stable")]

    def never_fitted(self) -> int:
        """Return how many series could be fitted and never were."""
        can_be_fitted = self._points >= self.settings.min_points
        return int((can_be_fitted & (self._last_fit_step < 0)).sum())

    def urgent(self) -> int:
        """Return how many series, the first of those that are due, are not to wait their turn."""
        return self.never_fitted()

    def refit(self, series: Ints) -> None:
        """Fit these series' models anew; one that cannot be fitted has none until its next turn."""
        for place in series.tolist():
            known = self._known(place, self.settings.history_steps)
            # As for the agent's models: 1e-6 cores and 1e11 bytes meet the same tolerances.
            self._size[place] = np.abs(known).max(initial=0.0) or 1.0
            self._models[place] = _fitted(known / self._size[place])
        self._last_fit_step[series] = self._step_count

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer."""
        self._history.rearrange(positions, self.settings.history_steps + self._most_rolled)
        self._models = [self._models[at] if at >= 0 else None for at in positions.tolist()]
        self._size = moved(self._size, positions, 1.0)
        self._points = moved(self._points, positions, 0)
        self._last_fit_step = moved(self._last_fit_step, positions, -1)

    def _known(self, series: int, steps: int) -> Floats:
        """Return the known values of a series' last steps: a gap is skipped, as in a fit."""
        column = self._history.recent_of(np.array([series]), steps)[:, 0]
        return column[np.isfinite(column)].astype(np.float64)

    def _forecast(self, series: int, profile: Profile) -> None:
        """Put what a series' model says into the profile, where it says anything."""
        model = self._models[series]
        if model is None:
            return
        rolled = self._step_count - int(self._last_fit_step[series])
        known = self._known(series, self.settings.history_steps + rolled)
        ahead = _ahead(model, known / self._size[series], self.settings.horizon_steps)
        if ahead is None:
            profile.source[series] = Source.FALLBACK
            return
        mean, sigma = self._size[series] * ahead
        profile.expected[series] = max(mean[0], 0.0)
        told = np.maximum(_quantiles(mean[:1], sigma[:1], EXPERT_LEVELS)[0], 0.0)
        profile.grid[:, series] = np.append(told, told[-1])  # a Gaussian has no end
        highest = np.maximum.accumulate(_quantiles(mean, sigma, BOUNDS), axis=0)
        last = np.array(self.settings.horizons_steps) - 1
        profile.maximum[..., series] = np.maximum(highest[last], 0.0)
        profile.source[series] = Source.LIVE


def _fitted(known: Floats) -> AutoETS | None:
    """Return the model of one series, None where StatsForecast cannot fit one."""
    model = AutoETS(season_length=1, model="ZZN")
    try:
        model.fit(known)
    except Exception:  # noqa: BLE001 - StatsForecast raises nothing narrower; one series stops no other
        return None
    return model


def _ahead(model: AutoETS, known: Floats, steps: int) -> Floats | None:
    """Return mean and standard deviation of the next steps (2, steps), None where it has none."""
    try:
        said = model.forward(known, h=steps, level=[_INTERVAL_PCT])
    except Exception:  # noqa: BLE001 - the same
        return None
    mean, high = said["mean"], said[f"hi-{_INTERVAL_PCT}"]
    ahead = np.stack((mean, (high - mean) / _INTERVAL_Z))
    is_sound = np.isfinite(ahead).all() and (ahead[1] >= 0).all()
    return ahead if is_sound and np.abs(ahead).max() < LARGEST_VALUE else None


def _quantiles(mean: Floats, sigma: Floats, levels: NDArray[np.float64]) -> Floats:
    """Return normal quantiles, shape (steps, levels)."""
    z = np.array([NormalDist().inv_cdf(level) for level in levels.tolist()])
    return np.asarray(mean[:, None] + sigma[:, None] * z, dtype=np.float64)


if __name__ == "__main__":
    main(lambda: AutoETSCore)
