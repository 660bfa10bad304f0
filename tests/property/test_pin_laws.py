"""Laws 2, 3 and 6 and safety rules 4 and 6 with pins, through the core that the daemon runs."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.controls import control_of
from agent.pins import Origin, Pin, Pins
from agent.plan import KERNEL_ROUNDING
from agent.tenant import Bools, Resource
from enforce.columns import AnyControl

from hosts import NUMBERS, ROUNDING, mixed
from scenes import SMALLEST, Scene, played, scenes

_PARTS = (0.0, 0.01, 0.3, 1.0, float("inf"))
_ORIGINS = (None, *Origin)


@st.composite
def pinned_scenes(draw: st.DrawFn) -> Scene:
    """Draw a scene whose tenants are pinned, by an operator or by somebody else, at anything."""
    scene = draw(scenes(least=1))
    roster, number, found = scene.roster, mixed(draw(NUMBERS)), []
    for name in roster.names:
        for resource in scene.limited:
            number, part = divmod(number, len(_PARTS))
            number, origin = divmod(number, len(_ORIGINS))
            if (who := _ORIGINS[origin]) is not None:
                value = _PARTS[part] * scene.policy.machine[resource]
                found.append(Pin(name, _control(resource), value, 1e9, who))
    return replace(scene, pins=Pins.of(found, roster))


def _control(resource: Resource) -> AnyControl:
    control = control_of(resource)
    assert control is not None
    return control


def _flags(flags: Mapping[AnyControl, Bools], resource: Resource, scene: Scene) -> Bools:
    """Return the flags of what limits a resource: there are none of a disk that is not pinned."""
    return flags.get(_control(resource), np.zeros(len(scene.roster), dtype=np.bool_))


@settings(max_examples=3 * settings().max_examples)  # few pins meet what a tenant must have
@given(pinned_scenes())
def test_no_pin_takes_a_tenants_floor_or_what_it_cannot_give_back(scene: Scene) -> None:
    """Unless somebody insists: that would be a war."""
    assert scene.pins is not None
    for tick in played(scene):
        may_move = tick.seen.usage.is_present & ~scene.roster.is_observed_only
        for resource in scene.limited:
            part, left = tick.decision.resources[resource], tick.left[resource]
            at = may_move & ~_flags(scene.pins.is_insisting, resource, scene)
            floor = part.allocation.guarantee.floor
            assert np.all(left[at] >= floor[at] * (1 - KERNEL_ROUNDING))
            if resource == Resource.MEMORY:
                stuck = np.nan_to_num(tick.seen.usage.memory_unreclaimable_bytes)
                stuck = stuck + 0.75 * scene.policy.memory_margin_bytes
                stuck = np.minimum(stuck, scene.policy.machine[resource])
                assert np.all(left[at] >= stuck[at])


@settings(max_examples=5 * settings().max_examples)  # fewer still, where somebody insists
@given(pinned_scenes())
def test_what_somebody_else_set_is_never_written_but_up_to_what_a_tenant_must_have(
    scene: Scene,
) -> None:
    assert scene.pins is not None
    for tick in played(scene):
        for resource in scene.limited:
            part = tick.decision.resources[resource]
            is_enough = part.in_force >= part.least
            is_theirs = _flags(scene.pins.is_foreign, resource, scene) & is_enough
            is_theirs = is_theirs | _flags(scene.pins.is_insisting, resource, scene)
            assert np.array_equal(part.target[is_theirs], part.in_force[is_theirs])


@given(pinned_scenes())
def test_an_operators_pin_is_a_ceiling_and_what_is_decided_as_far_as_it_fits(
    scene: Scene,
) -> None:
    """Law 3: of memory only what cannot be taken back outranks it."""
    assert scene.pins is not None
    for tick in played(scene):
        for resource in scene.limited:
            allocation = tick.decision.resources[resource].allocation
            terms, most = scene.roster.terms[resource], scene.policy.total[resource]
            pin = scene.pins.value.get(_control(resource), np.full(len(scene.roster), np.nan))
            at = tick.seen.usage.is_present & ~np.isnan(pin)
            top = np.maximum(np.minimum(pin, terms.ceiling), terms.floor)
            top = np.maximum(np.minimum(top, most), tick.stuck(resource, scene.policy))
            top = np.maximum(top, SMALLEST[resource])
            assert np.all(allocation.limit[at] <= top[at] * (1 + ROUNDING))
            if allocation.limit.sum() < scene.policy.capacity[resource] * (1 - ROUNDING):
                wanted = np.minimum(np.minimum(pin, terms.ceiling), most)
                assert np.all(allocation.limit[at] >= wanted[at] * (1 - ROUNDING))


@given(pinned_scenes())
def test_what_a_limit_would_be_without_pins_is_what_is_decided_where_there_are_none(
    scene: Scene,
) -> None:
    assert scene.pins is not None
    first, free = next(played(scene)), next(played(replace(scene, pins=None)))
    for resource, part in first.decision.resources.items():
        pins = None if resource not in scene.limited else scene.pins.value.get(_control(resource))
        assert (part.unpinned is None) == (pins is None or bool(np.isnan(pins).all()))
        if part.unpinned is not None:
            assert np.array_equal(part.unpinned, free.decision.resources[resource].allocation.limit)


@given(pinned_scenes())
def test_pins_break_no_promise_to_others(scene: Scene) -> None:
    for tick in played(scene):
        for resource, sums in tick.sums.items():
            part = tick.decision.resources[resource]
            must = np.maximum(part.least - part.in_force, 0.0) * part.is_movable
            assert max(sums) <= (max(sums[0], part.allowed) + must.sum()) * (1 + ROUNDING)
            promised = part.allocation.guarantee.amount.sum()
            assert promised <= scene.policy.capacity[resource] * (1 + ROUNDING)
