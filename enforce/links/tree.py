"""One HTB with all tenants' classes: makes what is missing, writes, and reads back."""

import os
from typing import Literal

import numpy as np

from enforce.columns import (
    WRITTEN_BY_OTHERS,
    Bools,
    Changes,
    ClassControl,
    Floats,
    Ints,
    Outcomes,
    Restored,
    Result,
)
from enforce.limits import MIN_RATE_BYTES_PER_S
from enforce.links.classes import (
    GRAIN_BYTES_PER_S,
    MAJOR,
    Classes,
    Difference,
    Update,
    difference,
    flows_for,
    is_off,
)
from enforce.links.netlink import ClassSocket

# One read makes no more than this: thousands take seconds, in which no tick would run.
_MADE_AT_ONCE = 1000
# Of all classes: asking for one costs four times its part of a dump.
_FEW_FRACTION = 0.25


class Tree:
    """The classes below one root; columns have shape (tenants,), `minors` 0 where there is none.

    Who is not `is_limited` has a class that limits nothing: without one it would share that of all
    that is no tenant's.
    """

    def __init__(
        self,
        netlink: ClassSocket,
        capacity: float,
        minors: Ints,
        *,
        is_limited: Bools | None = None,
    ) -> None:
        self._netlink, self._capacity, self._minors = netlink, float(capacity), minors
        limited = np.ones(len(minors), dtype=np.bool_) if is_limited is None else is_limited
        self._free = np.flatnonzero((minors > 0) & ~limited)
        self._rate, self._ceil = (np.full(len(minors), np.nan) for _ in range(2))  # as last seen
        self._has_class, self._has_leaf = (np.zeros(len(minors), np.bool_) for _ in range(2))
        self.has_leaves = True
        self.restored: list[Restored] = []  # by the last `complete`
        self.refused: dict[int, int] = {}  # by it, too: errno by position

    @property
    def minor(self) -> int:
        """Return the minor of the first class: the only one of a veth."""
        return int(self._minors[0])

    def complete(self, ifindex: int, found: Classes, is_present: Bools) -> Classes:
        """Make the classes that are missing, and return each tenant's, NaN without one.

        Who is away for a moment keeps the class; one that was lost comes back as it was last seen.
        One that the kernel refuses is in `refused`, and does not concern the others.

        Raises:
            OSError: The kernel did not tell what there is.

        """
        has_class = np.isin(self._minors, found.minor)
        at = np.flatnonzero((self._minors > 0) & (is_present | has_class))
        step = difference(self._wanted(at), found)
        new, freed = step.created.first(_MADE_AT_ONCE), self._bound(found)
        bare = self._bare(step, new)
        self.restored, self.refused = self._taken(step, bare, freed), {}
        if len(new) or len(bare) or len(step.removed) or len(freed):
            for update in (new, freed):
                self._set(ifindex, update)
            bare = np.setdiff1d(bare, self._minors[list(self.refused)])
            self._netlink.add_leaves(ifindex, bare.tolist(), flows_for(len(self._minors)))
            self._netlink.remove_classes(ifindex, step.removed.tolist())
            found = self._netlink.classes(ifindex)
            self.has_leaves &= not len(bare) or bool(found.of(bare).leaf.any())
        mine = found.of(self._minors)
        self._has_class, self._has_leaf = ~np.isnan(mine.rate), mine.leaf != 0
        self._rate = np.where(self._has_class, mine.rate, self._rate)
        self._ceil = np.where(self._has_class, mine.ceil, self._ceil)
        return mine

    def _bare(self, step: Difference, new: Update) -> Ints:
        """Return who gets a queue now: as many as classes at once, of those that have a class."""
        if not self.has_leaves:
            return step.without_leaf[:0]
        later = step.created.minor[len(new) :]
        return np.setdiff1d(step.without_leaf, later, assume_unique=True)[:_MADE_AT_ONCE]

    def _set(self, ifindex: int, update: Update) -> None:
        for place, code in self._netlink.set_classes(ifindex, update).items():
            at = np.flatnonzero(self._minors == update.minor[place])
            self.refused |= dict.fromkeys(at.tolist(), code)

    def _taken(self, step: Difference, bare: Ints, freed: Update) -> list[Restored]:
        """Return what was there at the last read, and since then is not, or is another."""
        if not self._has_class.any():
            return []
        queues = np.setdiff1d(bare, step.created.minor)
        found = [Restored(f"class {MAJOR:x}:{one:x}", "added") for one in step.removed.tolist()]
        found += self._named(step.created.minor, self._has_class, "class", "removed")
        found += self._named(freed.minor, self._has_class, "class", "changed")
        return found + self._named(queues, self._has_leaf, "queue", "removed")

    def _named(
        self, minors: Ints, was_there: Bools, what: str, how: Literal["removed", "changed"]
    ) -> list[Restored]:
        if not len(minors):
            return []
        at = np.flatnonzero(np.isin(self._minors, minors) & was_there)
        return [Restored(what, how, position) for position in at.tolist()]

    def write(self, ifindex: int, control: ClassControl, changes: Changes) -> Outcomes:
        """Set one number of classes, in the order of `changes`, and read each back.

        A class that somebody else has changed since `complete` is left alone: the next will show.

        Raises:
            OSError: The kernel did not tell what there is.

        """
        at, minors = changes.tenant, self._minors[changes.tenant]
        found = self._read(ifindex, minors)
        value = np.floor(np.minimum(changes.after, self._capacity))
        value = np.maximum(value, MIN_RATE_BYTES_PER_S)
        rate, ceil = (value, found.ceil) if control.number == "rate" else (found.rate, value)
        is_there = ~np.isnan(found.rate)
        is_theirs = is_off(self._rate[at], found.rate) | is_off(self._ceil[at], found.ceil)
        is_set = is_there & ~is_theirs
        places = np.flatnonzero(is_set)
        update = Update(minors[is_set], rate[is_set], ceil[is_set])
        failed = self._netlink.set_classes(ifindex, update)
        errors = {int(places[place]): code for place, code in failed.items()}
        now = self._read(ifindex, minors)
        # Of a class that is gone what was seen last stays: so it comes back.
        seen = ~is_theirs & ~np.isnan(now.rate)
        self._rate[at[seen]], self._ceil[at[seen]] = now.rate[seen], now.ceil[seen]
        kept = now.rate if control.number == "rate" else now.ceil
        with np.errstate(invalid="ignore"):
            is_applied = np.abs(kept - value) < GRAIN_BYTES_PER_S
        result = np.where(is_applied, Result.APPLIED, Result.REFUSED)
        result = np.where(np.isnan(kept), Result.GONE, result)
        why = {
            int(at[place]): _reason(control, errors.get(place, 0), float(kept[place]))
            for place in np.flatnonzero(~is_applied).tolist()
        }
        result = np.where(is_theirs, Result.HELD_BACK, result).astype(np.uint8)
        why |= dict.fromkeys(at[is_theirs].tolist(), WRITTEN_BY_OTHERS)
        kept = np.where(is_theirs, np.nan, kept)
        if control.number == "ceil":
            kept = self.shown_ceil(kept)
        return Outcomes(control, at, changes.after, kept, result, why)

    def _read(self, ifindex: int, minors: Ints) -> Classes:
        if len(minors) > _FEW_FRACTION * len(self._minors):
            return self._netlink.classes(ifindex).of(minors)
        return self._netlink.some_classes(ifindex, minors.tolist()).of(minors)

    def shown_ceil(self, ceil: Floats) -> Floats:
        """Return ceils as limits: all that there is limits nothing."""
        return np.where(ceil >= np.floor(self._capacity), np.inf, ceil)

    def _bound(self, found: Classes) -> Update:
        """Return the change that frees those whom an earlier limit still binds, or another's."""
        rates = np.full(len(self._free), MIN_RATE_BYTES_PER_S)
        ceils = np.full(len(self._free), np.floor(self._capacity))
        return difference(Update(self._minors[self._free], rates, ceils), found).changed

    def _wanted(self, at: Ints) -> Update:
        """Return the classes that are to exist: as set last, or without a limit."""
        rate, ceil = self._rate[at], self._ceil[at]
        rate = np.where(np.isnan(rate), MIN_RATE_BYTES_PER_S, rate)
        return Update(self._minors[at], rate, np.where(np.isnan(ceil), self._capacity, ceil))


def _reason(control: ClassControl, code: int, kept: float) -> str:
    if code:
        return f"{control}: {os.strerror(code)}"
    return f"{control}: no such class" if np.isnan(kept) else f"{control}: kept at {kept:.0f}"
