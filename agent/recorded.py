"""What the record of a tick keeps of one resource's decision.  Pure."""

from functools import lru_cache

import numpy as np

from agent.controls import control_of
from agent.cycle import Decision, Observation, Policy
from agent.record import ResourceTick
from agent.tenant import Floats, Resource
from agent.usage import measured


def resource_tick(
    resource: Resource, decision: Decision, seen: Observation, policy: Policy, *, weight: Floats
) -> ResourceTick:
    """Return the chain from measurement to limit of one resource; `weight` is cpu.weight's."""
    part, state = decision.resources[resource], decision.state
    allocation, nothing = part.allocation, _nothing(len(weight))
    control = control_of(resource)
    return ResourceTick(
        capacity=policy.capacity[resource],
        emergency_pool=allocation.guarantee.emergency_pool,
        pressure=allocation.pressure,
        elasticity=allocation.elasticity,
        host_need=part.host_need,
        marginal_need=allocation.marginal_need,
        usage=measured(resource, seen.usage),
        demand=seen.demands[resource].value,
        is_censored=seen.demands[resource].is_censored,
        expected=part.profile.expected,
        maximum=part.profile.maximum,
        source=part.profile.source,
        risk=allocation.guarantee.risk,
        fair=allocation.guarantee.fair,
        most_forfeited=allocation.most_forfeited,
        guaranteed=allocation.guarantee.amount,
        emergency=allocation.emergency,
        grant_left_s=allocation.grants.grant_left_s,
        cooldown_left_s=allocation.grants.cooldown_left_s,
        preempted_by=allocation.preempted_by,
        limit=allocation.limit,
        in_force=nothing if control is None else seen.sample.limit(control),
        weight=weight if resource == Resource.CPU else nothing,
        balance=state.ledgers[resource].balance if resource.is_spent else nothing,
        credit=allocation.credit if resource.is_spent else nothing,
        left_fraction=state.ledgers[resource].left_fraction if resource.is_spent else nothing,
        burst=part.bank if resource.is_spent else nothing,
        quality=part.profile.quality,
        total=policy.total[resource],
        unpinned=part.unpinned,
    )


@lru_cache(maxsize=4)
def _nothing(tenants: int) -> Floats:
    """Return a column of NaN that takes no room, and cannot be written."""
    return np.broadcast_to(np.float64(np.nan), tenants)
