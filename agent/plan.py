"""From decided to written: which values change, how far, and in which order.  Pure.

Reductions come first; raises are cut to what confirmed reductions have freed (law 2).
"""

from dataclasses import dataclass

import numpy as np

from agent.fairness import filled
from agent.tenant import Bools, Floats
from enforce.columns import AnyControl, Changes, ClassControl, Control, DiskControl
from enforce.limits import MIN_QUOTA_US, MIN_RATE_BYTES_PER_S, PERIOD_US, disk_range

_MIN_CPU_CORES = MIN_QUOTA_US / PERIOD_US
_MIN_MEMORY_BYTES = 1 << 20
# Quotas are kept to 1 us and bytes to a page: what is closer than this would be written for ever.
KERNEL_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Pace:
    """How eagerly limits follow decisions."""

    dead_band_fraction: float = 0.02
    ramp_down_fraction_per_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Standing:
    """What limits stand at and what bounds them, shape (tenants,), finite."""

    in_force: Floats  # 0 where there is nothing to limit
    guaranteed: Floats
    ceiling: Floats
    in_use: Floats  # in the last tick
    is_hit: Bools  # was held at its limit in the last tick
    least: Floats  # what must be in force at once, whatever was decided: see `raises`
    own: Floats  # what falls are counted from: less than in force where others took a limit off


def stepped(
    wanted: Floats, standing: Standing, *, free: float, elapsed_s: float, pace: Pace
) -> Floats:
    """Return the values to aim for in this tick: up at once, down in steps.

    A limit falls by at most `ramp_down_fraction_per_s` of itself a second, except as far as
    another tenant's guarantee waits for the capacity (law 6), or one that is held at its limit
    could have what is not in use; `free` is what is not yet handed out, negative on an
    overcommitted host.  Changes inside the dead-band are left out, but for those that a
    guarantee, a ceiling, an overcommitted host or a raise outside of its band waits for.  Nothing
    is aimed at below `least`, whatever was decided, and no dead-band keeps a limit from it.  A
    limit that another took off comes back at once, as it was: what it has to rise waits its turn.
    """
    in_force = standing.in_force
    rise = np.maximum(wanted - in_force, 0.0)
    owed = np.maximum(np.minimum(wanted, standing.guaranteed) - in_force, 0.0)
    owed = np.where(owed > KERNEL_ROUNDING * in_force, owed, 0.0)
    owed = np.maximum(owed, standing.least - in_force)
    keep = np.power(1.0 - pace.ramp_down_fraction_per_s, max(elapsed_s, 0.0))
    lowest = np.minimum(wanted, in_force)
    ramped = np.minimum(np.maximum(lowest, standing.own * keep), standing.own)
    unused = np.maximum(lowest, np.minimum(standing.in_use, ramped))
    for needed, least in ((np.where(standing.is_hit, rise, 0.0), unused), (owed, lowest)):
        short = float(needed.sum()) - max(free, 0.0) - float((in_force - ramped).sum())
        if short > 0:
            room = np.maximum(ramped - least, 0.0)
            ramped = ramped - filled(short, room=room, weight=np.ones_like(wanted))
    target = np.where(wanted > in_force, wanted, ramped)
    is_due = owed > 0
    is_moved = _is_worth_a_write(target, standing, is_due, free=free, pace=pace)
    return np.maximum(np.where(is_moved, target, in_force), standing.least)


def least_in_force(needed: Floats, in_force: Floats, *, slack: Floats | float) -> Floats:
    """Return `needed`, or what is in force where that falls short of it by less than `slack`."""
    return np.where(in_force < needed - slack, needed, np.minimum(needed, in_force))


def _is_worth_a_write(
    target: Floats, standing: Standing, is_owed: Bools, *, free: float, pace: Pace
) -> Bools:
    """Say which changes are outside of the dead-band, or waited for."""
    in_force = standing.in_force
    change = target - in_force
    is_over = free < -KERNEL_ROUNDING * in_force.sum()
    is_due = is_owed | (in_force > standing.ceiling) | ((change < 0) & is_over)
    is_due |= (change > 0) & (target >= standing.ceiling)  # or it would never be reached
    band = np.where(is_due, KERNEL_ROUNDING, pace.dead_band_fraction)
    is_large = np.abs(change) > band * in_force
    short = float(change[is_large].sum()) - max(free, 0.0)
    return is_large | _largest(np.where(is_large, 0.0, np.maximum(-change, 0.0)), short)


