"""Placing capacity where it is most likely needed: equal marginal need.  Pure.

Minimising expected unmet demand, weighted, under a capacity has its optimum where every tenant
has the same weighted probability of needing more than its limit, w * P(demand > limit) = lambda
(a newsvendor with one shared constraint: Hadley and Whitin, Analysis of Inventory Systems, 1963).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agent.fairness import filled
from agent.tenant import Floats, Ints

_STEPS, _BISECT_EVERY = 96, 4
_MET = 1e-13  # of the capacity: beyond that sums are not exact


@dataclass(frozen=True, slots=True)
class Placement:
    """Limits of shape (tenants,) and the marginal need lambda at which they were placed."""

    limit: Floats
    marginal_need: float


@dataclass(frozen=True, slots=True)
class DemandQuantiles:
    """Quantile functions of all tenants' demand: linear between the points of one grid.

    A placement asks for quantiles a dozen times: what lies between points is worked out once.
    """

    levels: Floats  # (levels,), from 0 to 1
    values: Floats  # (levels, tenants), rising along axis 0
    inner: Floats  # levels, but for the first and the last
    widths: Floats  # (levels - 1,): from each level to the next
    tenants: Ints  # positions

    @classmethod
    def of(cls, levels: Floats, grid: Floats) -> "DemandQuantiles":
        """Complete a grid, whose last level is 1: demand is never below 0."""
        levels = np.concatenate(([0.0], levels))
        values = np.zeros((len(levels), grid.shape[1]))
        np.maximum(grid, 0.0, out=values[1:])
        if (values[1:] < values[:-1]).any():  # looked at: accumulating takes four times as long
            np.maximum.accumulate(values, out=values)
        widths, tenants = levels[1:] - levels[:-1], np.arange(grid.shape[1])
        return cls(levels, values, levels[1:-1], widths, tenants)

    def at(self, probability: Floats) -> Floats:
        """Return each tenant's quantile at its own probability, 0 to 1, shape (tenants,)."""
        left = self.inner.searchsorted(probability)
        place = left * len(self.tenants) + self.tenants  # in all values, row by row
        found: Floats = probability - self.levels.take(left)
        found /= self.widths.take(left)
        value = self.values.take(place)
        found *= self.values[1:].take(place) - value
        found += value
        return found


@dataclass(frozen=True)  # no slots: what is asked for again is kept
class Bids:
    """What tenants take at each marginal need, from `lower` to `upper`, shape (tenants,).

    Weights are positive.
    """

    quantiles: DemandQuantiles
    lower: Floats
    upper: Floats
    weight: Floats

    def at(self, need: float) -> Floats:
        """Return their limits where w * P(demand > limit) is `need`."""
        # minimum and maximum: np.clip costs three times as much on a hundred tenants.
        wanted = self.quantiles.at(np.maximum(1.0 - need / self.weight, 0.0))
        return np.minimum(np.maximum(wanted, self.lower), self.upper)

    @cached_property
    def at_rest(self) -> Floats:
        """Return what all take where there is enough for every demand."""
        return self.at(0.0)

    @cached_property
    def most_need(self) -> float:
        """Return the need at which nobody takes more than it must."""
        return float(self.weight.max())

    @cached_property
    def at_least(self) -> Floats:
        """Return what all take at that."""
        return self.at(self.most_need)


def placed(bids: Bids, *, capacity: float) -> Placement:
    """Place `capacity` at equal marginal need, between `lower` and `upper` of each tenant.

    What is left when every tenant is served to the end of its tail is spread up to `upper`, so that
    capacity is unplaced only when every `upper` is met (law 4): by weight and room.  Of demand
    that nobody has ever seen nothing is known but that it ends at `upper`, and if it is as likely
    anywhere in the room above the tail, equal marginal need fills the same part of each room.  The
    caller sees to it that sum(lower) <= capacity.
    """
    at_rest = bids.at_rest
    left = capacity - at_rest.sum()
    if left >= 0:
        room = np.maximum(bids.upper - at_rest, 0.0)
        spread = filled(left, room=room, weight=bids.weight * room)
        return Placement(at_rest + spread, 0.0)
    return _squeezed(bids, capacity)


def _squeezed(bids: Bids, capacity: float) -> Placement:
    """Find the need at which `bids` meet a capacity below that of all at rest.

    By false position, each end's weight halved while it stays (the Illinois rule: Dowell and
    Jarratt, BIT 11, 1971), which takes a fifth of the steps of bisection; with every fourth step a
    bisection, no shape of the demand makes it slow.
    """
    low, high, more, less = 0.0, bids.most_need, bids.at_rest, bids.at_least
    over, under = float(more.sum()) - capacity, float(less.sum()) - capacity
    was_over: bool | None = None
    for step in range(1, _STEPS):
        is_halved = under >= 0 or step % _BISECT_EVERY == 0
        part = 0.5 if is_halved else over / (over - under)
        middle = low + (high - low) * part
        found = bids.at(middle)
        off = float(found.sum()) - capacity
        if off > 0:
            low, more, over = middle, found, off
            under = under / 2 if was_over is True else under
        else:
            high, less, under = middle, found, off
            over = over / 2 if was_over is False else over
        if abs(off) <= _MET * capacity:
            return Placement(_between(more, less, capacity), middle)
        was_over = off > 0
    return Placement(_between(more, less, capacity), high)


def _between(more: Floats, less: Floats, capacity: float) -> Floats:
    """Blend two neighbouring placements so that the capacity is met exactly."""
    gap = more.sum() - less.sum()
    share = np.clip((capacity - less.sum()) / gap, 0.0, 1.0) if gap > 0 else 0.0
    return less + (more - less) * share
