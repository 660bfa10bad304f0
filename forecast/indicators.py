"""Metrics of an application as leading indicators: linear corrections of forecasts.  Pure.

A pair is one series and one metric that may lead it; all columns are of pairs.  Each has a linear
model of what the forecast's median is off by, from the metric's last values, standardised:

    error_t = b . z_t,   b = (A + ridge I)^-1 v,   A = sum kept^(t-i) z_i z_i',   v likewise of z e

This is recursive least squares with forgetting, in its information form (Haykin, Adaptive Filter
Theory, on the RLS algorithm); the ridge is not forgotten, so that nothing grows where a metric
stands still.  What a pair would have said is held against what came, whether it was used or not,
before anything is learned from it (Dawid, Statistical theory: the prequential approach, 1984): it
is used only while its loss on such steps is the lower one.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats, Ints, cleaned, moved
from forecast.profile import BOUNDS, LEVELS, Profile
from forecast.scores import pinball
from forecast.settings import LARGEST_METRIC

Bools = NDArray[np.bool_]

LAGS = 4  # the newest value and three before it: leads of 1 to 4 steps are seen
MOST_RAISED = 2.0  # times the highest demand that the series has shown of late
LEAST_LEFT = 0.5  # of the forecast up to its median; above that nothing is lowered
FEWEST_SCORED = 30  # steps, before a metric is used, and again after it was dropped
DROP = 8.0  # mean losses of a step: what a metric may lose from its best before it is dropped

# Half of what is learned, and of losses, is forgotten after 140 steps, as experts' losses are.
_KEPT_A_STEP = 0.995
_RIDGE = 0.3
_MOST_DEVIATIONS = 8.0  # of a metric, and of an error that is learned from
_LONGEST_MEAN = 200.0  # steps that a metric's mean and deviation look back
_FEWEST_VALUES = 2 * LAGS
_HIGH_KEPT = 0.5 ** (1 / 1440)  # of the highest demand: half is forgotten in a day of minutes
_LEAST_NARROWED = 0.25  # of the forecast's spread
_MARGIN = 0.02  # of the loss: a smaller gain is none
_SURE = 1.5  # standard deviations that the summed gain is to be above zero
_TINY = 1e-300
_MEDIAN, _TAIL = LEVELS.tolist().index(0.5), LEVELS.tolist().index(0.95)
_IS_LOW = (LEVELS[_MEDIAN] >= LEVELS)[:, None]
_AT_BOUNDS = [LEVELS.tolist().index(bound) for bound in BOUNDS.tolist()]


@dataclass(frozen=True, slots=True)
class _Said:
    """What pairs said of the next step with their metric and without, before it came."""

    base: Floats  # (levels, pairs)
    corrected: Floats  # (levels, pairs)
    z: Floats  # (lags, pairs)
    shift: Floats  # (pairs,) of the median
    speaks: Bools  # (pairs,)

    def rearranged(self, positions: Ints) -> "_Said":
        """Return the same of pairs in a new order; -1 is a newcomer, of whom nothing was said."""
        return _Said(
            moved(self.base, positions, np.nan),
            moved(self.corrected, positions, np.nan),
            moved(self.z, positions, 0.0),
            moved(self.shift, positions, 0.0),
            _moved_flags(self.speaks, positions),
        )


class Indicators:
    """What is known of all pairs: columns (..., pairs) of a fixed size, whatever is reported."""

    def __init__(self, n_pairs: int) -> None:
        nothing = np.zeros(n_pairs)
        self._count, self._mean, self._variance = nothing, nothing, nothing  # of the metric
        self._lags = np.full((LAGS, n_pairs), np.nan)  # the metric, newest first
        self._gram = np.zeros((LAGS, LAGS, n_pairs))
        self._cross = np.zeros((LAGS, n_pairs))
        self._errors = np.zeros((3, n_pairs))  # squared without, squared with, and how many
        self._high = nothing  # of the demand
        self._loss = np.zeros((2, n_pairs))  # without, with; mean over all levels
        self._tail = np.zeros((2, n_pairs))  # the same at 95 % alone
        self._squares, self._scored, self._lost = nothing, nothing, nothing
        self.is_used = np.zeros(n_pairs, dtype=np.bool_)
        self._said: _Said | None = None

    def settle(self, demand: Floats) -> None:
        """Hold what was said against the demand (pairs,) of the step, and learn; NaN is a gap."""
        demand, said, self._said = cleaned(demand), self._said, None
        self._high = np.fmax(self._high * _HIGH_KEPT, demand)
        if said is not None:
            is_seen = said.speaks & np.isfinite(demand)
            self._score(said, demand, is_seen)
            self._fit(said, demand, is_seen)
        self._standardise()
        self._lags = np.concatenate((np.full_like(self._lags[:1], np.nan), self._lags[:-1]))

    def enter(self, metric: Floats) -> None:
        """Take in metrics (pairs,) as they are at the end of the step; NaN is not known (yet)."""
        is_known = np.abs(metric) <= LARGEST_METRIC
        self._lags[0] = np.where(is_known, metric, self._lags[0])

    def adjusted(self, profile: Profile, series: Ints) -> Profile:
        """Return the profile as the best of each series' metrics corrects it, where any is used.

        `series` (pairs,) says whose pairs these are.  Up to the median the forecast is moved by
        the metric, down to half at most.  Above it, it is only ever raised: a wrong metric takes
        nothing from its tenant that it is likely to need.  What is raised is at most twice the
        highest demand that the series has shown of late.
        """
        said = self._said = self._say(profile.grid[:, series].astype(np.float64))
        chosen = self.chosen(series)
        if not len(chosen):
            return profile
        there = series[chosen]
        grid, expected, maximum = (
            column.astype(np.float64)
            for column in (profile.grid, profile.expected, profile.maximum)
        )
        grid[:, there] = said.corrected[:, chosen]
        expected[there] = self._bounded(expected[there], said.shift[chosen], chosen)
        maximum[..., there] = np.maximum(maximum[..., there], grid[_AT_BOUNDS][:, there])
        return replace(profile, grid=grid, expected=expected, maximum=maximum)

    def chosen(self, series: Ints) -> Ints:
        """Return the pairs that correct the next step: of each series the one of most gain."""
        if self._said is None:
            return np.empty(0, dtype=np.int64)
        able = np.flatnonzero(self.is_used & self._said.speaks)
        order = able[np.lexsort((able, -self.gain()[able], series[able]))]
        _, first = np.unique(series[order], return_index=True)
        return order[first]

    def shift(self) -> Floats:
        """Return what each metric moves the median of the next step by; NaN where it cannot."""
        if self._said is None:
            return np.full_like(self._high, np.nan)
        moved_by = self._said.corrected[_MEDIAN] - self._said.base[_MEDIAN]
        return np.where(self._said.speaks, moved_by, np.nan)

    def gain(self) -> Floats:
        """Return by which part the loss is lower with the metric, on steps before they were seen.

        NaN where it has not been held against enough of them.
        """
        without, with_it = self._loss
        is_known = (self._scored >= FEWEST_SCORED) & (without > 0)
        return np.where(is_known, 1 - with_it / np.maximum(without, _TINY), np.nan)

    def scored(self) -> Ints:
        """Return on how many steps each pair has been judged since it was new, or dropped last."""
        return self._scored.astype(np.int64)

    def lead_steps(self) -> Ints:
        """Return how many steps before demand each metric tells most."""
        lead: Ints = np.abs(self._weights()).argmax(axis=0) + 1
        return lead

    def rearrange(self, positions: Ints) -> None:
        """Put the pairs in a new order, keeping what is known; -1 is a newcomer."""
        for name in ("_count", "_mean", "_variance", "_gram", "_cross", "_errors", "_high"):
            setattr(self, name, moved(getattr(self, name), positions, 0.0))
        for name in ("_loss", "_tail", "_squares", "_scored", "_lost"):
            setattr(self, name, moved(getattr(self, name), positions, 0.0))
        self._lags = moved(self._lags, positions, np.nan)
        self.is_used = _moved_flags(self.is_used, positions)
        self._said = self._said and self._said.rearranged(positions)

    def _say(self, grid: Floats) -> _Said:
        z, center = self._deviations(), grid[_MEDIAN]
        is_told = np.isfinite(self._lags[0]) & (self._count >= _FEWEST_VALUES)
        speaks = is_told & np.isfinite(center)
        shift = np.where(speaks, (self._weights() * z).sum(axis=0), 0.0)
        without, left, _ = self._errors  # of a forecast without errors there is nothing to narrow
        ratio = np.where(without > 0, left / np.maximum(without, _TINY), 1.0)
        spread = np.clip(np.sqrt(ratio), _LEAST_NARROWED, 1.0)
        wanted = center + shift + spread * (grid - center)
        low = np.where(_IS_LOW, LEAST_LEFT * grid, grid)
        high = np.maximum(grid, MOST_RAISED * self._high)
        corrected = np.where(speaks, np.clip(wanted, low, high), grid)
        return _Said(grid, corrected, z, shift, speaks)

    def _bounded(self, expected: Floats, shift: Floats, chosen: Ints) -> Floats:
        most = np.maximum(expected, MOST_RAISED * self._high[chosen])
        return np.clip(expected + shift, LEAST_LEFT * expected, most)

    def _score(self, said: _Said, demand: Floats, is_seen: Bools) -> None:
        """Book the loss of what was said, with the metric and without."""
        levels = LEVELS[:, None]
        both = np.stack(
            (pinball(demand - said.base, levels), pinball(demand - said.corrected, levels))
        )
        both = np.where(is_seen, both, 0.0)  # (2, levels, pairs)
        mean, kept = both.mean(axis=1), np.where(is_seen, _KEPT_A_STEP, 1.0)
        self._loss = kept * self._loss + mean
        self._tail = kept * self._tail + both[:, _TAIL]
        self._squares = kept**2 * self._squares + np.square(mean[0] - mean[1])
        self._scored = self._scored + is_seen
        self._lost = np.maximum(self._lost + mean[1] - mean[0], 0.0)
        self._judge()

    def _judge(self) -> None:
        """Use what shows a gain that is no chance; drop what has none, or has lost too much.

        What is dropped has to show a gain anew, on steps that are still to come.
        """
        without, with_it = self._loss
        more = without - with_it
        is_good = (
            (self._scored >= FEWEST_SCORED)
            & (more > _MARGIN * without)
            & (more > _SURE * np.sqrt(self._squares))
            & (self._tail[1] <= self._tail[0] * (1 + 1e-9))
        )
        steps = (1 - _KEPT_A_STEP**self._scored) / (1 - _KEPT_A_STEP)
        usual = without / np.maximum(steps, 1.0)
        is_dropped = self.is_used & (~is_good | (self._lost > DROP * usual))
        self.is_used = is_good & ~is_dropped
        # What a metric loses while it is not used costs nothing.
        self._lost = np.where(self.is_used, self._lost, 0.0)
        for name in ("_loss", "_tail", "_squares", "_scored"):
            setattr(self, name, np.where(is_dropped, 0.0, getattr(self, name)))

    def _fit(self, said: _Said, demand: Floats, is_seen: Bools) -> None:
        """Learn from the error of the forecast's median, and keep how far both were off."""
        off = np.stack((demand - said.base[_MEDIAN], demand - said.corrected[_MEDIAN]))
        off = np.where(is_seen, off, 0.0)
        squared, _, count = self._errors
        usual = np.sqrt(np.where(count > 0, squared / np.maximum(count, 1.0), np.inf))
        error = np.clip(off[0], -_MOST_DEVIATIONS * usual, _MOST_DEVIATIONS * usual)
        kept, z = np.where(is_seen, _KEPT_A_STEP, 1.0), np.where(is_seen, said.z, 0.0)
        self._errors = kept * self._errors + np.concatenate((np.square(off), is_seen[None]))
        self._gram = kept * self._gram + z[:, None] * z[None, :]
        self._cross = kept * self._cross + z * error

    def _standardise(self) -> None:
        """Let each metric's mean and variance follow its newest value."""
        newest = self._lags[0]
        is_known = np.isfinite(newest)
        self._count = np.minimum(self._count + is_known, _LONGEST_MEAN)
        share = np.where(is_known, 1 / np.maximum(self._count, 1.0), 0.0)
        off = np.where(is_known, newest - self._mean, 0.0)
        self._mean = self._mean + share * off
        self._variance = (1 - share) * (self._variance + share * np.square(off))

    def _deviations(self) -> Floats:
        """Return the metrics' last values in deviations from the mean, 0 where not known."""
        spread = np.sqrt(self._variance)
        least = 1e-9 * np.abs(self._mean) + 1e-12
        z = (self._lags - self._mean) / np.maximum(spread, least)
        z = np.where((spread > least) & np.isfinite(z), z, 0.0)
        return np.clip(z, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)

    def _weights(self) -> Floats:
        """Return b, shape (lags, pairs)."""
        gram = np.moveaxis(self._gram, -1, 0) + _RIDGE * np.eye(LAGS)
        solved = np.linalg.solve(gram, self._cross.T[..., None])[..., 0].T
        return np.asarray(solved, dtype=np.float64)


def _moved_flags(flags: Bools, positions: Ints) -> Bools:
    return moved(flags.astype(np.uint8), positions, 0) > 0