def reductions(control: AnyControl, target: Floats, in_force: Floats, may_write: Bools) -> Changes:
    """Return the values that fall, largest drop first."""
    return changes_of(control, target, in_force, may_write & (target < in_force))


def raises(
    control: AnyControl,
    target: Floats,
    in_force: Floats,
    *,
    guaranteed: Floats,
    least: Floats,
    headroom: float,
) -> Changes:
    """Return the values that rise, cut to `headroom`: what guarantees need comes first.

    No headroom cuts the rise to `least`, below which a tenant would stand still for our sake: a
    sum in force that is too large for a while is the lesser evil.
    """
    rise = np.maximum(target - in_force, 0.0)
    must = np.minimum(rise, np.maximum(least - in_force, 0.0))
    owed = np.minimum(rise, np.maximum(np.minimum(target, guaranteed) - in_force, must))
    other = rise - owed
    left = headroom - float(must.sum())
    first = must + filled(left, room=owed - must, weight=np.ones_like(rise))
    rest = filled(headroom - float(first.sum()), room=other, weight=other)
    after = np.where(rise > 0, in_force + first + rest, in_force)
    after = np.where(first + rest >= rise, np.where(rise > 0, target, in_force), after)
    return changes_of(control, after, in_force, after > in_force)


def headroom(
    target: Floats,
    before: Floats,
    now: Floats,
    *,
    guaranteed: Floats,
    least: Floats,
    allowed: float,
) -> float:
    """Return how far the sum in force may rise once `before` has been lowered to `now` (law 2).

    Up to `allowed`; on a host that was found overcommitted, only what guarantees wait for and what
    must be in force at once (`least`), and no further than to where the sum was.
    """
    needed = np.maximum(guaranteed, least)
    owed = float(np.maximum(np.minimum(target, needed) - now, 0.0).sum())
    in_force = float(now.sum())
    return max(allowed - in_force, min(owed, float(before.sum()) - in_force))


def changes_of(control: AnyControl, after: Floats, before: Floats, is_changed: Bools) -> Changes:
    """Return the changes of those that are changed, largest drop first."""
    tenant = is_changed.nonzero()[0]
    if not len(tenant):
        return Changes(control, tenant, np.empty(0), np.empty(0))
    with np.errstate(invalid="ignore"):  # from no limit to none
        order = np.argsort(after[tenant] - before[tenant], kind="stable")
    tenant = tenant[order]
    return Changes(control, tenant, before[tenant], after[tenant])


def is_outside(wanted: Floats, in_force: Floats, pace: Pace) -> Bools:
    """Say which values differ from what is in force, both finite, by more than the dead-band."""
    is_off: Bools = np.abs(wanted - in_force) > pace.dead_band_fraction * in_force
    return is_off


def enforceable(control: AnyControl | None, limit: Floats) -> Floats:
    """Return the value next to `limit` that the kernel can hold, if it limits that at all."""
    if control is None:
        return limit
    if isinstance(control, ClassControl):
        return np.maximum(limit, MIN_RATE_BYTES_PER_S)
    if isinstance(control, DiskControl):
        # Whole ones: the kernel keeps no part of an operation, which would be written for ever.
        return np.maximum(np.floor(limit), disk_range(control)[0])
    return np.maximum(limit, _MIN_CPU_CORES if control is Control.CPU_MAX else _MIN_MEMORY_BYTES)


def _largest(amounts: Floats, needed: float) -> Bools:
    """Return which of `amounts`, the largest first, it takes to make up what is needed."""
    if needed <= 0 or not amounts.any():
        return np.zeros(len(amounts), dtype=np.bool_)
    falling = np.sort(amounts)[::-1]
    last = min(int(np.searchsorted(np.cumsum(falling), needed)), len(falling) - 1)
    is_taken: Bools = (amounts > 0) & (amounts >= falling[last])
    return is_taken
