"""What the daemon knows of where tenants live: ancestors' limits, and what stands in the way.

Looked at at a slow pace: others change it seldom.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from agent.amounts import amount_text
from agent.homes import elsewhere_of
from agent.ports import Applying
from agent.record import TickRecord
from agent.settings import Config
from agent.tenant import Bools, Floats, Kind, Resource, Roster
from enforce.ancestors import Lows, caps, protected_less
from enforce.columns import Control, DiskControl, UnitControl
from enforce.places import Places, unit_of
from enforce.unit_values import persistent_settings

TICKS_BETWEEN = 10
_MOST_NAMED = 3


class TenantPlaces:
    """The places of one roster's tenants."""

    def __init__(self, config: Config, roster: Roster) -> None:
        self._roster, self._disks = roster, config.disks
        self._is_limited = ~(roster.is_observed_only | config.host.is_observing)
        elsewhere = elsewhere_of(config.tenants)
        self.places = Places(config.host.cgroup_root, roster.names, elsewhere)
        self._caps: tuple[Floats, Floats] | None = None
        self._ticks_left = 0
        self._lost: dict[int, str] = {}  # who has no cgroup, by position, and why
        self._others: list[str] = []

    @property
    def problem(self) -> str | None:
        """Return what was in the way when it was looked at; who is there by now is not lost."""
        lost = [why for at, why in self._lost.items() if not self.places.is_found(at)]
        return "; ".join((*lost, *self._others)) or None

    def own(self, names: Sequence[str]) -> list[str]:
        """Return which of these tenants live below tidegate's own cgroup."""
        others = {self._roster.names[at] for at in self.places.elsewhere}
        return [name for name in names if name not in others]

    def capped(self) -> Roster | None:
        """Return the roster under what ancestors are limited to, None where that is as before."""
        self._ticks_left -= 1
        if self._ticks_left >= 0:
            return None
        self._ticks_left = TICKS_BETWEEN - 1
        before, self._caps = self._caps, caps(self.places, len(self._roster))
        self._lost, self._others = dict(self._without_place()), [*self._problems(*self._caps)]
        if before is not None and all(map(np.array_equal, before, self._caps)):
            return None
        cores, most_bytes = self._caps
        return self._roster.capped({Resource.CPU: cores, Resource.MEMORY: most_bytes})

    def open_up(self, record: TickRecord, applier: Applying) -> None:
        """Have units of systemd's get the files of their limits, where they have none."""
        roster, sample = record.roster, record.sample
        may_be = roster.is_elsewhere & ~roster.is_observed_only & (sample.cgroup_id != 0)
        disks: list[UnitControl] = [DiskControl(name, "rbps") for name in self._disks]
        for control in (Control.CPU_MAX, *disks):
            is_closed = may_be & np.isnan(sample.limit(control))
            for position in np.flatnonzero(is_closed).tolist():
                applier.open_up(position, control)

    def _without_place(self) -> Iterator[tuple[int, str]]:
        for position in np.flatnonzero(self._roster.is_elsewhere).tolist():
            if self.places.path(position) is None:
                why = self.places.problems.get(position, "there is no such cgroup now")
                yield position, f"{self._roster.names[position]}: {why}"

    def _problems(self, cores: Floats, most_bytes: Floats) -> Iterator[str]:
        names, terms = self._roster.names, self._roster.terms
        for position in np.flatnonzero(self._roster.is_elsewhere).tolist():
            path = self.places.path(position)
            if path is not None and (unit := unit_of(path)):
                for setting in persistent_settings(unit, has_disks=bool(self._disks)):
                    yield f"{names[position]}: {setting} outranks what is set, at daemon-reload"
        for resource, cap in ((Resource.CPU, cores), (Resource.MEMORY, most_bytes)):
            yield from self._short(terms[resource].floor > cap, resource.kind, cap)
        yield from _most_of(list(self._unprotected()), "memory.low counts for less than it is")

    def _unprotected(self) -> Iterator[str]:
        """Name tenants elsewhere whose memory.low an ancestor undoes, which is another's to set."""
        asked: Lows = {}
        for position in np.flatnonzero(self._roster.is_elsewhere & self._is_limited).tolist():
            path = self.places.path(position)
            less = None if path is None else protected_less(path, asked)
            if less is not None:
                above, most, low = less[0], *(amount_text(Kind.MEMORY, n) for n in less[1:])
                name = self._roster.names[position]
                yield f"{name}: its memory.low of {low} counts for {most}: {above} protects no more"

    def _short(self, is_short: Bools, kind: Kind, cap: Floats) -> Iterator[str]:
        """Name tenants whose floor is above what an ancestor of theirs is limited to."""
        said = []
        for position in np.flatnonzero(is_short).tolist():
            most, name = amount_text(kind, float(cap[position])), self._roster.names[position]
            said.append(
                f"{name}: its floor of {kind} is cut to the {most} that is above it in the tree"
            )
        yield from _most_of(said, f"floor of {kind} is cut so")


def _most_of(said: Sequence[str], what: str) -> Iterator[str]:
    """Yield some of what is said of tenants, and how many more there are whose `what`."""
    yield from said[:_MOST_NAMED]
    if len(said) > _MOST_NAMED:
        yield f"and {len(said) - _MOST_NAMED} more whose {what}"
