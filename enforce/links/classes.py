"""HTB classes of many tenants as columns, and what to change about them.  Pure.

Rates are bytes per second on the wire, Ethernet header included; `minor` is the lower half of a
class's id.  Nothing here speaks to the kernel: `enforce.links.messages` says how it is told.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np

from enforce.columns import Bools, Floats, Ints

# The root's handle tells our HTB from any other; classes of all links have the same.
MAJOR = 0x7D6E
INNER, OTHERS, FIRST_TENANT, LAST_MINOR = 0x1, 0x2, 0x10, 0xFFFF
# The kernel keeps whole bytes per second.
GRAIN_BYTES_PER_S = 1.0


@dataclass(frozen=True, slots=True)
class Classes:
    """Classes of one HTB, shape (classes,): what they are set to, and what they have counted."""

    minor: Ints
    rate: Floats
    ceil: Floats
    bytes: Floats
    packets: Floats
    drops: Floats
    overlimits: Floats  # times that a packet had to wait for tokens
    backlog_bytes: Floats
    leaf: Ints  # handle of the qdisc below, 0 where it is the kernel's own

    @classmethod
    def none(cls) -> "Classes":
        """Return no class."""
        no_ids = np.empty(0, dtype=np.int64)
        return cls(minor=no_ids, leaf=no_ids, **{name: np.empty(0) for name in NUMBERS})

    def of(self, minors: Ints) -> "Classes":
        """Return the classes of `minors` in that order; what is not there is NaN (leaf 0)."""
        order = np.argsort(self.minor, kind="stable")
        known = self.minor[order]
        place = np.minimum(np.searchsorted(known, minors), max(len(known) - 1, 0))
        is_there = (known[place] == minors) if len(known) else np.zeros(len(minors), dtype=np.bool_)
        at = order[place] if len(known) else np.zeros(len(minors), dtype=np.int64)

        def picked(column: Floats | Ints, missing: float) -> Floats:
            if not len(known):
                return np.full(len(minors), missing)
            return np.where(is_there, column[at].astype(np.float64), missing)

        return Classes(
            minor=minors,
            leaf=picked(self.leaf, 0).astype(np.int64),
            **{name: picked(getattr(self, name), np.nan) for name in NUMBERS},
        )


NUMBERS = tuple(one.name for one in fields(Classes) if one.name not in ("minor", "leaf"))


@dataclass(frozen=True, slots=True)
class Update:
    """Classes to be made or changed, in this order; shape (classes,)."""

    minor: Ints
    rate: Floats
    ceil: Floats

    def __len__(self) -> int:
        return len(self.minor)

    def first(self, count: int) -> "Update":
        """Return the first so many of them."""
        return Update(self.minor[:count], self.rate[:count], self.ceil[:count])


@dataclass(frozen=True, slots=True)
class Difference:
    """What makes the classes that were found those that are wanted."""

    changed: Update  # there, and set to something else: lowered ones first
    created: Update
    without_leaf: Ints  # minors whose packets would wait in one queue
    removed: Ints


def difference(wanted: Update, found: Classes) -> Difference:
    """Return what to do about tenants' classes; those of the host itself are not looked at.

    A class that is wanted with a rate of NaN may be set to anything, as long as it is there.
    """
    there = found.of(wanted.minor)
    is_there = ~np.isnan(there.rate)
    differs = is_there & (is_off(wanted.rate, there.rate) | is_off(wanted.ceil, there.ceil))
    fall = np.where(differs, wanted.ceil - there.ceil, 0.0)
    order = np.argsort(fall, kind="stable")
    off, new = order[differs[order]], np.flatnonzero(~is_there)
    return Difference(
        changed=Update(wanted.minor[off], wanted.rate[off], wanted.ceil[off]),
        created=Update(wanted.minor[new], wanted.rate[new], wanted.ceil[new]),
        without_leaf=wanted.minor[~is_there | (there.leaf == 0)],
        removed=others_than(wanted.minor, found),
    )


def others_than(minors: Ints, found: Classes) -> Ints:
    """Return the minors of tenants' classes that were found and are none of `minors`."""
    return np.setdiff1d(found.minor[found.minor >= FIRST_TENANT], minors)


def is_off(wanted: Floats, found: Floats) -> Bools:
    """Say which numbers of classes are others than wanted; NaN is none that is wanted or found."""
    with np.errstate(invalid="ignore"):
        differs: Bools = np.abs(wanted - found) >= GRAIN_BYTES_PER_S
    return differs


def minors_for(known: Sequence[int | None], others: Collection[int] = ()) -> list[int]:
    """Return a minor for each tenant: the one that it is `known` by, or else the lowest free one.

    Of two tenants with one minor the first keeps it.  A newcomer gets none of `others`, whose
    classes are there and set for somebody else.  None is left for the last ones of more than
    65,519: they get 0.
    """
    # A leaf's handle is its class's minor, and this one is the root's.
    taken: set[int] = {MAJOR, *others}
    kept: list[int] = []
    for minor in known:
        is_free = minor is not None and FIRST_TENANT <= minor <= LAST_MINOR and minor not in taken
        kept.append(minor if is_free and minor is not None else 0)
        taken.add(kept[-1])
    free = (minor for minor in range(FIRST_TENANT, LAST_MINOR + 1) if minor not in taken)
    return [minor or next(free, 0) for minor in kept]


def flows_for(tenants: int) -> int:
    """Return how many flows each leaf tells apart: 68 kB a leaf with 1,024, 6 kB with 64."""
    for most_tenants, flows in ((128, 1024), (1024, 256)):
        if tenants <= most_tenants:
            return flows
    return 64
