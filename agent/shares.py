"""cpu.weight and memory.low: what keeps promises in a contest, and when to move it.  Pure.

All columns have shape (tenants,).
"""

import numpy as np

from agent.plan import KERNEL_ROUNDING, changes_of
from agent.tenant import Bools, Floats
from enforce.columns import DEFAULT_WEIGHT, AnyControl, Changes, ClassControl, Control
from enforce.limits import MAX_WEIGHT, MIN_WEIGHT

# Weights and memory.low take nothing from anyone at once: small moves are not worth a write,
# unless a guarantee would be short without.
SHARE_DEAD_BAND = 0.1
_LARGEST_PAGE_BYTES = 1 << 16  # what the kernel rounds memory to, on any machine
# What an average tenant's cpu.weight is about to be: then a step of 1 is below the dead-band.
_FINE_WEIGHT = 128
_MOST_FRACTION = 0.75  # of the largest weight: what rounding up adds must fit
# Each round raises what the last one's larger sum left short: some need none, few more than ten.
_MOST_ROUNDS = 64


def moved_lows(wanted: Floats, in_force: Floats, may_write: Bools) -> Changes:
    """Return the changes of memory.low: each rise, since it is promised, and falls that matter."""
    with np.errstate(invalid="ignore"):
        is_short = wanted > in_force * (1.0 + KERNEL_ROUNDING)
        is_beyond = wanted < in_force * (1.0 - SHARE_DEAD_BAND)
    return changes_of(Control.MEMORY_LOW, wanted, in_force, may_write & (is_short | is_beyond))


def moved_maxima(wanted: Floats, in_force: Floats, may_write: Bools) -> Changes:
    """Return the changes of memory.max, where it is configured; the others' are their own."""
    with np.errstate(invalid="ignore"):
        is_off = np.abs(wanted - in_force) > _LARGEST_PAGE_BYTES
    is_off = np.isfinite(wanted) & ~np.isnan(in_force) & is_off
    return changes_of(Control.MEMORY_MAX, wanted, in_force, may_write & is_off)


def moved_rates(
    control: ClassControl,
    wanted: Floats,
    in_force: Floats,
    may_write: Bools,
    *,
    is_adopted: Bools,
    capacity: float,
) -> Changes:
    """Return the changes of HTB rates: each rise, since it is promised, and falls that matter.

    One that was adopted stands, until there is history, and falls for no smaller promise.  Where
    rates would add up to more than the capacity without (law 2), every fall matters.
    """
    with np.errstate(invalid="ignore"):
        is_short = wanted > in_force * (1.0 + KERNEL_ROUNDING)
        is_beyond = ~is_adopted & (wanted < in_force * (1.0 - SHARE_DEAD_BAND))
        is_moved = may_write & (is_short | is_beyond)
        if np.nansum(np.where(is_moved, wanted, in_force)) > capacity:
            is_moved |= may_write & (wanted < in_force)
    return changes_of(control, wanted, in_force, is_moved)


def moved_weights(
    wanted: Floats,
    in_force: Floats,
    may_write: Bools,
    *,
    guaranteed: Floats,
    capacity: float,
    control: AnyControl = Control.CPU_WEIGHT,
) -> Changes:
    """Return the changes of a weight: those outside the dead-band, and what guarantees need.

    Weights are relative, so a guarantee may be short for its own weight or for others above
    theirs: as few as it takes are written.  NaN in force is a weight that is not there.
    """
    now = np.nan_to_num(in_force, nan=0.0)
    change = np.where(may_write & np.isfinite(in_force), wanted - now, 0.0)
    promised = np.where(now > 0, guaranteed, 0.0)
    is_moved = np.abs(change) > np.maximum(SHARE_DEAD_BAND * now, 1.0)
    for widening in range(3):
        after = np.where(is_moved, wanted, now)
        is_short = lacking_fraction(after, promised, capacity) > KERNEL_ROUNDING
        if not is_short.any():
            break
        is_moved |= (change != 0) & (is_short, change < 0, True)[widening]
    return changes_of(control, wanted, in_force, is_moved)


def lacking_fraction(weight: Floats, guaranteed: Floats, capacity: float) -> Floats:
    """Return the part of its guarantee that each tenant lacks while all compete by `weight`."""
    given = weight * (capacity / max(float(weight.sum()), 1.0))
    lacking = np.maximum(guaranteed - given, 0.0)
    return np.divide(lacking, guaranteed, out=np.zeros_like(lacking), where=guaranteed > 0)


def kernel_weights(share: Floats, guaranteed: Floats, capacity: float) -> Floats:
    """Return weights proportional to `share`, whole numbers in 1..10000.

    Nobody has less than 1: with thousands of tenants what is rounded up adds up, so weights that
    guarantees need are raised until they hold against the sum that results.
    """
    if capacity <= 0 or not share.any():
        return np.full_like(share, DEFAULT_WEIGHT)
    weight = np.maximum(np.round(_weight_scale(share, capacity) * share), MIN_WEIGHT)
    for _ in range(_MOST_ROUNDS):
        needed = np.ceil(guaranteed / capacity * weight.sum() * (1.0 - KERNEL_ROUNDING / 2))
        before, weight = weight, np.clip(needed, weight, MAX_WEIGHT)
        if np.array_equal(weight, before):
            break
    return weight


def _weight_scale(share: Floats, capacity: float) -> float:
    """Return the weight of a unit of `share`: finer the more tenants there are.

    It moves by powers of two, and no further than the number of tenants asks for: when it moves,
    all weights are written.  The largest is left room to make up for what is rounded up.
    """
    room = _MOST_FRACTION * capacity / float(share.max())
    finer = max(min(room, _FINE_WEIGHT * len(share) / MAX_WEIGHT), 1.0)
    return float(MAX_WEIGHT / capacity * 2.0 ** np.floor(np.log2(finer)))
