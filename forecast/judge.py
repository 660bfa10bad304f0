"""Judges forecasts by their figures: a poor one is refitted, then weighed against the rule.  Pure.

    UNJUDGED -> GOOD -> POOR: refitted early; from now on the fallback rule is scored beside it
    POOR -> REPLACED: after an hour (4 horizons) still poor, and the rule has lost less
    REPLACED -> POOR: after another hour, once the model, scored in the shadow, has lost less
    POOR -> GOOD: the figures are good again

What is compared is the loss of the next step's quantiles plus that of the bound on the maximum,
half of which is forgotten after 2 horizons.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecast.fallback import MAXIMUM_STEPS, fallback_profile, last_maximum_bound
from forecast.history import History, moved
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.quality import SHOWN_BOUND, Bytes, Ints, Quality, Singles, Verdict
from forecast.scores import Losses, pinball
from forecast.target import Complete

Bools = NDArray[np.bool_]

# Figures that rest on fewer horizons, side by side, are not judged by.
_LEAST_HORIZONS = 20
_TRIAL_HORIZONS, _TRIAL_HALF_LIFE_HORIZONS = 4, 2
# The rule has to be better by this much before it stands in, so that chance does not decide.
_CLEARLY = np.float32(0.95)
# Series that are weighed against the rule at a time: it is cheap, but not for all of a large host.
_MOST_TRIALS = 4096
_LEVELS: Singles = EXPERT_LEVELS.astype(np.float32)[:, None]
_BOUND_LEVEL: Singles = BOUNDS[SHOWN_BOUND, None].astype(np.float32)


class Judge:
    """The verdict on each series, and what model and rule have lost since it was found poor."""

    def __init__(self, n_series: int, horizon_steps: int, every: int = 1) -> None:
        self._horizon_steps, self._every = horizon_steps, every
        self._kept = np.float32(0.5 ** (1 / (_TRIAL_HALF_LIFE_HORIZONS * horizon_steps)))
        self.verdict: Bytes = np.full(n_series, Verdict.UNJUDGED, dtype=np.uint8)
        self._wants_fit = np.zeros(n_series, dtype=np.bool_)
        self._trial_steps: Ints = np.zeros(n_series, dtype=np.int64)
        self._turn = 0
        self._lost: Singles = np.zeros((2, n_series), dtype=np.float32)  # the model, the rule

    @property
    def replaced(self) -> Ints:
        """Return the series for which the rule stands in."""
        return np.flatnonzero(self.verdict == Verdict.REPLACED)

    @property
    def wanting_fit(self) -> Ints:
        """Return the series that were found poor and have not been refitted since."""
        return np.flatnonzero(self._wants_fit)

    def fitted(self, series: Ints) -> None:
        """Take note of series that were refitted."""
        self._wants_fit[series] = False

    def settle(self, values: Singles, losses: Losses, complete: Complete, past: History) -> None:
        """Score model and rule on a step; `past` is what the rule had to go by, without it."""
        tried = self._in_turn(np.flatnonzero(self.verdict >= Verdict.POOR))
        if not len(tried):
            return
        since = self._horizon_steps - 1  # a window was opened before all but the last of its steps
        rows = past.recent_of(tried, MAXIMUM_STEPS + since)
        grid, bound = rule(rows, rows[: max(len(rows) - since, 0)])
        bounds = np.stack((complete.bounds[SHOWN_BOUND, tried], bound))
        told = np.stack((losses.mixed[tried], pinball(values[tried] - grid, _LEVELS).mean(axis=0)))
        # A window stands for the steps until the next one.
        lost = told + self._every * bound_losses(complete.maximum[tried], bounds)
        is_known = np.isfinite(lost).all(axis=0)
        scored = tried[is_known]
        self._lost[:, scored] = self._kept * self._lost[:, scored] + lost[:, is_known]
        self._trial_steps[scored] += 1

    def _in_turn(self, tried: Ints) -> Ints:
        """Return as many series as can be tried in a step: all of them come round."""
        if len(tried) <= _MOST_TRIALS:
            return tried
        self._turn = (self._turn + _MOST_TRIALS) % len(tried)
        return np.roll(tried, -self._turn)[:_MOST_TRIALS]

    def judged(self, found: Quality) -> Quality:
        """Return figures with a verdict on each series, by them and by how its trial goes."""
        is_judged = found.windows >= least_windows(self._horizon_steps, self._every)
        is_poor, is_good = found.is_poor() & is_judged, found.is_good() & is_judged
        before = self.verdict.copy()
        model, by_rule = self._lost
        is_tried = self._trial_steps >= _TRIAL_HORIZONS * self._horizon_steps
        is_worse, is_better = is_tried & (by_rule < _CLEARLY * model), is_tried & (model < by_rule)
        was_poor, was_replaced = before == Verdict.POOR, before == Verdict.REPLACED
        was_well = ~was_poor & ~was_replaced
        self.verdict[was_well & is_judged] = Verdict.GOOD
        self.verdict[was_well & is_poor] = Verdict.POOR
        self.verdict[was_poor & is_good] = Verdict.GOOD
        self.verdict[was_poor & ~is_good & is_worse] = Verdict.REPLACED
        self.verdict[was_replaced & is_better] = Verdict.POOR
        self._trial_steps[self.verdict != before] = 0
        self._begin_trials(was_well & (self.verdict == Verdict.POOR))
        return replace(found, verdict=self.verdict.copy())

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer, who is unjudged."""
        self.verdict = moved(self.verdict, positions, Verdict.UNJUDGED)
        self._wants_fit = moved(self._wants_fit.astype(np.uint8), positions, 0).astype(np.bool_)
        self._trial_steps = moved(self._trial_steps, positions, 0)
        self._lost = moved(self._lost, positions, 0.0)

    def _begin_trials(self, found_poor: Bools) -> None:
        self._wants_fit |= found_poor
        self._lost[:, found_poor] = 0.0


def least_windows(horizon_steps: int, every: int = 1) -> float:
    """Return on how many windows, one every so many steps, figures must rest to be judged by."""
    return float((_LEAST_HORIZONS - 1) * horizon_steps // every + 1)


def rule(now: Singles, then: Singles) -> tuple[Singles, Singles]:
    """Return what the fallback rule said of the next step, and of a maximum some steps ago.

    `now` and `then` (steps, series) are the past that it had to go by; shapes (levels, series) and
    (series,), the bound NaN without a past.
    """
    bound = last_maximum_bound(then[-MAXIMUM_STEPS:])
    grid = fallback_profile(now[-MAXIMUM_STEPS:], step=0).grid[: len(EXPERT_LEVELS)]
    return grid.astype(np.float32), bound.astype(np.float32)


def bound_losses(highest: Singles, bounds: Singles) -> Singles:
    """Return the losses of the model's and the rule's bound at 95 %; 0 where one is unknown."""
    loss = pinball(highest - bounds, _BOUND_LEVEL)
    return np.where(np.isnan(loss).any(axis=0), np.float32(0.0), loss)
