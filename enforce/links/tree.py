"""One HTB with all tenants' classes: makes what is missing, writes, and reads back."""

import os

import numpy as np

from enforce.columns import Bools, Changes, ClassControl, Floats, Ints, Outcomes, Result
from enforce.limits import MIN_RATE_BYTES_PER_S
from enforce.links.classes import GRAIN_BYTES_PER_S, Classes, Update, difference, flows_for
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
        self._rate, self._ceil = (np.full(len(minors), np.nan) for _ in range(2))  # as set last
        self.has_leaves = True

    @property
    def minor(self) -> int:
        """Return the minor of the first class: the only one of a veth."""
        return int(self._minors[0])

    def complete(self, ifindex: int, found: Classes, is_present: Bools) -> Classes:
        """Make the classes that are missing, and return each tenant's, NaN without one.

        Who is away for a moment keeps the class; one that was lost comes back as it was.

        Raises:
            OSError: The kernel refused one.

        """
        has_class = np.isin(self._minors, found.minor)
        at = np.flatnonzero((self._minors > 0) & (is_present | has_class))
        step = difference(self._wanted(at), found)
        bare = step.without_leaf if self.has_leaves else step.without_leaf[:0]
        freed = self._bound(found)
        if len(step.created) or len(bare) or len(step.removed) or len(freed):
            new = step.created.first(_MADE_AT_ONCE)
            for update in (new, freed):
                for code in self._netlink.set_classes(ifindex, update).values():
                    raise OSError(code, f"class: {os.strerror(code)}")
            self._netlink.add_leaves(ifindex, bare.tolist(), flows_for(len(self._minors)))
            self._netlink.remove_classes(ifindex, step.removed.tolist())
            found = self._netlink.classes(ifindex)
            self.has_leaves &= not len(bare) or bool(found.of(bare).leaf.any())
        mine = found.of(self._minors)
        self._rate = np.where(np.isnan(self._rate), mine.rate, self._rate)
        self._ceil = np.where(np.isnan(self._ceil), mine.ceil, self._ceil)
        return mine

    def write(self, ifindex: int, control: ClassControl, changes: Changes) -> Outcomes:
        """Set one number of classes, in the order of `changes`, and read each back.

        Raises:
            OSError: The kernel did not tell what there is.

        """
        at, minors = changes.tenant, self._minors[changes.tenant]
        found = self._read(ifindex, minors)
        value = np.floor(np.minimum(changes.after, self._capacity))
        value = np.maximum(value, MIN_RATE_BYTES_PER_S)
        rate, ceil = (value, found.ceil) if control.number == "rate" else (found.rate, value)
        is_there = ~np.isnan(found.rate)
        places = np.flatnonzero(is_there)
        update = Update(minors[is_there], rate[is_there], ceil[is_there])
        failed = self._netlink.set_classes(ifindex, update)
        errors = {int(places[place]): code for place, code in failed.items()}
        now = self._read(ifindex, minors)
        self._rate[at], self._ceil[at] = now.rate, now.ceil
        kept = now.rate if control.number == "rate" else now.ceil
        with np.errstate(invalid="ignore"):
            is_applied = np.abs(kept - value) < GRAIN_BYTES_PER_S
        result = np.where(is_applied, Result.APPLIED, Result.REFUSED)
        result = np.where(np.isnan(kept), Result.GONE, result).astype(np.uint8)
        why = {
            int(at[place]): _reason(control, errors.get(place, 0), float(kept[place]))
            for place in np.flatnonzero(~is_applied).tolist()
        }
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
