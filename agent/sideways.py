"""Writes beside limits, which take nothing from anyone at once: shares and promises.  Pure."""

from collections.abc import Mapping

import numpy as np

from agent.controls import rate_control_of
from agent.cycle import Decision, Observation
from agent.plan import enforceable
from agent.shares import moved_lows, moved_rates, moved_weights
from agent.tenant import Bools, Floats, Resource
from enforce.columns import DEFAULT_WEIGHT, Changes


def share_changes(
    decision: Decision,
    seen: Observation,
    may_write: Bools,
    weight: Floats,
    *,
    capacity: Mapping[Resource, float],
) -> tuple[Changes, Changes]:
    """Return changes of cpu.weight, to `weight`, and of memory.low."""
    in_force, parts = seen.sample.in_force, decision.resources
    low = np.floor(parts[Resource.MEMORY].allocation.guarantee.amount)
    # A weight that an earlier agent set stands like its limits, until there is history.
    is_adopted = decision.is_learning & (in_force.cpu_weight != DEFAULT_WEIGHT)
    weights = moved_weights(
        weight,
        in_force.cpu_weight,
        may_write & ~is_adopted,
        guaranteed=parts[Resource.CPU].allocation.guarantee.amount,
        capacity=capacity[Resource.CPU],
    )
    return weights, moved_lows(low, in_force.memory_low_bytes, may_write)


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
            wanted = np.floor(enforceable(control, part.allocation.guarantee.amount))
            in_force, most = seen.sample.limit(control), capacity[resource]
            found.append(moved_rates(control, wanted, in_force, may_write, capacity=most))
    return tuple(found)
