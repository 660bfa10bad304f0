"""Laws 2, 3, 4 and 6 over sequences of ticks, through the same core that the daemon runs."""

import numpy as np
from hypothesis import given, settings

from agent.allocation import Mode
from agent.controls import control_of
from agent.plan import KERNEL_ROUNDING
from agent.tenant import Resource

from hosts import ROUNDING
from scenes import SMALLEST, Scene, played, scenes


@given(scenes())
def test_every_decision_of_a_sequence_keeps_promises_within_the_host(scene: Scene) -> None:
    for tick in played(scene):
        for resource, part in tick.decision.resources.items():
            capacity, allocation = scene.policy.capacity[resource], part.allocation
            promised = allocation.guarantee.amount.sum() + allocation.guarantee.emergency_pool
            assert promised <= capacity * (1 + ROUNDING)
            if scene.policy.modes[resource] is Mode.STRICT:
                assert allocation.limit.sum() <= capacity * (1 + ROUNDING)


@given(scenes())
def test_no_write_of_a_sequence_raises_the_sum_above_what_it_was_or_may_be(scene: Scene) -> None:
    """Of limits that may be moved then, but for what a tenant must have at once."""
    for tick in played(scene):
        for resource, sums in tick.sums.items():
            part = tick.decision.resources[resource]
            must = np.maximum(part.least - part.in_force, 0.0)
            assert max(sums) <= (max(sums[0], part.allowed) + must.sum()) * (1 + ROUNDING)


@settings(max_examples=3 * settings().max_examples)  # few hold more than they may and share it
@given(scenes())
def test_no_tick_leaves_a_tenant_below_its_floor_or_what_it_cannot_give_back(
    scene: Scene,
) -> None:
    """Learning or not, dead-band or not, and on however overcommitted a host (safety rule 4).

    To a quarter of the margin: so much more is not worth a write.  Nobody holds more than the
    machine has.
    """
    policy, roster = scene.policy, scene.roster
    for tick in played(scene):
        usage = tick.seen.usage
        may_move = usage.is_present & ~roster.is_observed_only
        for resource, part in tick.decision.resources.items():
            ceiling = np.minimum(roster.terms[resource].ceiling, policy.total[resource])
            floors = np.minimum(roster.terms[resource].floor, ceiling)[usage.is_present]
            fits = floors.sum() <= policy.capacity[resource]
            floor = part.allocation.guarantee.floor
            assert not fits or np.array_equal(floor[usage.is_present], floors)
            if resource in tick.left:  # what nothing limits takes nothing from anyone
                left = tick.left[resource][may_move]
                assert np.all(left >= floor[may_move] * (1 - KERNEL_ROUNDING))
        held, machine = (
            np.nan_to_num(usage.memory_unreclaimable_bytes),
            policy.machine[Resource.MEMORY],
        )
        stuck = np.minimum(held + policy.memory_margin_bytes, machine)
        least = stuck - 0.25 * policy.memory_margin_bytes
        assert np.all((tick.left[Resource.MEMORY] >= least)[may_move])


@settings(max_examples=3 * settings().max_examples)  # few are observed beside those that are not
@given(scenes())
def test_every_guarantee_is_in_force_after_a_tick_whoever_else_is_only_observed(
    scene: Scene,
) -> None:
    """Unless what tenants must have at once, or the kernel's smallest limits, do not fit beside."""
    for tick in played(scene):
        for resource in scene.limited:
            part = tick.decision.resources[resource]
            movable, allocation = part.is_movable, part.allocation
            owed = np.minimum(allocation.limit, allocation.guarantee.amount)
            must = np.maximum.reduce([allocation.limit, part.least])
            must = np.where(movable, np.maximum(must, SMALLEST[resource]), allocation.limit)
            most = scene.policy.capacity[resource] * allocation.elasticity
            fits = must.sum() <= most * (1 + ROUNDING)
            left = np.minimum(tick.left[resource], scene.policy.machine[resource])
            kept = left >= owed * (1 - KERNEL_ROUNDING) - ROUNDING * scene.policy.total[resource]
            assert not fits or np.all(kept[movable])


