"""Emergency grants: capacity held back, lent by rank and for a time to the surprised.  Pure."""

from dataclasses import dataclass, replace

import numpy as np

from agent.fairness import filled
from agent.tenant import Bools, Floats, Ints, carried_over


@dataclass(frozen=True, slots=True)
class EmergencySettings:
    """How much is held back, how long a grant lasts, and how long a tenant then waits."""

    fraction: float = 0.05
    grant_s: float = 30.0
    cooldown_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Grants:
    """Seconds left of each tenant's grant and of its cool-down, shape (tenants,)."""

    grant_left_s: Floats
    cooldown_left_s: Floats

    @classmethod
    def none(cls, tenants: int) -> "Grants":
        """Return the state in which nobody holds a grant."""
        return cls(np.zeros(tenants), np.zeros(tenants))

    def rearranged(self, positions: Ints) -> "Grants":
        """Return the state in the order of a new roster."""
        return Grants(
            carried_over(self.grant_left_s, positions, 0.0),
            carried_over(self.cooldown_left_s, positions, 0.0),
        )

    def elapsed(self, elapsed_s: float, settings: EmergencySettings) -> "Grants":
        """Let time pass: a grant that runs out starts its tenant's cool-down."""
        left = np.maximum(self.grant_left_s - elapsed_s, 0.0)
        has_ended = (self.grant_left_s > 0) & (left == 0)
        cooling = np.maximum(self.cooldown_left_s - elapsed_s, 0.0)
        return Grants(left, np.where(has_ended, settings.cooldown_s, cooling))


@dataclass(frozen=True, slots=True)
class Need:
    """Who is short of how much, and who they are, shape (tenants,)."""

    shortfall: Floats  # demand beyond the limit
    is_hit: Bools  # held at the limit in the last tick
    is_in_debt: Bools
    rank: Ints
    weight: Floats


def granted(
    grants: Grants, need: Need, *, pool: float, settings: EmergencySettings
) -> tuple[Floats, Grants]:
    """Lend `pool` to tenants that hit their limit, rank 0 first; return amounts and new state.

    A tenant in debt gets nothing unless it ranks first; one that is cooling down gets nothing.
    Within a rank the pool is divided by weighted max-min fairness.
    """
    may_ask = (need.is_hit | (grants.grant_left_s > 0)) & (grants.cooldown_left_s == 0)
    may_ask &= ~need.is_in_debt | (need.rank == 0)
    asked = np.where(may_ask, np.maximum(need.shortfall, 0.0), 0.0)
    amount = np.zeros_like(asked)
    for rank in np.unique(need.rank):
        room = np.where(need.rank == rank, asked, 0.0)
        amount += filled(pool - float(amount.sum()), room=room, weight=need.weight)
    is_new = (amount > 0) & (grants.grant_left_s == 0)
    left = np.where(is_new, settings.grant_s, grants.grant_left_s)
    return amount, replace(grants, grant_left_s=left)
