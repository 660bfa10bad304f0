"""What limits must not fall below, whatever is decided: memory in use, and limits once set.  Pure.

All columns have shape (tenants,).
"""

from collections.abc import Iterable, Mapping

import numpy as np

from agent.plan import KERNEL_ROUNDING, least_in_force
from agent.tenant import Bools, Floats, Resource
from agent.usage import Usage
from enforce.columns import HostSample, Outcomes

_LARGEST_PAGE_BYTES = 1 << 16  # what the kernel rounds memory.high to, on any machine


def least_of(
    floor: Floats, stuck: Floats | None, in_force: Floats, *, margin_bytes: float
) -> Floats:
    """Return what must be in force at once, learning or not, whatever the others hold.

    The floor, in cores or bytes, and what cannot be taken back (safety rule 4; None of what is
    spent), to a part of its margin.
    """
    least = least_in_force(floor, in_force, slack=KERNEL_ROUNDING * floor)
    if stuck is None:
        return least
    slack = _slack_bytes(margin_bytes)
    return np.maximum(least, least_in_force(stuck, in_force, slack=slack))


def stuck_bytes(usage: Usage, *, margin_bytes: float, machine_bytes: float) -> Floats:
    """Return memory that cannot be taken back, plus the margin, at most what the machine has."""
    held = np.nan_to_num(usage.memory_unreclaimable_bytes, nan=0.0)
    return np.minimum(held + margin_bytes, machine_bytes)


def unyielding_bytes(usage: Usage, high: Floats, *, margin_bytes: float) -> Floats:
    """Return all that a tenant holds, plus the margin, where reclaim has not brought it to `high`.

    It may still: such memory is left to its tenant as far as there is capacity, and no further.
    """
    with np.errstate(invalid="ignore"):
        is_beyond = usage.memory_bytes - high > _slack_bytes(margin_bytes)
    return np.where(is_beyond, usage.memory_bytes + margin_bytes, 0.0)


def _slack_bytes(margin_bytes: float) -> float:
    """Return what of the margin may be missing, or be held beyond a limit, before it matters."""
    return max(margin_bytes / 4, _LARGEST_PAGE_BYTES)


def own_limit(own: Floats, in_force: Floats, machine: float) -> Floats:
    """Return what is in force, or our own limit where another took it off.

    Who takes a controller from all tenants and hands it out again takes off every limit.
    """
    with np.errstate(invalid="ignore"):
        was_taken_off = (in_force >= machine) & (own < machine * (1 - KERNEL_ROUNDING))
    return np.where(was_taken_off, own, in_force)


def left_in_force(own: Floats, outcomes: Iterable[Outcomes], machine: float) -> Floats:
    """Return what is left of limits of one kind once they were written; no limit is `machine`.

    Where what a write left cannot be told it may be either value: the larger one.
    """
    for one in outcomes:
        if len(one.tenant):
            own, before = own.copy(), own[one.tenant]
            left = np.where(np.isnan(one.kept), np.fmax(before, one.wanted), one.kept)
            own[one.tenant] = np.minimum(left, machine)
    return own


def of_the_same(
    columns: Mapping[Resource, Floats], earlier: HostSample | None, later: HostSample
) -> Mapping[Resource, Floats]:
    """Return what is still known of cgroups that are the same as before, else NaN."""
    if earlier is None:
        return {r: np.full_like(column, np.nan) for r, column in columns.items()}
    is_same = earlier.cgroup_id == later.cgroup_id
    if is_same.all():
        return columns
    return {r: np.where(is_same, column, np.nan) for r, column in columns.items()}


def first_known(adopted: Floats, limit: Floats) -> Floats:
    """Remember the first limit seen of each tenant; inf is none, which nobody is held to."""
    is_unknown = np.isnan(adopted)
    return np.where(is_unknown, limit, adopted) if is_unknown.any() else adopted


def standing_while_learning(
    adopted: Floats, is_learning: Bools, *, floor: Floats, relief: Floats, ceiling: Floats
) -> tuple[Floats, Floats]:
    """Return ceiling and hold: while learning, both stand at the limit that was adopted.

    No jump at a restart: until there is history a limit neither falls nor rises, but for a
    tenant that is held at it, which may rise to `relief` (its fair share; of memory also what it
    asks for: reclaim may be at it without end), and for floors and ceilings.
    """
    if not is_learning.any():
        return ceiling, np.zeros_like(ceiling)
    standing = np.where(is_learning, adopted, 0.0)
    pinned = np.minimum(np.maximum.reduce([standing, floor, relief]), ceiling)
    return np.where(is_learning, pinned, ceiling), np.minimum(standing, ceiling)
