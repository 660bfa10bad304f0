"""Changes of what keeps promises in a contest: weights, memory.low, rates of uplinks.  Pure.

Values that somebody else has set stay as they are, unless they break what a floor promises.
"""

from collections.abc import Mapping

import numpy as np

from agent.allocation import LEAST_SHARES
from agent.controls import rate_control_of, weight_control_of, weight_controls
from agent.cycle import Decision, Observation
from agent.plan import enforceable
from agent.shares import kernel_weights, moved_lows, moved_maxima, moved_rates, moved_weights
from agent.tenant import BASIC, Bools, Floats, Resource, Roster
from enforce.columns import DEFAULT_WEIGHT, Changes, Control


def sideways(
    decision: Decision,
    seen: Observation,
    may_write: Bools,
    weight: Floats,
    capacity_cores: float,
    *,
    is_elsewhere: Bools,
) -> tuple[Changes, Changes]:
    """Return changes of cpu.weight, which was decided to be `weight`, and of memory.low.

    Weights compare siblings only: of tenants elsewhere they would take from who is none of ours.
    """
    cpu, memory = (decision.resources[r].allocation.guarantee for r in BASIC)
    in_force, pins = seen.sample.in_force, seen.pins
    # A weight that an earlier agent set stands like its limits, until there is history.
    is_adopted = decision.is_learning & (in_force.cpu_weight != DEFAULT_WEIGHT)
    now = np.where(is_elsewhere, np.nan, in_force.cpu_weight)
    least = _least_weight(cpu.floor, now, capacity_cores)
    is_pinned = pins.stands(Control.CPU_WEIGHT, now, least=least)
    weights = moved_weights(
        weight,
        now,
        may_write & ~is_adopted & ~is_pinned,
        guaranteed=decision.resources[Resource.CPU].allocation.promised,
        capacity=capacity_cores,
    )
    lows, floors = in_force.memory_low_bytes, np.floor(memory.floor)
    is_pinned = pins.stands(Control.MEMORY_LOW, lows, least=floors)
    return weights, moved_lows(np.floor(memory.amount), lows, may_write & ~is_pinned)


def rate_changes(
    decision: Decision,
    seen: Observation,
    may_write: Bools,
    *,
    capacity: Mapping[Resource, float],
) -> tuple[Changes, ...]:
    """Return changes of the rates that classes of uplinks have at any time."""
    found = []
    for resource, part in decision.resources.items():
        control = rate_control_of(resource)
        if control is not None:
            allocation = part.allocation
            wanted = np.floor(
                enforceable(control, allocation.guarantee.amount + allocation.emergency)
            )
            in_force, most = seen.sample.limit(control), capacity[resource]
            least = np.floor(allocation.guarantee.floor)
            is_pinned = seen.pins.stands(control, in_force, least=least)
            may_move = may_write & ~is_pinned
            found.append(
                moved_rates(
                    control,
                    wanted,
                    in_force,
                    may_move,
                    is_adopted=decision.is_learning,
                    capacity=most,
                )
            )
    return tuple(found)


def beside_changes(
    decision: Decision,
    seen: Observation,
    may_write: Bools,
    roster: Roster,
    *,
    capacity: Mapping[Resource, float],
) -> tuple[Changes, ...]:
    """Return changes of all else that stands beside limits: rates, disks' weights, memory.max."""
    maxima = seen.sample.in_force.memory_max_bytes
    floor = decision.resources[Resource.MEMORY].allocation.guarantee.floor
    is_pinned = seen.pins.stands(Control.MEMORY_MAX, maxima, least=np.floor(floor))
    elsewhere = roster.is_elsewhere
    return (
        *rate_changes(decision, seen, may_write, capacity=capacity),
        *disk_weight_changes(decision, seen, may_write, capacity=capacity, is_elsewhere=elsewhere),
        moved_maxima(roster.memory_max_bytes, maxima, may_write & ~is_pinned),
    )


def disk_weight_changes(
    decision: Decision,
    seen: Observation,
    may_write: Bools,
    *,
    capacity: Mapping[Resource, float],
    is_elsewhere: Bools,
) -> tuple[Changes, ...]:
    """Return changes of the weights on disks that the kernel divides by weight.

    One weight stands for all that is divided of a disk: each tenant's largest part of any of it.
    As cpu.weight they compare siblings only: those of tenants elsewhere stay.
    """
    found = []
    for control in weight_controls(decision.resources):
        in_force = np.where(is_elsewhere, np.nan, seen.sample.limit(control))
        if np.isnan(in_force).all():
            continue
        of_disk = {r: d for r, d in decision.resources.items() if weight_control_of(r) == control}
        part = np.max([d.allocation.share / capacity[r] for r, d in of_disk.items()], axis=0)
        promised = np.max([d.allocation.promised / capacity[r] for r, d in of_disk.items()], axis=0)
        part, promised = (one / max(float(one.sum()), 1.0) for one in (part, promised))
        is_adopted = decision.is_learning & (in_force != DEFAULT_WEIGHT)
        floor = np.max([d.allocation.guarantee.floor / capacity[r] for r, d in of_disk.items()], 0)
        least = _least_weight(floor, in_force, 1.0)
        is_pinned = seen.pins.stands(control, in_force, least=least)
        found.append(
            moved_weights(
                kernel_weights(part, promised, 1.0),
                in_force,
                may_write & ~is_adopted & ~is_pinned,
                guaranteed=promised,
                capacity=1.0,
                control=control,
            )
        )
    return tuple(found)


def _least_weight(floor: Floats, weight: Floats, capacity_cores: float) -> Floats:
    """Return the weight that keeps each floor, or a least share, beside what all have now."""
    present = np.isfinite(weight)
    each = LEAST_SHARES / max(int(present.sum()), 1)
    part = np.maximum(floor / capacity_cores if capacity_cores > 0 else 0.0, each)
    return np.asarray(part * float(weight[present].sum()), dtype=np.float64)
