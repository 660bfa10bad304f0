"""What is known of events at one tick, for who asks what they did or what is coming.  Pure.

It never changes once it is published, so that any thread may read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.coming import Coming, Concerned
from agent.event import EventSource, Occurrence
from agent.learned import Learned
from agent.tenant import Floats, Ints, Resource
from agent.uplift import Lift, Windows


@dataclass(frozen=True, slots=True)
class Raise:
    """What raised one series' profile; `occurrences` is what it was learned from, None for set."""

    times: float  # the next step, in the end
    name: str
    start_s: float
    multiplier: float
    occurrences: int | None


@dataclass(frozen=True, slots=True)
class Agenda:
    """Occurrences and whom they concern, and what of them was applied at `taken_at_s` (UNIX)."""

    taken_at_s: float
    tenants: int
    foreseen: Sequence[Resource]
    sources: Sequence[EventSource]
    occurrences: Sequence[Occurrence]  # of the next days, in order
    concerned: Sequence[Concerned]  # by source
    numbers: Mapping[str, int]  # of events, by name
    learned: Learned
    windows: Windows
    near: Sequence[Occurrence]
    coming: Coming  # of what is near, multipliers known
    is_learned: Sequence[bool] | np.ndarray  # (entries,)
    lift: Lift

    def raised(self, resource: Resource, tenant: int) -> Raise | None:
        """Return what raised a tenant's profile of a resource; None where nothing did.

        It has no name where something ends in which less than usual was expected.
        """
        if resource not in self.foreseen:
            return None
        series = list(self.foreseen).index(resource) * self.tenants + tenant
        times = float(self.lift.next[series])
        until_s = self.taken_at_s + self.windows.next_s
        is_its = self.coming.is_within(self.taken_at_s, until_s) & (self.coming.series == series)
        entries = np.flatnonzero(is_its)
        if times <= 1.0:
            return None
        if not (self.coming.multiplier[entries] > 1.0).any():
            return Raise(times, "", self.taken_at_s, 1.0, None)
        entry = int(entries[np.argmax(self.coming.multiplier[entries])])
        one = self.near[int(self.coming.occurrence[entry])]
        learned = self.learned_from(one.name, np.array([series]))
        return Raise(
            times,
            one.name,
            one.start_s,
            float(self.coming.multiplier[entry]),
            int(learned[1][0]) if self.is_learned[entry] else None,
        )

    def learned_from(self, name: str, series: Ints) -> tuple[Floats, Ints]:
        """Return what is learned of an event for each of the series, and from how many times."""
        event = np.full(len(series), self.numbers.get(name, -1))
        if name not in self.numbers:
            return np.ones(len(series)), np.zeros(len(series), dtype=np.int64)
        return self.learned.multiplier(event, series), self.learned.occurrences(event, series)
