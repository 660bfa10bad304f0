"""When ticks are due: evenly spaced on the monotonic clock, missed ones skipped.  Pure.

And how many are left out where they cost more than the agent may use: it must not eat the host.
"""

import math
from dataclasses import dataclass, replace

# What a tick costs is smoothed over this time: one that writes every file is no pace.
_SMOOTHED_S = 20.0
# What comes in over this time may be spent at once, or such a tick would keep all others waiting.
_AHEAD_S = 60.0
# The first ticks after a start or a reload read and write what none after them will.
_UNLIKE_THE_REST = 2
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

    def under(self, tick_s: float, now_s: float) -> "Schedule":
        """Return the schedule of another tick, of which none is left out before the next one.

        Who changes the configuration is told what came of it, however many ticks are left out.
        """
        ahead = max(int((self.due_s - now_s) // tick_s), 0)
        return Schedule(self.due_s - ahead * tick_s, tick_s, self.late_ticks)


@dataclass(frozen=True, slots=True)
class Thrift:
    """Keeps what ticks cost within `most_cores`: only one in `every` is run.

    By the smoothed cost the pace is even; and whatever ticks cost, all of them but the first few
    take at most most_cores * (time + 60 s) and what the last one took, unless `longest_s` has it
    otherwise.
    """

    tick_s: float
    most_cores: float
    longest_s: float  # ticks are never further apart, whatever they cost
    every: int = 1
    cost_s: float = 0.0  # smoothed
    ahead_s: float = 0.0  # spent before its time
    unlike: int = _UNLIKE_THE_REST  # ticks that are yet to be left out of account

    @property
    def period_s(self) -> float:
        """Return the time from one tick to the next."""
        return self.every * self.tick_s

    @property
    def problem(self) -> str | None:
        """Say that ticks are left out, and why; None if all are run."""
        if self.every == 1:
            return None
        return (
            f"one in {self.every} is run, every {self.period_s:.3g} s: all of them would use "
            f"more than periods.most_cpu_cores ({self.most_cores:g})"
        )

    def after_tick(self, cost_s: float, elapsed_s: float) -> "Thrift":
        """Return the state after a tick that took `cost_s` of a CPU's time.

        `elapsed_s` is the time from the tick before it to this one.
        every = ceil(smoothed cost / (most_cores * tick_s)), or as many as what is spent ahead of
        its time comes in over, where that is more.
        """
        if self.unlike:
            return replace(self, unlike=self.unlike - 1)
        part = -math.expm1(-max(elapsed_s, 0.0) / _SMOOTHED_S)
        smoothed_s = self.cost_s + part * (cost_s - self.cost_s)
        ahead_s = max(self.ahead_s - self.most_cores * max(elapsed_s, 0.0), 0.0) + cost_s
        every = max(
            self._needed(smoothed_s),
            min(self._needed(_ROOM * smoothed_s), self.every),
            self._needed(ahead_s - self.most_cores * _AHEAD_S),
        )
        return replace(self, every=every, cost_s=smoothed_s, ahead_s=ahead_s)

    def under(self, other: "Thrift") -> "Thrift":
        """Return the state after a reload: kept, unless what ticks may cost has changed."""
        known = replace(other, every=self.every, cost_s=self.cost_s, ahead_s=self.ahead_s)
        return known if replace(known, unlike=self.unlike) == self else other

    def _needed(self, cost_s: float) -> int:
        longest = max(math.floor(self.longest_s / self.tick_s * _EXACT), 1)
        return min(max(math.ceil(cost_s / (self.most_cores * self.tick_s)), 1), longest)
