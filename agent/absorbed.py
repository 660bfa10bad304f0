"""What profiles have absorbed of known events, step by step: it must not be added again.  Pure.

The models follow demand by themselves once an event is on: their smoothed state bit by bit, the
fallback rule at once, whose maximum holds what an event took long after it has ended.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from agent.coming import Coming
from agent.tenant import Bools, Floats, Ints, carried_over
from forecast.fallback import MAXIMUM_STEPS, SPREAD_STEPS
from forecast.profile import Profile, Source
from forecast.rolling import DEFAULT_ALPHA, rolled

LEAST_ABSORBED = 1e-3  # what is as close as that to what is on, is that
# So many steps a profile may be behind: the forecaster answers while ticks go on.
_STEPS_BEHIND = 8
# After 20 steps a smoothed state has absorbed all but a thousandth.
STEPS_KEPT = MAXIMUM_STEPS + _STEPS_BEHIND


@dataclass(frozen=True, slots=True)
class Absorbed:
    """What is in a profile already, as multipliers (series,): in each part of it."""

    expected: Floats
    grid: Floats
    maximum: Floats

    @classmethod
    def alike(cls, times: Floats) -> "Absorbed":
        """Return that all parts of the profile have absorbed as much."""
        return cls(times, times, times)


@dataclass(frozen=True, slots=True)
class Absorption:
    """What was on in the last steps, and what a smoothed state had absorbed; newest first.

    Columns (series,); `step` is the number of the newest.  What was on is NaN where demand is not
    known.  Columns that are equal are one.
    """

    step: int
    smoothed: tuple[Floats, ...]
    on: tuple[Floats, ...]

    @classmethod
    def seen(cls, coming: Coming, now_s: float, *, step_s: float, step: int) -> "Absorption":
        """Return the state of who has seen the last steps, up to `now_s`.

        Of a quiet event nothing: whether demand has fallen is not known.
        """
        ones = np.ones(coming.n_series)
        found = cls(step, (ones,), (ones,))
        for steps_ago in range(STEPS_KEPT, 0, -1):
            then_s = now_s - steps_ago * step_s
            on = np.maximum(coming.largest(then_s, then_s), 1.0)
            found = found.after_step(step, on, ones)
        return found

    def after_step(self, step: int, on: Floats, values: Floats) -> "Absorption":
        """Return the state after a step's demand; `on` is the mean multiplier in it."""
        smoothed = _same(absorbed_after(self.smoothed[0], on, values), self.smoothed[0])
        on = _same(np.where(np.isnan(values), np.nan, on), self.on[0])
        return Absorption(
            step,
            (smoothed, *self.smoothed)[:_STEPS_BEHIND],
            (on, *self.on)[:STEPS_KEPT],
        )

    def of(self, profile: Profile) -> Absorbed:
        """Return what is in a profile: of the step that it has seen last, by who made it."""
        behind = min(max(self.step - profile.step, 0), len(self.smoothed) - 1)
        smoothed, is_ruled = self.smoothed[behind], profile.source != Source.LIVE
        if not is_ruled.any():
            return Absorbed.alike(smoothed)
        seen = self.on[behind : behind + MAXIMUM_STEPS]
        newest = _newest(seen)
        parts = (newest, np.fmax(newest, _largest(seen[:SPREAD_STEPS])), _largest(seen))
        is_ruled = is_ruled & np.isfinite(newest)
        return Absorbed(*(np.where(is_ruled, part, smoothed) for part in parts))

    def scaled(self, times: Floats) -> "Absorption":
        """Return the state where all that was on has turned out to take `times` as much."""
        return self._changed(lambda column: column * times)

    def with_seen(self, which: Bools, other: "Absorption") -> "Absorption":
        """Return the state with the other's columns of these series."""
        if not which.any():
            return self
        return Absorption(
            self.step,
            _chosen(which, other.smoothed, self.smoothed),
            _chosen(which, other.on, self.on),
        )

    def rearranged(self, positions: Ints) -> "Absorption":
        """Return the state of series in a new order; of a newcomer nothing is absorbed."""
        return self._changed(lambda column: carried_over(column, positions, 1.0))

    def _changed(self, change: Callable[[Floats], Floats]) -> "Absorption":
        return replace(self, smoothed=_each(change, self.smoothed), on=_each(change, self.on))


def absorbed_after(absorbed: Floats, on: Floats, values: Floats) -> Floats:
    """Return what a smoothed state has absorbed after one more step, (series,) each.

    `on` is the mean multiplier of what was on in the step; a gap in `values` leaves the state.
    """
    alpha = np.full(len(absorbed), DEFAULT_ALPHA)
    following = rolled(absorbed, alpha, np.where(np.isnan(values), np.nan, on))
    return np.where(np.abs(following - on) < LEAST_ABSORBED * on, on, following)


def usual_after(usual: Floats, is_on: Bools, values: Floats) -> Floats:
    """Return the smoothed level of demand while nothing is on, after one more step; NaN: not known.

    A step in which something is on says nothing of it: it may come late, or not at all.
    """
    alpha = np.full(len(usual), DEFAULT_ALPHA)
    return rolled(usual, alpha, np.where(is_on, np.nan, values))


def borne_out(on: Floats, usual: Floats, values: Floats) -> Floats:
    """Return what was on, no farther from 1 than demand is from the usual.

    What has not come cannot be absorbed: until the crowd is there the profile stays raised, and
    where a quiet event did not happen, there is no return to the usual to be foreseen.  Where the
    usual is not known, demand is taken to be as told.
    """
    nothing = np.where(values > 0, np.inf, 1.0)
    moved = np.divide(values, usual, out=nothing, where=usual > 0)
    moved = np.where(np.isnan(usual) | np.isnan(values), on, moved)
    return np.where(on < 1.0, np.clip(moved, on, 1.0), np.clip(moved, 1.0, on))


def _same(column: Floats, before: Floats) -> Floats:
    """Return the column before where this one equals it: most steps are like the last."""
    return before if np.array_equal(column, before, equal_nan=True) else column


def _each(change: Callable[[Floats], Floats], columns: Iterable[Floats]) -> tuple[Floats, ...]:
    """Return changed columns; those that were one stay one."""
    made: list[tuple[Floats, Floats]] = []
    for column in columns:
        is_same = bool(made) and made[-1][0] is column
        made.append((column, made[-1][1] if is_same else change(column)))
    return tuple(after for _, after in made)


def _chosen(which: Bools, ours: Sequence[Floats], theirs: Sequence[Floats]) -> tuple[Floats, ...]:
    """Return `ours` where it is to be, `theirs` elsewhere, however far back that goes."""
    made: list[Floats] = []
    for ago, column in enumerate(ours):
        before = theirs[min(ago, len(theirs) - 1)]
        found = np.where(which, column, before)
        made.append(_same(found, made[-1]) if made else found)
    return tuple(made)


def _newest(columns: Sequence[Floats]) -> Floats:
    """Return each series' first value that is known, columns newest first."""
    found = columns[0]
    for column in columns[1:]:
        if not np.isnan(found).any():
            break
        found = np.where(np.isnan(found), column, found)
    return found


def _largest(columns: Sequence[Floats]) -> Floats:
    """Return each series' largest value, NaN where none is known."""
    found = columns[0]
    for before, column in pairwise(columns):
        found = found if column is before else np.fmax(found, column)
    return found
