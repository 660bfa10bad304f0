"""Laws 2, 3 and 6 where decisions meet the kernel: writes that fail, ramps and dead-bands."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import Scenario, tenants

from agent.allocation import Allocation, Mode
from agent.controls import LIMIT_CONTROL
from agent.plan import (
    KERNEL_ROUNDING,
    Pace,
    Standing,
    headroom,
    least_in_force,
    raises,
    reductions,
    stepped,
)
from agent.tenant import BASIC, Floats, Resource
from enforce.columns import Control

from hosts import ROUNDING, Host, hosts
from scenes import written

PACE = Pace()
# What stands in the kernel, as a multiple of what is wanted, and whether as much of the host.
STANDINGS = (1.0, 0.5, 4.0, 0.0, 1.5, 0.985, 1.015)
NEARLY = (1.0, 1.015)
STUCK = (0.0, 0.0, 0.5, 1.5)
SEEDS = st.integers(0, 2**32)
# How much of a wanted change the kernel makes: all, none (refused), half (held back).
fates = SEEDS.map(lambda seed: np.random.default_rng(seed).choice((1.0, 1.0, 0.0, 0.5), 30))


@dataclass(frozen=True)
class Tick:
    """One tick's decision of one resource, and what stands in the kernel before it."""

    allocation: Allocation
    standing: Standing
    allowed: float
    elapsed_s: float

    @property
    def wanted(self) -> Floats:
        """Return the limits decided."""
        return self.allocation.limit

    @property
    def target(self) -> Floats:
        """Return what to aim for in this tick."""
        return stepped(
            self.wanted,
            self.standing,
            free=self.allowed - float(self.standing.in_force.sum()),
            elapsed_s=self.elapsed_s,
            pace=PACE,
        )


@st.composite
def ticks(
    draw: st.DrawFn,
    *,
    modes: tuple[Mode, ...] = tuple(Mode),
    stuck: tuple[float, ...] = (0.0,),
) -> Tick:
    """Draw a decision and a kernel that holds it, nearly holds it, or holds anything else.

    `stuck` is what tenants cannot give back, as parts of what is in force.
    """
    host: Host = draw(hosts(modes=modes))
    size, allocation = len(host.guests), host.allocated()
    chance = np.random.default_rng(draw(SEEDS))
    factors = chance.choice(draw(st.sampled_from((STANDINGS, STANDINGS, NEARLY))), size)
    in_force = np.where(
        chance.random(size) < draw(st.sampled_from((0.3, 0.1, 0.0))),
        host.total,
        allocation.limit * factors,
    )
    in_use = in_force * chance.choice((0.0, 0.5, 1.0), size)
    claims = host.claims()
    return Tick(
        allocation,
        Standing(
            in_force=in_force,
            guaranteed=allocation.guarantee.amount,
            ceiling=claims.ceiling,
            in_use=in_use,
            is_hit=chance.random(size) < draw(st.sampled_from((0.0, 0.3))),
            own=in_force,
            least=_least(allocation, in_force, chance.choice(stuck, size)),
        ),
        host.total * allocation.elasticity,
        draw(st.sampled_from((1.0, 0.0, 0.3, 0.0, 60.0))),
    )


def _least(allocation: Allocation, in_force: Floats, part: Floats) -> Floats:
    least = np.maximum(allocation.guarantee.floor, part * in_force)
    return least_in_force(least, in_force, slack=KERNEL_ROUNDING * least)


def states(tick: Tick, fate: Floats) -> list[Floats]:
    """Return what stands in the kernel before and after every write of one tick."""
    control, may_write = Control.CPU_MAX, np.ones(len(tick.wanted), dtype=np.bool_)
    before, target = tick.standing.in_force, tick.target
    seen = [before]
    seen += written(reductions(control, target, before, may_write), before, fate)
    now, guaranteed = seen[-1], tick.standing.guaranteed
    least = tick.standing.least
    room = headroom(target, before, now, guaranteed=guaranteed, least=least, allowed=tick.allowed)
    rising = raises(control, target, now, guaranteed=guaranteed, least=least, headroom=room)
    return seen + list(written(rising, now, np.ones_like(fate)))


