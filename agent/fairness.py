"""Weighted max-min fairness (progressive filling) over columns, from below and above.  Pure."""

import numpy as np

from agent.tenant import Floats


def filled(amount: float, *, room: Floats, weight: Floats) -> Floats:
    """Divide `amount` among tenants so that each gets min(room, level * weight).

    The level is the same for all: what a full tenant leaves is divided again among the others,
    so something is left only when every tenant with a weight is full (Bertsekas and Gallager,
    Data Networks, 6.5.2: max-min fairness by progressive filling).  All shapes (tenants,).

    Raises:
        ValueError: A room is negative or not finite, or a weight is negative.

    """
    most, lightest = room.max(initial=0.0), weight.min(initial=np.inf)
    if not (room.min(initial=0.0) >= 0 and most < np.inf) or lightest < 0:
        raise ValueError("room must be finite and >= 0, weight >= 0")
    if amount <= 0 or most == 0:
        return np.zeros(room.shape)
    if lightest == 0:
        room = np.where(weight > 0, room, 0.0)
    if amount >= room.sum():
        return room
    takes_part = room > 0
    level = _level(amount, room[takes_part], weight[takes_part])
    return np.minimum(room, level * weight)


def levelled(amount: float, *, least: Floats, weight: Floats) -> Floats:
    """Divide `amount` so that each tenant gets max(least, level * weight), the same level for all.

    Weighted max-min fairness above what each has already: who has less than its weighted share is
    lifted first.  Where `least` alone sums to the amount or more, nobody gets more.  All shapes
    (tenants,).
    """
    if amount <= least.sum() or weight.max(initial=0.0) <= 0:
        return least
    full_at = np.divide(least, weight, out=np.full_like(least, np.inf), where=weight > 0)
    order = np.argsort(full_at, kind="stable")
    # With the first k tenants lifted, the others keep what they have: the level that results is
    # the right one for the first k at which tenant k + 1 has that level already.
    kept = np.zeros_like(least)
    kept[:-1] = least[order][:0:-1].cumsum()[::-1]
    lifted = weight[order].cumsum()
    has_weight = lifted > 0
    level = np.divide(amount - kept, lifted, out=np.zeros_like(kept), where=has_weight)
    is_right = has_weight
    is_right[:-1] &= level[:-1] <= full_at[order[1:]]
    return np.maximum(least, float(level[is_right.argmax()]) * weight)


def _level(amount: float, room: Floats, weight: Floats) -> float:
    """Return the level at which sum(min(room, level * weight)) equals `amount` < sum(room)."""
    full_at = room / weight
    order = full_at.argsort(kind="stable")
    room_before = np.zeros_like(room)
    room_before[1:] = room[order[:-1]].cumsum()
    weight_left = weight[order[::-1]].cumsum()[::-1]
    # With the first k tenants full, the others share the rest: the level that results is the
    # right one for the first k at which tenant k would not be full yet.
    level = (amount - room_before) / weight_left
    is_right = level <= full_at[order]
    is_right[-1] = True  # an amount that rounding alone keeps below the sum fills them all
    return max(float(level[is_right.argmax()]), 0.0)
