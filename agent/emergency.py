"""Emergency grants: capacity held back, lent by rank and for a time to the surprised.  Pure.

A grant that ends, since its time is over or a better rank needs it, is taken back little by little:
nobody who is still short falls at once.  While the host itself is in danger nothing new is lent,
and what is held back is its own as grants are taken back.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from agent.fairness import filled
from agent.tenant import Bools, Floats, Ints, Kind, carried_over
from enforce.columns import Vitals

_UNMET_FRACTION = 1e-9  # of the pool: what sums of floats are off by is no shortage


@dataclass(frozen=True, slots=True)
class EmergencySettings:
    """How much is held back, how long a grant lasts, and how long it then takes to go.

    The rest says when the host itself needs what is held back.
    """

    fraction: float = 0.05
    grant_s: float = 30.0
    cooldown_s: float = 60.0
    memory_available_fraction: float = 0.05
    cpu_some_pct: float = 90.0
    memory_full_pct: float = 20.0
    io_full_pct: float = 60.0


@dataclass(frozen=True, slots=True)
class Grants:
    """Seconds left of each tenant's grant and of its cool-down, shape (tenants,).

    `lent` is the most that a grant amounted to, of which a cool-down leaves less and less: demand
    in one tick is noisy, and who happens not to be short as its time ends had relied on more than
    nothing.  `held` is what was lent in the last tick, less what a cool-down has taken back since.
    """

    grant_left_s: Floats
    cooldown_left_s: Floats
    lent: Floats
    held: Floats

    @property
    def are_none(self) -> bool:
        """Say whether nobody holds a grant, nor is in a cool-down."""
        columns = (self.grant_left_s, self.cooldown_left_s, self.lent, self.held)
        return not any(column.any() for column in columns)

    @classmethod
    def none(cls, tenants: int) -> "Grants":
        """Return the state in which nobody holds a grant."""
        return cls(*(np.zeros(tenants) for _ in range(len(fields(cls)))))

    def rearranged(self, positions: Ints) -> "Grants":
        """Return the state in the order of a new roster."""
        columns = (getattr(self, one.name) for one in fields(self))
        return Grants(*(carried_over(column, positions, 0.0) for column in columns))

    def elapsed(self, elapsed_s: float, settings: EmergencySettings) -> "Grants":
        """Let time pass: a grant that runs out starts its tenant's cool-down.

        What is held in a cool-down falls by lent * elapsed / cooldown, to nothing at its end.
        """
        if self.are_none:
            return self
        left = np.maximum(self.grant_left_s - elapsed_s, 0.0)
        cooling = np.maximum(self.cooldown_left_s - elapsed_s, 0.0)
        passed = replace(self, grant_left_s=left, cooldown_left_s=cooling)
        taken = self.lent * (self._part_left(settings) - passed._part_left(settings))
        is_over = (self.cooldown_left_s > 0) & (cooling == 0)
        held = np.where(is_over, 0.0, np.maximum(self.held - taken, 0.0))
        passed = replace(passed, held=held)
        return passed.ended((self.grant_left_s > 0) & (left == 0), settings)

    def ended(self, is_over: Bools, settings: EmergencySettings) -> "Grants":
        """Return the state in which those grants are over, and their cool-down begins."""
        if not is_over.any():
            return self
        is_gone = is_over & (settings.cooldown_s <= 0)
        return Grants(
            np.where(is_over, 0.0, self.grant_left_s),
            np.where(is_over, settings.cooldown_s, self.cooldown_left_s),
            self.lent,
            np.where(is_gone, 0.0, self.held),
        )

    def most(self, settings: EmergencySettings) -> Floats:
        """Return the most that each may have: no bound, but what is being taken back in cool-down.

        lent * cooldown_left / cooldown: it goes evenly over the cool-down, never all at once.
        """
        return np.where(self.cooldown_left_s > 0, self.lent * self._part_left(settings), np.inf)

    def _part_left(self, settings: EmergencySettings) -> Floats:
        if settings.cooldown_s <= 0:
            return np.zeros_like(self.cooldown_left_s)
        return np.minimum(self.cooldown_left_s / settings.cooldown_s, 1.0)


@dataclass(frozen=True, slots=True)
class Need:
    """Who is short of how much, and who they are, shape (tenants,)."""

    shortfall: Floats  # demand beyond the limit
    is_hit: Bools  # held back in the last tick: at the limit, or waiting on a full host
    is_enforced: Bools  # its limit is ours: who is only observed can hit none that we set
    is_in_debt: Bools
    rank: Ints
    weight: Floats


class Granted(NamedTuple):
    """What is lent in one tick, and what that leaves, shape (tenants,)."""

    amount: Floats
    grants: Grants
    preempted_by: Ints  # who of a better rank ended this grant in this tick: a position, or -1


def granted(
    grants: Grants,
    need: Need,
    *,
    pool: float,
    settings: EmergencySettings,
    is_withheld: bool = False,
) -> Granted:
    """Lend `pool` to tenants that hit their limit; return amounts and the new state.

    A tenant in debt gets no grant unless it ranks first, one that is only observed none at all (it
    would raise no limit, and take from those whose limit it raises), and nobody gets one while the
    pool is withheld; a grant that is held then ends.

    1. Nobody falls at once: who is still short keeps what it held in the last tick, or what its
       cool-down leaves of that.  Only a pool that shrinks takes more, from all by weight, and one
       whose limit is not ours any more keeps nothing.
    2. What is free then goes to those who hit their limit, rank 0 first; a grant lasts `grant_s`.
    3. What nobody else asks goes to those in a cool-down, up to what it leaves of the most that
       they had.

    Where someone stays short, grants of worse ranks end, and their cool-down begins at what they
    hold: it gets that as they shrink.  Among equals who came first keeps what it has until its time
    is over.  Within a step what is divided is divided by weighted max-min fairness.
    """
    if not need.is_hit.any() and grants.are_none:
        return Granted(grants.held, grants, _nobody(len(need.rank)))
    may_have = need.is_enforced & (~need.is_in_debt | (need.rank == 0)) & (not is_withheld)
    lent, held = (np.where(need.is_enforced, one, 0.0) for one in (grants.lent, grants.held))
    grants = replace(grants, lent=lent, held=held)
    grants = grants.ended((grants.grant_left_s > 0) & ~may_have, settings)
    is_cooling = grants.cooldown_left_s > 0
    may_ask = (need.is_hit | (grants.grant_left_s > 0)) & may_have & ~is_cooling
    short = np.where(may_ask | is_cooling, np.maximum(need.shortfall, 0.0), 0.0)
    asked = np.minimum(short, grants.most(settings))
    amount = filled(pool, room=np.minimum(asked, grants.held), weight=need.weight)
    turns = [may_ask & (need.rank == rank) for rank in np.unique(need.rank[may_ask & (asked > 0)])]
    for turn in (*turns, is_cooling):
        room = np.where(turn, asked - amount, 0.0)
        amount = amount + filled(pool - float(amount.sum()), room=room, weight=need.weight)
    grants = _held_on(grants, amount, may_ask, settings)
    is_unmet = may_ask & (asked - amount > _UNMET_FRACTION * pool)
    preempted_by = _preempted(grants, is_unmet, need.rank)
    return Granted(amount, grants.ended(preempted_by >= 0, settings), preempted_by)


def _held_on(grants: Grants, amount: Floats, may_ask: Bools, settings: EmergencySettings) -> Grants:
    """Return the state in which that is lent: who had no grant has one from now on."""
    is_new = may_ask & (amount > 0) & (grants.grant_left_s == 0)
    left = np.where(is_new, settings.grant_s, grants.grant_left_s)
    most = np.where(left > 0, np.maximum(np.where(is_new, 0.0, grants.lent), amount), 0.0)
    lent = np.where(grants.cooldown_left_s > 0, grants.lent, most)
    return Grants(left, grants.cooldown_left_s, lent, amount)


def _preempted(grants: Grants, is_unmet: Bools, rank: Ints) -> Ints:
    """Return by whom each grant is pre-empted: the first who stays short of the best such rank."""
    if not is_unmet.any():
        return _nobody(len(rank))
    best = rank[is_unmet].min()
    first = int(np.flatnonzero(is_unmet & (rank == best))[0])
    is_preempted = (grants.grant_left_s > 0) & (grants.held > 0) & (rank > best)
    return np.where(is_preempted, first, -1)


@lru_cache(maxsize=4)
def _nobody(tenants: int) -> Ints:
    """Return a column of -1 that takes no room, and cannot be written."""
    return np.broadcast_to(np.int64(-1), tenants)


def host_need(kind: Kind, vitals: Vitals, settings: EmergencySettings) -> str:
    """Say why the host itself needs what is held back of a resource, "" where it does not.

    What is unknown is no reason.
    """
    available = vitals.memory_available_bytes / max(vitals.memory_total_bytes, 1.0)
    if kind is Kind.MEMORY and available < settings.memory_available_fraction:
        most = 100 * settings.memory_available_fraction
        return f"{100 * available:.1f} % of the host's memory is available, less than {most:g} %"
    waits = {
        "cpu": (vitals.cpu_some_pct, settings.cpu_some_pct, "some task waits for a CPU"),
        "memory": (vitals.memory_full_pct, settings.memory_full_pct, "all wait for memory"),
        "disk": (vitals.io_full_pct, settings.io_full_pct, "all wait for a disk"),
    }
    pct, most, what = waits.get(kind.group, (0.0, np.inf, ""))
    return f"{what} for {pct:.1f} % of the time, more than {most:g} %" if pct > most else ""
