"""Fail static: a restart adopts what is in force, and until there is history nothing jumps."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import Mode
from agent.controls import control_of
from agent.pools import fair_share
from agent.tenant import Floats, Resource

from hosts import ROUNDING
from scenes import SMALLEST, Kernel, Moment, Played, Scene, played, scenes

FOR_EVER_S = (1e6,)


def adopted(tick: Played, resource: Resource) -> Floats:
    """Return the limits that were found in force, and what they have been raised to since."""
    return tick.decision.state.adopted[resource]


def learned(scene: Scene) -> Iterator[tuple[Played, dict[Resource, Floats]]]:
    """Yield each tick, and what was adopted before it was decided."""
    unknown, none = np.full(len(scene.pairs), np.nan), np.full(len(scene.pairs), np.inf)
    before: dict[Resource, Floats] = dict.fromkeys(scene.policy.resources, unknown)
    for tick in played(scene):
        for resource, known in before.items():
            control = control_of(resource)
            found = none if control is None else tick.seen.sample.limit(control)
            before[resource] = np.where(np.isnan(known), found, known)
        yield tick, before
        before = {resource: adopted(tick, resource) for resource in before}


@given(scenes(learning_s=FOR_EVER_S))
def test_while_learning_no_limit_rises_unless_it_is_hit_or_below_its_floor(scene: Scene) -> None:
    """One that is hit rises to its fair share at most.

    Memory also to what it asks for, and to what cannot be taken back.
    """
    for tick, before in learned(scene):
        for resource, part in tick.decision.resources.items():
            terms, present = scene.roster.terms[resource], tick.seen.usage.is_present
            ceiling = np.minimum(terms.ceiling, scene.policy.total[resource]) * present
            fair = fair_share(terms.weight, ceiling, scene.policy.capacity[resource])
            demand = tick.seen.demands[resource]
            asked = np.maximum(fair, demand.value) if resource == Resource.MEMORY else fair
            most = np.maximum(before[resource], terms.floor)
            most = np.maximum(most, np.where(demand.is_censored, asked, 0.0))
            most = np.maximum(most, tick.stuck(resource, scene.policy))
            is_known = np.isfinite(before[resource])
            limit = part.allocation.limit
            assert np.all(limit[is_known] <= most[is_known] * (1 + ROUNDING))


@given(scenes(learning_s=FOR_EVER_S))
def test_while_learning_no_limit_falls_unless_guarantees_or_ceilings_need_it(scene: Scene) -> None:
    for tick, before in learned(scene):
        for resource, part in tick.decision.resources.items():
            total, present = scene.policy.total[resource], tick.seen.usage.is_present
            ceiling = np.minimum(scene.roster.terms[resource].ceiling, total) * present
            found = before[resource]
            kept = np.minimum(np.where(np.isfinite(found), found, 0.0), ceiling)
            stuck = np.maximum(tick.stuck(resource, scene.policy), SMALLEST[resource] * present)
            least = np.maximum.reduce([kept, stuck, part.allocation.guarantee.amount])
            if least.sum() <= scene.policy.capacity[resource]:
                assert np.all(part.allocation.limit >= kept - ROUNDING * total)


@given(scenes(), st.sampled_from((1.0, 300.0)))
def test_a_restarted_agent_leaves_limits_that_fit_where_they_are(
    scene: Scene, elapsed_s: float
) -> None:
    """Whatever one agent left behind, its successor without history writes nothing.

    Only a tenant that nobody ever limited gets its first limit.
    """
    kernel = Kernel.holding(scene)
    for _ in played(scene, kernel):
        pass
    quiet = (Moment(),) * len(scene.pairs)
    policy = replace(scene.policy, learning_s=1e6)
    successor = replace(
        scene, elapsed_s=(elapsed_s,) * 3, story=(quiet,) * 3, has_history=False, policy=policy
    )
    for tick in played(successor, kernel):
        for resource, part in tick.decision.resources.items():
            terms, in_force = scene.roster.terms[resource], part.in_force
            ceiling = np.minimum(terms.ceiling, policy.total[resource])
            stuck = np.maximum(tick.stuck(resource, policy), SMALLEST[resource])
            is_found = np.isfinite(adopted(tick, resource))
            least = np.where(is_found, np.minimum(in_force, ceiling), 0.0)
            least = np.maximum.reduce([least, stuck, part.allocation.guarantee.amount])
            stays = is_found & (in_force >= np.maximum(terms.floor, stuck)) & (in_force <= ceiling)
            is_elastic = policy.modes[resource] is Mode.ELASTIC
            if is_elastic or least.sum() <= policy.capacity[resource]:
                assert np.array_equal(part.target[stays], in_force[stays])