@given(scenes())
def test_every_limit_of_a_sequence_is_between_floor_and_ceiling(scene: Scene) -> None:
    """Only memory that cannot be taken back outranks a ceiling (safety rule 4)."""
    roster = scene.roster
    for tick in played(scene):
        for resource, part in tick.decision.resources.items():
            allocation, terms = part.allocation, roster.terms[resource]
            slack = ROUNDING * scene.policy.total[resource]
            ceiling = np.minimum(terms.ceiling, scene.policy.total[resource])
            ceiling = np.maximum(ceiling, tick.stuck(resource, scene.policy))
            assert np.all(allocation.limit <= ceiling + slack)
            assert np.all(allocation.limit >= allocation.guarantee.floor - slack)
            assert np.all(allocation.limit[~tick.seen.usage.is_present] == 0)


@given(scenes())
def test_strict_targets_fit_the_host_down_to_the_kernels_smallest_limits(scene: Scene) -> None:
    """Unless the smallest that are written (10 mcores, 1 MiB, 256 KiB/s) do not fit beside.

    Nor where what must be in force at once does not: that is placed as far as there is capacity.

    Of limits that were found or pinned below these nothing is said: none is raised in the decision.
    """
    for tick in played(scene):
        for resource in scene.limited:
            part, present = tick.decision.resources[resource], tick.seen.usage.is_present
            allocation, capacity = part.allocation, scene.policy.capacity[resource]
            wanted = np.where(present, np.maximum(allocation.limit, SMALLEST[resource]), 0.0)
            least = np.maximum(allocation.guarantee.amount, part.least)
            least = np.where(present, np.maximum(least, SMALLEST[resource]), 0.0)
            found = np.array(scene.adopted) * scene.policy.machine[resource]
            standing = np.minimum(scene.roster.terms[resource].ceiling, found)
            is_pinned_lower = standing < SMALLEST[resource]
            if scene.policy.modes[resource] is Mode.STRICT and not is_pinned_lower.any():
                assert wanted.sum() <= max(capacity, least.sum()) * (1 + ROUNDING)


@given(scenes())
def test_a_limit_moves_only_where_it_may_be_written(scene: Scene) -> None:
    """Observed-only tenants (safety rule 9) and absent ones are decided for, never aimed at."""
    for tick in played(scene):
        for part in tick.decision.resources.values():
            still = scene.roster.is_observed_only | ~tick.seen.usage.is_present
            assert np.array_equal(part.target[still], part.in_force[still])


@given(scenes())
def test_an_unknowable_or_recreated_counter_is_never_a_spike(scene: Scene) -> None:
    """Usage is what it really was, or NaN: never a number made of two cgroups.

    A counter that was reset and has overtaken itself within a tick shows less, never more.
    """
    previous = np.zeros(len(scene.pairs), dtype=np.int64)
    for tick, moments in zip(played(scene), scene.story, strict=True):
        usage, cgroup_id = tick.seen.usage.cpu_cores, tick.seen.sample.cgroup_id
        known = np.isfinite(usage)
        is_reset = np.array([moment.event == "reset" for moment in moments], dtype=np.bool_)
        assert np.all(usage[known] <= tick.usage_cores[known] + 1e-6)
        exact = known & ~is_reset
        assert np.allclose(usage[exact], tick.usage_cores[exact], rtol=1e-6, atol=1e-6)
        assert not known[cgroup_id != previous].any()
        previous = cgroup_id


@settings(max_examples=3 * settings().max_examples)  # few are elastic on part of a machine
@given(scenes())
def test_what_is_left_in_force_is_what_was_decided_or_on_its_way_down(scene: Scene) -> None:
    """Judged by the kernel's own values: also where tidegate may divide only part of a machine."""
    pace = scene.policy.pace
    for tick in played(scene):
        keep = (1 - pace.ramp_down_fraction_per_s) ** tick.seen.usage.elapsed_s
        for resource in scene.limited:
            part, left = tick.decision.resources[resource], tick.left[resource]
            machine, control = scene.policy.machine[resource], control_of(resource)
            assert control is not None
            found = np.minimum(tick.seen.sample.limit(control), machine)
            may_move = tick.seen.usage.is_present & ~scene.roster.is_observed_only
            wanted = np.maximum.reduce([part.allocation.limit, part.least])
            wanted = np.maximum(wanted, SMALLEST[resource])
            most = np.maximum(wanted, found * keep) / (1 - pace.dead_band_fraction)
            is_none = most >= machine * (1 - ROUNDING)
            assert np.all((left <= most * (1 + ROUNDING))[may_move & ~is_none])
