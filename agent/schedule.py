"""When ticks are due: evenly spaced on the monotonic clock, missed ones skipped.  Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ticks are due at `start_s` + n * `tick_s`; `due_s` is the next."""

    due_s: float
    tick_s: float
    late_ticks: int = 0

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next tick is due, at least 0."""
        return max(self.due_s - now_s, 0.0)

    def after_tick(self, now_s: float) -> "Schedule":
        """Return the schedule after the tick that was due; those missed meanwhile count as late.

        The phase is kept: a tick that took 2.3 periods makes the next one due at the third.
        """
        missed = max(int((now_s - self.due_s) // self.tick_s), 0)
        return Schedule(
            self.due_s + (missed + 1) * self.tick_s, self.tick_s, self.late_ticks + missed
        )