@given(ticks(stuck=STUCK), fates)
def test_no_write_raises_the_sum_in_force_above_what_it_was_or_may_be(
    tick: Tick, fate: Floats
) -> None:
    """But for what a tenant must have: below that it would stand still for our sake."""
    seen = states(tick, fate)
    sums = [float(state.sum()) for state in seen]
    must = np.minimum(np.maximum(tick.standing.least - tick.standing.in_force, 0.0), tick.target)
    assert max(sums) <= (max(sums[0], tick.allowed) + must.sum()) * (1 + ROUNDING)


@given(ticks(stuck=STUCK), fates)
def test_what_must_be_in_force_is_after_one_tick_whatever_else_fails(
    tick: Tick, fate: Floats
) -> None:
    assert np.all(states(tick, fate)[-1] >= tick.standing.least * (1 - ROUNDING))


@given(ticks(), fates)
def test_all_that_is_freed_is_handed_out_while_a_raise_waits(tick: Tick, fate: Floats) -> None:
    """Law 4, in the kernel: a raise waits only for confirmed reductions."""
    after, target = states(tick, fate)[-1], tick.target
    is_full = after.sum() >= tick.allowed * (1 - ROUNDING)
    assert is_full or np.all(after >= target * (1 - ROUNDING))


@settings(max_examples=3 * settings().max_examples)  # few have what another waits for
@given(ticks())
def test_ramps_and_dead_bands_never_keep_what_a_guarantee_needs(tick: Tick) -> None:
    """Every guarantee is in force after one tick in which all writes succeed."""
    after = states(tick, np.ones(30))[-1]
    owed = np.minimum(tick.wanted, tick.standing.guaranteed)
    assert np.all(after >= owed * (1 - KERNEL_ROUNDING) - ROUNDING * tick.allowed)


@given(ticks())
def test_what_is_in_use_falls_no_faster_than_its_ramp_unless_a_guarantee_waits(
    tick: Tick,
) -> None:
    in_force, wanted = tick.standing.in_force, tick.wanted
    ramp = in_force * (1 - PACE.ramp_down_fraction_per_s) ** tick.elapsed_s
    is_anyone_held = np.any(tick.standing.is_hit & (wanted > in_force))
    ramp = np.minimum(ramp, tick.standing.in_use) if is_anyone_held else ramp
    least = np.maximum(np.minimum(wanted, in_force), ramp)
    does_a_guarantee_wait = np.any(np.minimum(wanted, tick.standing.guaranteed) > in_force)
    assert does_a_guarantee_wait or np.all(tick.target >= least * (1 - ROUNDING))
    assert np.all(tick.target >= np.minimum(wanted, in_force) * (1 - ROUNDING))


@given(ticks())
def test_whoever_waits_takes_no_more_than_it_needs(tick: Tick) -> None:
    """What falls beyond the ramp is not more than guarantees and held tenants are short of."""
    in_force, target = tick.standing.in_force, tick.target
    ramp = in_force * (1 - PACE.ramp_down_fraction_per_s) ** tick.elapsed_s
    beyond = np.maximum(np.maximum(ramp, tick.wanted) - target, 0.0)
    beyond = np.where(target < in_force, beyond, 0.0)
    owed = np.maximum(np.minimum(tick.wanted, tick.standing.guaranteed) - in_force, 0.0)
    rise = np.where(tick.standing.is_hit, np.maximum(tick.wanted - in_force, 0.0), 0.0)
    needed = max(float(owed.sum()), float(rise.sum()), float(np.maximum(owed, rise).sum()))
    assert beyond.sum() <= needed * (1 + ROUNDING) + ROUNDING * in_force.sum()


