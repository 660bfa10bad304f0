"""The forecaster itself: step values in, profile out.  Pure: no clock; fitting is passed in.

Each series has an ETS(A,N,N) state, rolled forward each step.  Several experts tell the quantiles
of the next step and of the maximum over each horizon, from that state or from the past alone, and
are believed by how they did.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecast.crowd import CrowdMixture
from forecast.expert import Expert, Outlook
from forecast.fallback import MAXIMUM_STEPS, fallback_profile, last_maximum_bound
from forecast.history import Floats, History, Ints, Number, Singles, cleaned, moved
from forecast.judge import Judge
from forecast.mixture import Mixture
from forecast.models import Models
from forecast.most import Most
from forecast.panel import PANEL, affordable
from forecast.profile import BOUNDS, EXPERT_LEVELS, LEVELS, Profile, Source
from forecast.rolling import DEFAULT_ALPHA, rolled
from forecast.scores import Scores
from forecast.settings import ForecastSettings
from forecast.stretch import Stretch
from forecast.target import Complete, Outcomes, targets_of

# The least standard deviation of a score, relative to the series: flat is not the same as certain.
_FLAT_FRACTION = 0.002
# With fewer points than this a bound cannot be shown: the last maximum plus prior helps out.
_FEWEST_POINTS = 20
# Series handled at a time where scratch memory would otherwise grow with their number.
_BLOCK = 4096


class ForecastCore:
    """All state of one forecaster; memory is fixed by the settings and the number of series."""

    def __init__(self, n_series: int, settings: ForecastSettings, models: Models) -> None:
        self.settings, self._models = settings, models
        self._history = History(n_series, settings.affordable_history_steps(n_series))
        self._alpha = np.full(n_series, DEFAULT_ALPHA)
        self._smoothed = np.full(n_series, np.nan)
        self._sigma = np.full(n_series, np.nan)  # NaN until a model is fitted
        self._points = np.zeros(n_series, dtype=np.int64)
        self._last_fit_step = np.full(n_series, -1, dtype=np.int64)
        self._step_count = 0
        self._targets = targets_of(settings)
        self._outcomes = Outcomes(n_series, self._targets)
        self._most = Most(n_series, settings.step_s)
        self._experts = {
            name: self._made(name, steps) for name, steps in affordable(n_series, settings).items()
        }
        self._next = Mixture(len(self._asked(0)), n_series, self._targets[0])
        self._maxima = [self._mixture(place) for place in range(1, len(self._targets))]
        self._stretches = [Stretch(n_series, replace(t, levels=BOUNDS)) for t in self._targets]
        longest = self._targets[-1]
        self._scores = Scores(len(self._asked(0)), n_series, settings.horizon_steps, longest.every)
        self._judge = Judge(n_series, settings.horizon_steps, longest.every)

    @property
    def n_series(self) -> int:
        """Return how many series are forecast."""
        return self._history.n_series

    def learn(self, values: Floats) -> None:
        """Take in one step of the past: as `observe`, without putting the answer together."""
        self._take(values)
        self._expect()

    def observe(self, step: int, values: Floats) -> Profile:
        """Take in the newest step (series,), NaN a gap, and return what to expect next."""
        self._take(values)
        told, *bounds = (made.astype(np.float64) for made in self._expect())
        grid = np.concatenate((told, told[-1:]))
        found = self._scores.quality(tuple(self._asked(0)), self._next.shares)
        return self._with_the_rule(
            Profile(
                step=step,
                levels=LEVELS,
                grid=grid,
                expected=np.maximum(self._smoothed, 0.0),
                maximum=self._bounds(bounds),
                source=np.full(self.n_series, Source.LIVE, dtype=np.uint8),
                quality=self._judge.judged(found),
            )
        )

    def due(self) -> Ints:
        """Return the series that may be fitted: never fitted, poor, then longest not fitted."""
        fittable = np.flatnonzero(self._points >= self.settings.min_points)
        fitted_at = self._last_fit_step.copy()
        poor = self._judge.wanting_fit
        fitted_at[poor] = np.minimum(fitted_at[poor], 0)
        order = np.argsort(fitted_at[fittable], kind="stable")
        return fittable[order]

    def never_fitted(self) -> int:
        """Return how many series could be fitted and never were."""
        can_be_fitted = self._points >= self.settings.min_points
        return int((can_be_fitted & (self._last_fit_step < 0)).sum())

    def urgent(self) -> int:
        """Return how many series, the first of those that are due, are not to wait their turn."""
        return self.never_fitted() + len(self._judge.wanting_fit)

    def refit(self, series: Ints) -> None:
        """Fit these series' models anew on their history; what cannot be fitted keeps its state."""
        history = self._history.recent_of(series, self.settings.history_steps)
        fits = self._models.level(history)
        is_good = np.isfinite(fits.alpha) & np.isfinite(fits.smoothed) & np.isfinite(fits.sigma)
        fitted = series[is_good]
        self._alpha[fitted] = fits.alpha[is_good]
        self._smoothed[fitted] = fits.smoothed[is_good]
        self._sigma[fitted] = fits.sigma[is_good]
        self._last_fit_step[series] = self._step_count
        self._judge.fitted(series)
        for expert in self._experts.values():
            expert.refit(series, history, self._models)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order, keeping all that is known; -1 is a newcomer."""
        self._alpha = moved(self._alpha, positions, DEFAULT_ALPHA)
        self._smoothed = moved(self._smoothed, positions, np.nan)
        self._sigma = moved(self._sigma, positions, np.nan)
        self._points = moved(self._points, positions, 0)
        self._last_fit_step = moved(self._last_fit_step, positions, -1)
        self._history.rearrange(positions, self.settings.affordable_history_steps(len(positions)))
        self._outcomes.rearrange(positions)
        self._most.rearrange(positions)
        self._judge.rearrange(positions)
        for stretch in self._stretches:
            stretch.rearrange(positions)
        self._rearrange_experts(positions)

    def _rearrange_experts(self, positions: Ints) -> None:
        """Give the experts the memory that so many series can afford, dropping or adding some.

        One that is added has seen the past that is kept.
        """
        steps = affordable(len(positions), self.settings)
        asked_before = [self._asked(place) for place in range(len(self._targets))]
        kept, self._experts = self._experts, {}
        for name, count in steps.items():
            if name in kept:
                kept[name].rearrange(positions, count)
            self._experts[name] = kept.get(name) or self._added(name, count)
        orders = [
            [before.index(name) if name in before else -1 for name in self._asked(place)]
            for place, before in enumerate(asked_before)
        ]
        self._next.rearrange(positions, orders[0])
        self._scores.rearrange(positions, orders[0])
        for place, mixture in enumerate(self._maxima, start=1):
            if mixture is None or len(orders[place]) == 1:
                self._maxima[place - 1] = self._mixture(place)
            else:
                mixture.rearrange(positions, [*orders[place], len(asked_before[place])])

    def _mixture(self, place: int) -> CrowdMixture | None:
        """Return fresh weights for one of the maxima; a lone expert needs none.

        Beside the experts stand the quantiles of the next step, which a maximum is not below.
        """
        asked = len(self._asked(place))
        return CrowdMixture(asked + 1, self.n_series, self._targets[place]) if asked > 1 else None

    def _made(self, name: str, steps: int) -> Expert:
        seat = PANEL[name]
        targets = tuple(self._targets[place] for place in self._places(name))
        return seat.made(self.n_series, targets, steps, self.settings)

    def _added(self, name: str, steps: int) -> Expert:
        expert, nothing = self._made(name, steps), (None,) * len(self._targets)
        places = self._places(name)
        for row in self._history.recent(self.settings.history_steps):
            expert.settle(0, row, nothing[: len(places)])
        return expert

    def _asked(self, place: int) -> list[str]:
        """Return the experts that are asked about one of the targets."""
        return [name for name in self._experts if place in self._places(name)]

    def _places(self, name: str) -> tuple[int, ...]:
        """Return the targets that an expert is asked about: who was named, about all of them."""
        if self.settings.experts:
            return tuple(range(len(self._targets)))
        return PANEL[name].targets(self._targets)

    def _take(self, values: Floats) -> None:
        """Settle what earlier steps expected of this one, then roll every state forward."""
        values = cleaned(values)
        came = values.astype(np.float32)
        self._step_count += 1
        outcomes = self._outcomes.closed(self._step_count, came)
        self._settle(came, outcomes)
        for name, expert in self._experts.items():
            of_its_own = [outcomes[place] for place in self._places(name)]
            expert.settle(self._step_count, came, of_its_own)
        self._smoothed = rolled(self._smoothed, self._alpha, values)
        self._most.settle(came)
        self._history.append(values)
        self._points += np.isfinite(values)

    def _settle(self, came: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Hold what was told of this step, and of the maxima that it completes, against it."""
        nothing = np.full((len(BOUNDS), len(came)), np.nan, dtype=np.float32)
        losses = self._next.losses(self._step_count, came)
        self._next.settle(self._step_count, came)
        complete = self._stretches[0].settle(self._step_count, came)  # at last, the longest's
        maxima = zip(self._maxima, self._stretches[1:], outcomes[1:], strict=True)
        for mixture, stretch, outcome in maxima:
            complete = Complete(nothing[0], nothing)
            if outcome is not None:
                complete = stretch.settle(self._step_count, outcome)
                if mixture is not None:
                    mixture.settle(self._step_count, outcome)
        self._judge.settle(came, losses, complete, self._history)
        is_live, expected = np.isfinite(self._sigma), np.maximum(self._smoothed, 0.0)
        self._scores.settle(came, expected, losses, complete, is_live)

    def _expect(self) -> list[Singles]:
        """Return the next step's quantiles, and bounds on each target's maximum.

        That is what all experts say, by their weights; bounds hold as often as they say.
        """
        outlook = self._outlook()
        said: list[list[Singles]] = [[] for _ in self._targets]
        for name, expert in self._experts.items():
            grids = expert.expect(self._step_count, outlook)
            for place, grid in zip(self._places(name), grids, strict=True):
                said[place].append(grid)
        grid = self._next.mixed(self._step_count, said[0])
        next_bounds = _rows_at(grid, BOUNDS)
        maxima = [
            grids[0] if mixture is None else mixture.mixed(self._step_count, [*grids, next_bounds])
            for mixture, grids in zip(self._maxima, said[1:], strict=True)
        ]
        level = self._smoothed.astype(np.float32)
        drawn = zip(self._stretches, [next_bounds, *maxima], strict=True)
        return [
            grid,
            *(stretch.applied(self._step_count, level, bounds) for stretch, bounds in drawn),
        ]

    def _outlook(self) -> Outlook:
        """Return what the experts may know of the fitted models."""
        return Outlook(self._smoothed, self._alpha, self._sigma, self._flat_spread(), self._history)

    def _bounds(self, drawn: list[Floats]) -> Floats:
        """Return bounds (horizons, bounds, series) on the maximum over each horizon.

        None is below that on the next step, nor below a nearer horizon's.
        """
        told = {t.steps: bounds for t, bounds in zip(self._targets, drawn, strict=True)}
        bounds = np.stack([told[steps] for steps in self.settings.horizons_steps])
        few = np.flatnonzero(self._points < _FEWEST_POINTS)
        if len(few):
            last = last_maximum_bound(self._history.recent_of(few, MAXIMUM_STEPS))
            bounds[..., few] = np.fmax(bounds[..., few], last)
        bounds = np.fmax(bounds, told[1])
        return np.maximum.accumulate(bounds, axis=0)

    def _with_the_rule(self, profile: Profile) -> Profile:
        """Put the fallback rule's numbers where no expert can tell, or the model is poor.

        After a gap that is longer than the rule looks back, the smoothed state is all there is.
        """
        unfitted = np.flatnonzero(np.isnan(self._sigma) | np.isnan(profile.grid[0]))
        replaced = self._judge.replaced
        ruled = np.union1d(unfitted, replaced)
        for start in range(0, len(ruled), _BLOCK):
            block = ruled[start : start + _BLOCK]
            instead = self._fallback(block, step=profile.step)
            is_known = np.isfinite(instead.expected)
            block = block[is_known]
            profile.grid[:, block] = instead.grid[:, is_known]
            profile.expected[block] = instead.expected[is_known]
            profile.maximum[..., block] = instead.maximum[..., is_known]
        np.fmax(profile.grid[-1], self._most.values, out=profile.grid[-1])
        # A quantile without the others would be decided by: what is unknown of one is all unknown.
        unknown = np.isnan(profile.grid).any(axis=0)
        for columns in (profile.grid, profile.expected, profile.maximum):
            columns[..., unknown] = np.nan
        profile.source[replaced] = Source.FALLBACK
        profile.source[unfitted] = Source.LEARNING
        return profile

    def _fallback(self, series: Ints, *, step: int) -> Profile:
        recent = self._history.recent_of(series, MAXIMUM_STEPS)
        return fallback_profile(recent, step=step, min_points=self.settings.min_points)

    def _flat_spread(self) -> Floats:
        return np.asarray(_FLAT_FRACTION * np.abs(self._smoothed), dtype=np.float64)


def _rows_at(grid: NDArray[Number], levels: Floats) -> NDArray[Number]:
    """Return the quantiles of the last grid level that is not above each of `levels`."""
    rows = np.searchsorted(EXPERT_LEVELS, levels, side="right") - 1
    found: NDArray[Number] = grid[rows]
    return found
