"""One resource's allocation: demand profiles, balances and QoS in, limits and reasons out.  Pure.

All columns have shape (tenants,) and the resource's base unit (cores, bytes).
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from agent.emergency import EmergencySettings, Grants, Need, granted
from agent.fairness import filled, levelled
from agent.placement import Bids, DemandQuantiles, placed
from agent.pools import Guarantee, Prospect, guarantee
from agent.tenant import Bools, Floats, Ints, Terms
from agent.tokens import forfeited, most_forfeited, priority

_CROWDED_FROM = 0.8
# Tenants' peaks coincide more often than independence would have it.
_CORRELATION = 0.1
# A closed elastic limit leaves what others need for sure, and this part of the capacity on top:
# weights arbitrate within microseconds, and a throttled hog would only idle the host.  Closing to
# what others used on average cost a hog 10 % of its work, and nobody answered faster for it.
_CLOSED_SLACK = 0.1
_SURE_LEVEL = 0.05
_INTERVAL_LEVEL = 0.95
_NORMAL_95 = 1.645
# The kernel charges a group's time at its weight: with the least weight beside the largest one, a
# group that ran once waits for half a minute, and also after its weight has been raised.
LEAST_SHARES = 0.02


class Mode(StrEnum):
    """STRICT: limits never sum to more than the capacity.  ELASTIC: they close as it fills."""

    STRICT = "strict"
    ELASTIC = "elastic"


@dataclass(frozen=True, slots=True)
class Claims:
    """What is known of every tenant when one resource is allocated.

    `ceiling` is finite and effective: the smallest of config, pins and host, zero for a tenant
    that is absent.  `hold` is what cannot or must not be taken back now: limits adopted while
    learning, memory that cannot be reclaimed.
    """

    terms: Terms
    ceiling: Floats
    expected: Floats
    levels: Floats  # (levels,)
    grid: Floats  # (levels, tenants): quantiles of the next step's demand
    demand: Floats  # in the last tick; NaN where unknowable
    is_hit: Bools  # was held back in the last tick
    is_enforced: Bools  # its limits are written; of the others they are only decided
    credit: Floats  # what the balance is worth, from -1 (deep in debt) to 1
    least: Floats  # the smallest limit that the kernel can hold
    hold: Floats
    is_foreseen: bool = False  # the forecast has already seen the last tick's demand
    is_spent: bool = True  # what is lent is back with the next tick; memory is not
    in_use: Floats | None = None  # NaN where unknowable; of what is held, not spent


class Contest(NamedTuple):
    """By what a capacity is divided at any instant where all want more: shape (tenants,)."""

    weight: Floats  # whatever the balances
    ceiling: Floats
    capacity: float


@dataclass(frozen=True)  # no slots: `share` is kept once it is known
class Allocation:
    """What each tenant gets from each pool: limit = guaranteed + opportunistic + emergency.

    `elasticity` is what limits sum to, in capacities, at least 1.  It reports and bounds nothing:
    elastic limits are bounded by their ceilings and by how far they are closed alone.
    """

    guarantee: Guarantee
    emergency: Floats
    limit: Floats
    contest: Contest
    pressure: float
    elasticity: float
    marginal_need: float
    grants: Grants
    preempted_by: Ints  # who of a better rank ended a tenant's grant in this tick; -1 is nobody
    credit: Floats  # what the balance is worth, from -1 to 1
    most_forfeited: float  # part of what goes beyond a floor that the deepest debt takes back

    @property
    def opportunistic(self) -> Floats:
        """Return what goes beyond what was guaranteed and granted."""
        return self.limit - self.guarantee.amount - self.emergency

    @cached_property
    def share(self) -> Floats:
        """Return parts of the capacity to divide by weight, which sum to at most the capacity.

        Asked for where the kernel divides by weight, and worked out then: see `shares`.
        """
        contest = self.contest
        return shares(
            self.guarantee.amount,
            contest.weight * priority(self.credit * self.pressure),
            contest.ceiling,
            contest.capacity,
            emergency=self.emergency,
        )

    @property
    def promised(self) -> Floats:
        """Return what weights are to keep at any instant: guaranteed and emergency parts.

        With a grant no more than the share: guarantees and grants may take up all of the capacity,
        and where least shares do not fit beside them, both are cut.
        """
        if not self.emergency.any():
            return self.guarantee.amount
        return np.minimum(self.guarantee.amount + self.emergency, self.share)


def allocate(
    claims: Claims,
    *,
    capacity: float,
    mode: Mode,
    emergency: EmergencySettings,
    grants: Grants,
    is_pool_withheld: bool = False,
) -> Allocation:
    """Divide `capacity` among tenants under laws 2 to 6 (see docs/laws.md)."""
    expected, grid = surprised(claims)
    high = _row_at(claims.levels, grid, _INTERVAL_LEVEL)
    pressure = pressure_of(expected, high, capacity)
    most = most_forfeited(crowding_of(expected, capacity))
    promised = guarantee(
        claims.terms,
        Prospect(expected, high, claims.ceiling, forfeited(most, claims.credit)),
        capacity=capacity,
        emergency_fraction=emergency.fraction,
    )
    weight = claims.terms.weight * priority(claims.credit * pressure)
    lower = _held(claims, promised.amount, capacity)
    # What cannot be taken back now goes before what is kept for emergencies.
    pool = min(promised.emergency_pool, max(capacity - float(lower.sum()), 0.0))

    bids = Bids(DemandQuantiles.of(claims.levels, grid), lower, claims.ceiling, weight)
    # What emergencies do not claim now is lent, where it is back by the time that they do, and
    # where the host does not need it itself.
    is_lent = claims.is_spent and not is_pool_withheld
    placement = placed(bids, capacity=capacity if is_lent else capacity - pool)
    amount, grants, preempted_by = granted(
        grants,
        _need(claims, placement.limit, is_pool_withheld=is_pool_withheld),
        pool=pool,
        settings=emergency,
        is_withheld=is_pool_withheld,
    )
    if is_lent and amount.any():
        placement = placed(bids, capacity=capacity - float(amount.sum()))
    strict = placement.limit + amount
    limit = (
        strict
        if mode is Mode.STRICT
        else opened(strict, claims, grid, pressure=pressure, capacity=capacity)
    )
    return Allocation(
        guarantee=replace(promised, emergency_pool=pool),
        emergency=amount,
        limit=limit,
        contest=Contest(claims.terms.weight, claims.ceiling, capacity),
        pressure=pressure,
        elasticity=max(1.0, float(limit.sum()) / capacity) if capacity > 0 else 1.0,
        marginal_need=placement.marginal_need,
        grants=grants,
        preempted_by=preempted_by,
        credit=claims.credit,
        most_forfeited=most,
    )


def _need(claims: Claims, placed_limit: Floats, *, is_pool_withheld: bool) -> Need:
    """Say who hit its limit unexpectedly, and by how much its demand exceeds what was placed.

    Unexpectedly is: in demand that the forecast at hand, of the last step that closed, has not
    seen yet.  What it has seen is in the placement already.  It is not whether the demand exceeds
    the forecast's bounds: who is short step after step, since there is not enough for all, hits its
    limit anew each time.  It gets a grant for `grant_s`, less and less of it for `cooldown_s`, and
    then another, in turns with others of its rank.

    What the host itself needs of memory is the host's at once, but for what is in use already.
    """
    wanted = _known(claims.demand)
    if is_pool_withheld and not claims.is_spent and claims.in_use is not None:
        wanted = np.fmin(wanted, claims.in_use)
    return Need(
        shortfall=np.minimum(wanted, claims.ceiling) - placed_limit,
        is_hit=claims.is_hit & (not claims.is_foreseen),
        is_enforced=claims.is_enforced,
        is_in_debt=claims.credit < 0,
        rank=claims.terms.emergency_rank,
        weight=claims.terms.weight,
    )


def surprised(claims: Claims) -> tuple[Floats, Floats]:
    """Lift expectation and quantiles of tenants whose demand now is above their interval.

    The fast path: a spike that no forecast saw counts from the next tick on.  Its quantiles keep
    their spread above the expectation, on top of what is demanded now (above the median, a wider
    interval could turn a surprise into none and raise what is guaranteed: law 5).  What the
    forecast has seen already is no surprise.
    """
    if claims.is_foreseen:
        return claims.expected, claims.grid
    high = _row_at(claims.levels, claims.grid, _INTERVAL_LEVEL)
    demand = _known(claims.demand)
    above = np.flatnonzero(demand > high)
    if not len(above):
        return claims.expected, claims.grid
    expected, grid = claims.expected.copy(), claims.grid.copy()
    spread = np.maximum(grid[:, above] - expected[above], 0.0)
    grid[:, above] = np.maximum(grid[:, above], demand[above] + spread)
    expected[above] = np.maximum(expected[above], demand[above])
    return expected, grid


def pressure_of(expected: Floats, high: Floats, capacity: float) -> float:
    """Return the chance that total demand exceeds the capacity, from 0 to 1.

    Normal approximation of the sum, with a constant correlation between tenants:
    variance = (1 - rho) * sum(s_i^2) + rho * (sum s_i)^2, s_i = (high_i - expected_i)+ / z_95.
    """
    deviation = np.maximum(high - expected, 0.0) / _NORMAL_95
    variance = (1 - _CORRELATION) * np.square(deviation).sum() + _CORRELATION * deviation.sum() ** 2
    headroom = capacity - float(expected.sum())
    if variance <= 0:
        return 0.0 if headroom >= 0 else 1.0
    return 0.5 * math.erfc(headroom / math.sqrt(2.0 * variance))


def crowding_of(expected: Floats, capacity: float) -> float:
    """Return how far debts take back what was promised beyond floors, from 0 to 1.

    A soft threshold on total expected demand, from four fifths of the capacity to all of it: what
    is promised must not grow because a forecast becomes less certain (law 5), as the chance of a
    shortage may.
    """
    part = float(expected.sum()) / capacity if capacity > 0 else 1.0
    return min(max((part - _CROWDED_FROM) / (1.0 - _CROWDED_FROM), 0.0), 1.0)


def opened(
    strict: Floats, claims: Claims, grid: Floats, *, pressure: float, capacity: float
) -> Floats:
    """Return elastic limits: the ceiling while pressure is low, debtors closing first.

    closure = pressure * clip((1 - 2 c) / 3, 0, 1) with credit c: a tenant deep in debt closes
    with the pressure itself, one without balance by a third of it, one with half the credit that
    can be had not at all.  A closed limit still leaves all that those who are not in debt will
    not need for sure: weights keep promises within microseconds, so a cap that idles the host
    would protect nobody.  Nor does it fall below what cannot be taken back now.
    """
    closure = pressure * np.clip((1.0 - 2.0 * claims.credit) / 3.0, 0.0, 1.0)
    sure = np.where(claims.credit >= 0, _row_at(claims.levels, grid, _SURE_LEVEL), 0.0)
    left = (1.0 + _CLOSED_SLACK) * capacity - (sure.sum() - sure)
    closed = np.maximum(strict, np.minimum(left, claims.ceiling))
    limit: Floats = claims.ceiling - closure * (claims.ceiling - closed)
    return np.maximum(limit, np.minimum(claims.hold, claims.ceiling))


def shares(
    guaranteed: Floats, weight: Floats, ceiling: Floats, capacity: float, *, emergency: Floats
) -> Floats:
    """Divide the whole capacity into parts that keep each guarantee and grant at any instant.

    Emergency grants are taken off first.  Of the rest each tenant's part is its weighted share, or
    its guaranteed amount where that is more; its grant comes on top, so that it has more for it
    also where its weighted share is above what it is guaranteed.  Since the parts sum to the
    capacity, weights proportional to them give every tenant at least what it is promised, however
    hard the others compete.  (Guaranteed amounts with a weighted share of the rest on top would
    favour who is expected to use much over who has saved up.)

    Nobody stands still: `LEAST_SHARES` of the capacity is for all who are present, alike.  Where
    guarantees and grants leave less, what they have above it is cut in proportion, to
    (1 - LEAST_SHARES) of each at worst.
    """
    present = np.where(ceiling > 0, weight, 0.0)
    promised, lent = _with_least_shares(guaranteed, emergency, present > 0, capacity)
    return levelled(capacity - float(lent.sum()), least=promised, weight=present) + lent


def _with_least_shares(
    guaranteed: Floats, emergency: Floats, is_present: Bools, capacity: float
) -> tuple[Floats, Floats]:
    """Return the least shares with what guarantees have above them, and grants, as they fit."""
    least = LEAST_SHARES * capacity * is_present / max(int(is_present.sum()), 1)
    above = np.maximum(guaranteed - least, 0.0)
    room, wanted = capacity - float(least.sum()), float(above.sum() + emergency.sum())
    kept = room / wanted if wanted > room else 1.0
    return least + above * kept, emergency * kept


def _held(claims: Claims, guaranteed: Floats, capacity: float) -> Floats:
    """Return the least that each tenant is left with: its guarantee, and as far as it fits more.

    First the kernel's smallest limit, then what cannot be taken back now.
    """
    lower, weight = guaranteed, claims.terms.weight
    for wanted in (claims.least, claims.hold):
        room = np.maximum(np.minimum(wanted, claims.ceiling) - lower, 0.0)
        lower = lower + filled(capacity - float(lower.sum()), room=room, weight=weight)
    return lower


def _known(demand: Floats) -> Floats:
    return np.where(np.isfinite(demand), demand, 0.0)


def _row_at(levels: Floats, grid: Floats, level: float) -> Floats:
    """Return the quantile of the first grid level at or above `level`, shape (tenants,)."""
    row = grid[min(int(levels.searchsorted(level)), len(levels) - 1)]
    return np.asarray(row, dtype=np.float64)