@given(ticks(modes=(Mode.STRICT,)))
def test_overcommit_found_at_start_is_worked_off(tick: Tick) -> None:
    """And so is whatever stands above a ceiling: the dead-band protects neither."""
    in_force = tick.standing.in_force
    for _ in range(4):
        in_force = states(tick, np.ones(30))[-1]
        standing = replace(tick.standing, in_force=in_force, own=in_force)
        tick = Tick(tick.allocation, standing, tick.allowed, elapsed_s=60.0)
    assert in_force.sum() <= tick.allowed * (1 + KERNEL_ROUNDING)
    assert np.all(in_force <= tick.standing.ceiling * (1 + 2 * KERNEL_ROUNDING) + 1e-6)


@given(ticks())
def test_limits_that_others_took_off_come_back_no_higher_than_they_were(tick: Tick) -> None:
    """However the decision has moved meanwhile: what was in force before fitted (law 2)."""
    own, least = tick.standing.in_force, tick.standing.least
    none = 2.0 * np.maximum(own, tick.standing.ceiling) + 1.0
    standing = replace(tick.standing, in_force=none, own=own)
    free = tick.allowed - float(none.sum())
    target = stepped(tick.wanted, standing, free=free, elapsed_s=tick.elapsed_s, pace=PACE)
    assert np.all(target <= np.maximum(own, least) * (1 + ROUNDING))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from((0.0, 0.1, 0.5, 1.0, 4.0))), max_size=10),
    st.sampled_from(BASIC),
)
def test_limits_that_went_with_their_controller_fit_the_capacity_once_they_are_back(
    story: list[tuple[int, float]], resource: Resource
) -> None:
    """Whatever the last tick aimed for and had no room to write (law 2)."""
    scenario, control = Scenario(tenants("a", "b", "c"), mode=Mode.STRICT), LIMIT_CONTROL[resource]
    scenario.tick(12)  # what was found without a limit is worked off first
    for tenant, wants_cores in story:
        scenario.host.wants_cores[tenant] = wants_cores
        scenario.tick()
    before = scenario.host.limits()[control].copy()
    scenario.host.reset(control)
    scenario.tick()
    after = scenario.host.limits()[control]
    assert after.sum() <= scenario.policy.capacity[resource] * (1 + KERNEL_ROUNDING)
    assert np.all(after <= before * (1 + KERNEL_ROUNDING))


@settings(max_examples=10 * settings().max_examples)  # in few nothing is waited for
@given(ticks())
def test_small_changes_that_nobody_waits_for_are_left_out(tick: Tick) -> None:
    """Safety rule 3: write only what differs, outside a dead-band.

    The last bit to a ceiling is waited for, and room for a raise outside of the dead-band is.
    """
    in_force, target = tick.standing.in_force, tick.target
    change = target - in_force
    is_small = (change != 0) & (np.abs(change) <= PACE.dead_band_fraction * in_force)
    short = float(change[~is_small].sum()) - max(tick.allowed - float(in_force.sum()), 0.0)
    is_anything_due = (
        np.any(np.minimum(tick.wanted, tick.standing.guaranteed) > in_force)
        or np.any(in_force > tick.standing.ceiling)
        or np.any((target > in_force) & (target >= tick.standing.ceiling))
        or in_force.sum() > tick.allowed
    )
    if not is_anything_due:
        assert np.all(~is_small | ((change < 0) & (short > 0)))


def test_capacity_that_nobody_uses_reaches_a_held_tenant_at_once() -> None:
    standing = Standing(
        in_force=np.array([0.45, 0.45]),
        guaranteed=np.array([0.1, 0.1]),
        ceiling=np.array([1.0, 1.0]),
        in_use=np.array([0.02, 0.45]),
        is_hit=np.array([False, True]),
        least=np.zeros(2),
        own=np.array([0.45, 0.45]),
    )
    target = stepped(np.array([0.1, 0.8]), standing, free=0.0, elapsed_s=0.5, pace=PACE)
    assert target.tolist() == pytest.approx([0.1, 0.8])
    calm = replace(standing, is_hit=np.array([False, False]))
    target = stepped(np.array([0.1, 0.8]), calm, free=0.0, elapsed_s=0.5, pace=PACE)
    assert target[0] == pytest.approx(0.45 * 0.75**0.5)
