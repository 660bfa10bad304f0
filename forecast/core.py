"""The forecaster itself: step values in, profile out.  Pure: no clock; fitting is passed in.

Each series has an ETS(A,N,N) state, rolled forward each step.  Several experts tell the quantiles
of the next step, from that state or from the past alone, and are believed by how they did.  The
maximum over the horizon is calibrated around the state and the last maximum.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.analogues import Analogues
from forecast.expert import Expert, Outlook, Singles, affordable_steps
from forecast.fallback import MAXIMUM_STEPS, fallback_profile, last_maximum_bound
from forecast.history import Floats, History, Ints, cleaned, moved
from forecast.maximum import Maximum
from forecast.mixture import Mixture
from forecast.profile import BOUNDS, LEVELS, Profile, Source
from forecast.residuals import Residuals
from forecast.rolling import DEFAULT_ALPHA, deviation_ahead, rolled
from forecast.settings import HORIZONS, LONGEST_MEMORY_STEPS, ForecastSettings

# The least standard deviation of a score, relative to the series: flat is not the same as certain.
_FLAT_FRACTION = 0.002
# The maximum's center looks back this many horizons.  On traces the mean of the smoothed state
# and this maximum had the lowest or nearly the lowest pinball loss among seven centers.
_RECENT_HORIZONS = 4
# A ring with fewer maxima than this cannot show a bound: the last maximum plus prior helps out.
_FEWEST_MAXIMA = 20
# Errors that experts look back on: a few to follow what changes, many to know what is rare.  Of
# 36, 144, 576 and 2,016 alone and together, these two left least unmet on traces, beside analogues.
_SHORT_MEMORY_STEPS, _LONG_MEMORY_STEPS = 36, 576
# A week of 5 minutes.  Shorter pasts know less of what is rare.
_ANALOGUE_STEPS = LONGEST_MEMORY_STEPS
# Numbers kept of all series together: with very many, each has a shorter past (see the budgets).
_LONG_MEMORY_NUMBERS, _ANALOGUE_NUMBERS = 5_000_000, 4_000_000
_FEWEST_ANALOGUE_STEPS = 96
# Series handled at a time where scratch memory would otherwise grow with their number.
_BLOCK = 4096


EXPERTS: Mapping[str, Callable[[int, int], Expert]] = {
    "short": Residuals,
    "long": Residuals,
    "analogues": Analogues,
}


class Fitted(Protocol):
    """Arrays of a fit, shape (series,); NaN where nothing could be fitted."""

    @property
    def alpha(self) -> Floats: ...  # noqa: D102
    @property
    def smoothed(self) -> Floats: ...  # noqa: D102
    @property
    def sigma(self) -> Floats: ...  # noqa: D102


Fit = Callable[[NDArray[np.floating]], Fitted]


class ForecastCore:
    """All state of one forecaster; memory is fixed by the settings and the number of series."""

    def __init__(self, n_series: int, settings: ForecastSettings, fit: Fit) -> None:
        self.settings, self._fit = settings, fit
        self._history = History(n_series, settings.affordable_history_steps(n_series))
        self._alpha = np.full(n_series, DEFAULT_ALPHA)
        self._smoothed = np.full(n_series, np.nan)
        self._sigma = np.full(n_series, np.nan)  # NaN until a model is fitted
        self._points = np.zeros(n_series, dtype=np.int64)
        self._last_fit_step = np.full(n_series, -1, dtype=np.int64)
        self._step_count = 0
        self._experts = {
            name: EXPERTS[name](n_series, steps) for name, steps in affordable(n_series).items()
        }
        self._mixture = Mixture(len(self._experts), n_series)
        self._maxima = [
            Maximum(n_series, steps, settings.score_steps) for steps in settings.horizons_steps
        ]

    @property
    def n_series(self) -> int:
        """Return how many series are forecast."""
        return self._history.n_series

    def learn(self, values: Floats) -> None:
        """Take in one step of the past: as `observe`, without putting the answer together."""
        self._take(values)
        self._maximum(self._grid())

    def observe(self, step: int, values: Floats) -> Profile:
        """Take in the newest step (series,), NaN a gap, and return what to expect next."""
        self._take(values)
        grid = self._grid()
        return self._without_the_unfitted(
            Profile(
                step=step,
                levels=LEVELS,
                grid=grid,
                expected=np.maximum(self._smoothed, 0.0),
                maximum=self._maximum(grid),
                source=np.full(self.n_series, Source.LIVE, dtype=np.uint8),
            )
        )

    def due(self) -> Ints:
        """Return the series that may be fitted, those never or longest not fitted first."""
        fittable = np.flatnonzero(self._points >= self.settings.min_points)
        order = np.argsort(self._last_fit_step[fittable], kind="stable")
        return fittable[order]

    def never_fitted(self) -> int:
        """Return how many series could be fitted and never were."""
        return int((self._last_fit_step[self.due()] < 0).sum())

    def refit(self, series: Ints) -> None:
        """Fit these series' models anew on their history; what cannot be fitted keeps its state."""
        fits = self._fit(self._history.recent_of(series, self.settings.history_steps))
        is_good = np.isfinite(fits.alpha) & np.isfinite(fits.smoothed) & np.isfinite(fits.sigma)
        fitted = series[is_good]
        self._alpha[fitted] = fits.alpha[is_good]
        self._smoothed[fitted] = fits.smoothed[is_good]
        self._sigma[fitted] = fits.sigma[is_good]
        self._last_fit_step[series] = self._step_count

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order, keeping all that is known; -1 is a newcomer."""
        self._alpha = moved(self._alpha, positions, DEFAULT_ALPHA)
        self._smoothed = moved(self._smoothed, positions, np.nan)
        self._sigma = moved(self._sigma, positions, np.nan)
        self._points = moved(self._points, positions, 0)
        self._last_fit_step = moved(self._last_fit_step, positions, -1)
        self._history.rearrange(positions, self.settings.affordable_history_steps(len(positions)))
        for maximum in self._maxima:
            maximum.rearrange(positions, self.settings.score_steps)
        self._rearrange_experts(positions)

    def _rearrange_experts(self, positions: Ints) -> None:
        """Give the experts the memory that so many series can afford, dropping or adding some.

        One that is added has seen the past that is kept.
        """
        steps, before = affordable(len(positions)), list(self._experts)
        for name in before:
            expert = self._experts.pop(name)
            if name in steps:
                expert.rearrange(positions, steps[name])
                self._experts[name] = expert
        kept, self._experts = self._experts, {}
        for name in steps:
            self._experts[name] = kept.get(name) or self._added(name, steps[name])
        places = [before.index(name) if name in kept else -1 for name in steps]
        self._mixture.rearrange(positions, places)

    def _added(self, name: str, steps: int) -> Expert:
        expert = EXPERTS[name](self.n_series, steps)
        for row in self._history.recent(self.settings.history_steps):
            expert.settle(row)
        return expert

    def _take(self, values: Floats) -> None:
        """Settle what earlier steps expected of this one, then roll every state forward."""
        values = cleaned(values)
        for maximum in self._maxima:
            maximum.settle(values)
        came = values.astype(np.float32)
        self._mixture.settle(came)
        for expert in self._experts.values():
            expert.settle(came)
        self._smoothed = rolled(self._smoothed, self._alpha, values)
        self._history.append(values)
        self._points += np.isfinite(values)
        self._step_count += 1

    def _grid(self) -> Floats:
        """Return quantiles of the next step's demand: what all experts say, by their weights."""
        outlook = self._outlook()
        grids: list[Singles] = [expert.expect(outlook) for expert in self._experts.values()]
        return self._mixture.mixed(grids).astype(np.float64)

    def _outlook(self) -> Outlook:
        """Return what the experts may know of the fitted models."""
        flat = self._flat_spread()
        return Outlook(self._smoothed, np.fmax(self._sigma, flat), flat)

    def _maximum(self, grid: Floats) -> Floats:
        """Return bounds (horizons, bounds, series) on the maximum over each horizon.

        None is below what is expected of the next step, nor below a nearer horizon's.
        """
        flat, few = self._flat_spread(), np.flatnonzero(self._maxima[-1].count < _FEWEST_MAXIMA)
        bounds = np.empty((HORIZONS, len(BOUNDS), self.n_series))
        for row, maximum in zip(bounds, self._maxima, strict=True):
            sigma = deviation_ahead(self._sigma, self._alpha, maximum.steps)
            center = self._maximum_center(maximum.steps)
            row[:] = maximum.expect(center, np.fmax(sigma, flat), flat)
        if len(few):
            last = last_maximum_bound(self._history.recent_of(few, MAXIMUM_STEPS))
            bounds[..., few] = np.fmax(bounds[..., few], last)
        bounds = np.maximum(bounds, _rows_at(grid, BOUNDS))
        return np.maximum.accumulate(bounds, axis=0)

    def _maximum_center(self, steps: int) -> Floats:
        recent = self._history.recent_maximum(_RECENT_HORIZONS * steps)
        return np.asarray((self._smoothed + np.fmax(recent, self._smoothed)) / 2, dtype=np.float64)

    def _without_the_unfitted(self, profile: Profile) -> Profile:
        """Put the fallback rule's numbers where no model has been fitted yet.

        After a gap that is longer than the rule looks back, the smoothed state is all there is.
        """
        unfitted = np.flatnonzero(np.isnan(self._sigma))
        for start in range(0, len(unfitted), _BLOCK):
            block = unfitted[start : start + _BLOCK]
            instead = self._fallback(block, step=profile.step)
            is_known = np.isfinite(instead.expected)
            block = block[is_known]
            profile.grid[:, block] = instead.grid[:, is_known]
            profile.expected[block] = instead.expected[is_known]
            profile.maximum[..., block] = instead.maximum[..., is_known]
        profile.source[unfitted] = Source.LEARNING
        return profile

    def _fallback(self, series: Ints, *, step: int) -> Profile:
        recent = self._history.recent_of(series, MAXIMUM_STEPS)
        return fallback_profile(recent, step=step, min_points=self.settings.min_points)

    def _flat_spread(self) -> Floats:
        return np.asarray(_FLAT_FRACTION * np.abs(self._smoothed), dtype=np.float64)


def affordable(n_series: int) -> dict[str, int]:
    """Return the experts that so many series can afford, and how many steps each looks back."""
    steps = {
        "short": _SHORT_MEMORY_STEPS,
        "long": affordable_steps(_LONG_MEMORY_STEPS, n_series, _LONG_MEMORY_NUMBERS),
        "analogues": affordable_steps(_ANALOGUE_STEPS, n_series, _ANALOGUE_NUMBERS),
    }
    if steps["long"] <= _SHORT_MEMORY_STEPS:
        del steps["long"]
    if steps["analogues"] < _FEWEST_ANALOGUE_STEPS:
        del steps["analogues"]
    return steps


def _rows_at(grid: Floats, levels: Floats) -> Floats:
    """Return the quantiles of the last grid level that is not above each of `levels`."""
    rows = np.searchsorted(LEVELS, levels, side="right") - 1
    return np.asarray(grid[rows], dtype=np.float64)
