"""Watches over occurrences: what series take in their first half hour, and took before.  Pure.

The models see the rest of an event themselves.  Each series is watched for one event at a time.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from agent.tenant import Bools, Floats, Ints, carried_over
from forecast.rolling import rolled

WATCHED_S = 1800.0
_LEVEL_ALPHA = 0.1  # the level before: about the last twenty steps
_LEAST_SEEN = 0.5  # of the steps, or nothing is learned


@dataclass(frozen=True, slots=True)
class Watches:
    """Columns of shape (series,); `event` is the number of the event watched, -1 for none."""

    level: Floats  # smoothed demand; NaN before the first value
    event: Ints
    until_s: Floats  # UNIX time
    before: Floats  # the level when the event began
    total: Floats  # of demand since, in the steps that were seen
    seen: Ints
    steps: Ints

    @classmethod
    def none(cls, n_series: int) -> "Watches":
        """Return the state of knowing nothing."""
        zeros, ints = np.zeros(n_series), np.zeros(n_series, dtype=np.int64)
        return cls(np.full(n_series, np.nan), ints - 1, zeros, zeros, zeros, ints, ints)

    def with_step(self, values: Floats) -> "Watches":
        """Return the state after a step's demand; NaN was not seen."""
        is_on, is_seen = self.event >= 0, np.isfinite(values)
        counted = is_on & is_seen
        alpha = np.full(len(values), _LEVEL_ALPHA)
        return Watches(
            rolled(self.level, alpha, np.where(is_seen, values, np.nan)),
            self.event,
            self.until_s,
            self.before,
            self.total + np.where(counted, values, 0.0),
            self.seen + counted,
            self.steps + is_on,
        )

    def ended(self, at_s: float) -> tuple["Watches", Ints, Floats]:
        """End watches that are over; return the series that were seen enough of, and ratios."""
        is_over = (self.event >= 0) & (self.until_s <= at_s)
        is_good = is_over & (self.seen > 0) & (self.seen >= _LEAST_SEEN * self.steps)
        series = np.flatnonzero(is_good)
        ratio = self.total[series] / self.seen[series] / self.before[series]
        return self._off(is_over), series, ratio

    def abandoned(self) -> "Watches":
        """Return the state in which nothing is watched: the clock was set, say."""
        return self._off(self.event >= 0)

    def begun(self, series: Ints, event: Ints, until_s: Floats, *, level: Floats) -> "Watches":
        """Watch series that are not watched and whose `level` before is known and above nothing.

        Where several events of a series begin at once, the first one counts.
        """
        series, first = np.unique(series, return_index=True)
        may = (self.event[series] < 0) & (np.nan_to_num(level[series]) > 0)
        series, first = series[may], first[may]
        off = self._off(np.isin(np.arange(len(self.event)), series))
        numbers, until = off.event.copy(), off.until_s.copy()
        numbers[series], until[series] = event[first], until_s[first]
        before = off.before.copy()
        before[series] = level[series]
        return Watches(self.level, numbers, until, before, off.total, off.seen, off.steps)

    def rearranged(self, positions: Ints) -> "Watches":
        """Return the state of series in a new order; -1 is a newcomer."""
        fresh = Watches.none(len(positions))
        moved = []
        for one in fields(self):
            column, missing = getattr(self, one.name), getattr(fresh, one.name)
            there = carried_over(column, positions)
            kept = np.where(positions >= 0, there, missing)
            moved.append(kept.astype(column.dtype))
        return Watches(*moved)

    def _off(self, which: Bools) -> "Watches":
        nothing = Watches.none(len(self.event))
        changes = {
            one.name: np.where(which, getattr(nothing, one.name), getattr(self, one.name))
            for one in fields(self)
            if one.name != "level"
        }
        return replace(self, **changes)
