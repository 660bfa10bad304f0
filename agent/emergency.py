"""Emergency grants: capacity held back, lent by rank and for a time to the surprised.  Pure.

A grant that ends is taken back little by little.  While the host itself is in danger nothing is
lent: what is held back is then its own.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from agent.fairness import filled
from agent.tenant import Bools, Floats, Ints, Kind, carried_over
from enforce.columns import Vitals


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

    `lent` is what a grant amounted to when last made: what a cool-down takes back.
    """

    grant_left_s: Floats
    cooldown_left_s: Floats
    lent: Floats

    @classmethod
    def none(cls, tenants: int) -> "Grants":
        """Return the state in which nobody holds a grant."""
        return cls(*(np.zeros(tenants) for _ in range(len(fields(cls)))))

    def rearranged(self, positions: Ints) -> "Grants":
        """Return the state in the order of a new roster."""
        columns = (getattr(self, one.name) for one in fields(self))
        return Grants(*(carried_over(column, positions, 0.0) for column in columns))

    def elapsed(self, elapsed_s: float, settings: EmergencySettings) -> "Grants":
        """Let time pass: a grant that runs out starts its tenant's cool-down."""
        left = np.maximum(self.grant_left_s - elapsed_s, 0.0)
        cooling = np.maximum(self.cooldown_left_s - elapsed_s, 0.0)
        passed = Grants(left, cooling, self.lent)
        return passed.ended((self.grant_left_s > 0) & (left == 0), settings)

    def ended(self, is_over: Bools, settings: EmergencySettings) -> "Grants":
        """Return the state in which those grants are over, and their cool-down begins."""
        return Grants(
            np.where(is_over, 0.0, self.grant_left_s),
            np.where(is_over, settings.cooldown_s, self.cooldown_left_s),
            self.lent,
        )

    def most(self, settings: EmergencySettings) -> Floats:
        """Return the most that each may have: no bound, but what is being taken back in cool-down.

        lent * cooldown_left / cooldown: it goes evenly over the cool-down, never all at once.
        """
        share = self.cooldown_left_s / settings.cooldown_s if settings.cooldown_s > 0 else 0.0
        return np.where(self.cooldown_left_s > 0, self.lent * share, np.inf)


@dataclass(frozen=True, slots=True)
class Need:
    """Who is short of how much, and who they are, shape (tenants,)."""

    shortfall: Floats  # demand beyond the limit
    is_hit: Bools  # held back in the last tick: at the limit, or waiting on a full host
    is_enforced: Bools  # its limit is ours: who is only observed can hit none that we set
    is_in_debt: Bools
    rank: Ints
    weight: Floats


def granted(
    grants: Grants,
    need: Need,
    *,
    pool: float,
    settings: EmergencySettings,
    is_withheld: bool = False,
) -> tuple[Floats, Grants]:
    """Lend `pool` to tenants that hit their limit, rank 0 first; return amounts and new state.

    A tenant in debt gets no grant unless it ranks first, one that is only observed none at all (it
    would raise no limit, and take from those whose limit it raises), and nobody gets one while the
    pool is withheld; a grant that is held then ends.  One that has ended goes on as far as its
    cool-down lets it, before all others: nothing is taken back all at once, but of a limit that is
    not ours any more.  Within a rank the pool is divided by weighted max-min fairness.
    """
    may_have = need.is_enforced & (~need.is_in_debt | (need.rank == 0)) & (not is_withheld)
    grants = replace(grants, lent=np.where(need.is_enforced, grants.lent, 0.0))
    grants = grants.ended((grants.grant_left_s > 0) & ~may_have, settings)
    is_cooling = grants.cooldown_left_s > 0
    may_ask = (need.is_hit | (grants.grant_left_s > 0)) & may_have
    short = np.where(may_ask | is_cooling, np.maximum(need.shortfall, 0.0), 0.0)
    asked = np.minimum(short, grants.most(settings))
    amount = filled(pool, room=np.where(is_cooling, asked, 0.0), weight=need.weight)
    for rank in np.unique(need.rank[asked > 0]):
        room = np.where((need.rank == rank) & ~is_cooling, asked, 0.0)
        amount += filled(pool - float(amount.sum()), room=room, weight=need.weight)
    is_new = (amount > 0) & (grants.grant_left_s == 0) & ~is_cooling
    left = np.where(is_new, settings.grant_s, grants.grant_left_s)
    lent = np.where(is_cooling, grants.lent, amount)
    return amount, Grants(left, grants.cooldown_left_s, lent)


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
