"""When ticks are due: evenly spaced on the monotonic clock, missed ones skipped.  Pure.

And how many are left out where they cost more than the agent may use: it must not eat the host.
"""

import math
from dataclasses import dataclass, replace

# So many ticks are averaged: one that makes cgroups or adopts a configuration is no pace.
_WINDOW_TICKS = 30
_EXACT = 1 + 1e-9  # 1.0 // 0.1 is 9
# Fewer are left out again only where that has room to spare, or it would go back and forth.
_ROOM = 1.2


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ticks are due at `start_s` + n * `tick_s`; `due_s` is the next."""

    due_s: float
    tick_s: float
    late_ticks: int = 0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next tick is due, at least 0."""
        return max(self.due_s - now_s, 0.0)

    def after_tick(self, now_s: float, every: int = 1) -> "Schedule":
        """Return the schedule after the tick that was due; those missed meanwhile count as late.

        The phase is kept: a tick that took 2.3 periods makes the next one due at the third.  Only
        one in `every` ticks is due: the others are left out, not late.
        """
        missed = max(int((now_s - self.due_s) // self.tick_s), 0)
        late = max(missed + 1 - every, 0)
        return Schedule(
            self.due_s + (late + every) * self.tick_s, self.tick_s, self.late_ticks + late
        )


@dataclass(frozen=True, slots=True)
class Thrift:
    """Keeps what ticks cost, averaged, within `most_cores`: only one in `every` is run."""

    tick_s: float
    most_cores: float
    longest_s: float  # ticks are never further apart, whatever they cost
    every: int = 1
    ticks: int = 0  # counted since `every` was last judged, and what they cost
    spent_s: float = 0.0

    @property
    def period_s(self) -> float:
        """Return the time from one tick to the next."""
        return self.every * self.tick_s

    def after_tick(self, cost_s: float) -> "Thrift":
        """Return the state after a tick that took `cost_s` of a CPU's time.

        every = ceil(mean cost / (most_cores * tick_s)), so that mean cost / period <= most_cores.
        """
        ticks, spent_s = self.ticks + 1, self.spent_s + cost_s
        if ticks < _WINDOW_TICKS:
            return replace(self, ticks=ticks, spent_s=spent_s)
        mean_s = spent_s / ticks
        every = max(self._needed(mean_s), min(self._needed(_ROOM * mean_s), self.every))
        return replace(self, every=every, ticks=0, spent_s=0.0)

    def _needed(self, cost_s: float) -> int:
        longest = max(math.floor(self.longest_s / self.tick_s * _EXACT), 1)
        return min(max(math.ceil(cost_s / (self.most_cores * self.tick_s)), 1), longest)
