"""The three pools: what is guaranteed, how much is held back for emergencies.  Pure."""

from dataclasses import dataclass

import numpy as np

from agent.fairness import filled
from agent.tenant import Floats, Terms


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is expected of each tenant, shape (tenants,), and what it may have at most."""

    expected: Floats
    high: Floats  # the upper end of the prediction interval
    ceiling: Floats  # finite; zero of who is absent
    forfeited: Floats  # part of what goes beyond the floor that a debt takes back, 0 to 1


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Guaranteed part of each tenant, shape (tenants,), and what led to it."""

    floor: Floats  # as promised, or scaled down where promises exceed the capacity
    risk: Floats  # 0 to 1
    fair: Floats  # weighted share of the capacity
    amount: Floats
    emergency_pool: float
    are_floors_scaled: bool


def risk_of(expected: Floats, high: Floats, risk_aversion: Floats) -> Floats:
    """Return the share of expected demand that is too uncertain to be pre-allocated.

    risk = (1 - aversion) * r / (1 + r), with r = (high - expected)+ / expected the relative width
    of the upper half of the prediction interval: no width, no risk; endless width, 1 - aversion.
    Where nothing is expected it is 1 - aversion too, of nothing.
    """
    width = np.maximum(high - expected, 0.0)
    total = expected + width
    relative = np.divide(width, total, out=np.ones_like(total), where=total > 0)
    return (1.0 - risk_aversion) * relative


def guarantee(
    terms: Terms, prospect: Prospect, *, capacity: float, emergency_fraction: float
) -> Guarantee:
    """Pre-allocate from the demand profile: its floor to each, and what goes beyond as it fits.

    wanted = min((expected - floor)+ * (1 - risk), (min(fair, ceiling) - floor)+) * (1 - forfeited)
    amount = floor + wanted, or what there is of it: capacity - emergency_pool - sum(floor) is
    divided by weighted max-min fairness.

    Nobody is promised more than the larger of its floor and its weighted share of the capacity:
    what goes beyond is opportunistic.  Law 2: sum(amount) + emergency_pool <= capacity.
    """
    expected, ceiling = prospect.expected, prospect.ceiling
    # As a rule they all fit: then it is the very column of the terms, for all resources and ticks.
    floor = terms.floor if (terms.floor <= ceiling).all() else np.minimum(terms.floor, ceiling)
    promised = float(floor.sum())
    if are_floors_scaled := promised > capacity * (1 + 1e-12):
        floor = filled(capacity, room=floor, weight=terms.weight)
        promised = float(floor.sum())
    fair = fair_share(terms.weight, ceiling, capacity)
    risk = risk_of(expected, prospect.high, terms.risk_aversion)
    emergency_pool = min(emergency_fraction * capacity, max(capacity - promised, 0.0))
    wanted = np.maximum(expected - floor, 0.0) * (1.0 - risk)
    wanted = np.minimum(wanted, np.maximum(np.minimum(fair, ceiling) - floor, 0.0))
    wanted *= 1.0 - prospect.forfeited
    budget = max(capacity - emergency_pool - promised, 0.0)
    above = filled(budget, room=wanted, weight=terms.weight)
    return Guarantee(floor, risk, fair, floor + above, emergency_pool, are_floors_scaled)


def fair_share(weight: Floats, ceiling: Floats, capacity: float) -> Floats:
    """Return each tenant's weighted share of the capacity among those that are present."""
    present = np.where(ceiling > 0, weight, 0.0)
    total = present.sum()
    return capacity * present / total if total > 0 else np.zeros_like(present)
