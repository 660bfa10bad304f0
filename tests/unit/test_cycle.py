"""agent.cycle: a few tenants over a few ticks, through the whole decision."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from samples import NAN, column

from agent.allocation import Mode
from agent.cycle import CoreState, decide, observed
from agent.problems import broken_promises, unenforceable, unenforced
from agent.profiles import ResourceProfile
from agent.promised import disk_weight_changes
from agent.tenant import Resource
from enforce.columns import Changes, Control, DiskColumns, DiskWeight
from forecast.profile import Profile

from hosts import GIB, PLATINUM, SILVER, Guest
from scenes import (
    DISK,
    MIB_PER_S,
    NET,
    Kernel,
    Moment,
    Played,
    Scene,
    played,
    policy_of,
    with_rates,
)

CPU, MEMORY = Resource.CPU, Resource.MEMORY
STRICT = {CPU: Mode.STRICT, MEMORY: Mode.STRICT}
IDLE, SPIKE = Moment(), Moment(wants_cores=4.0)
GONE, RECREATED = Moment("gone"), Moment("recreated", wants_cores=1.0)
# A web service with a floor of one core, and a hog that is sure to want all there is.
WEB = Guest(qos=PLATINUM, floor=1.0, low=0.2, width=0.1)
HOG = Guest(qos=SILVER, low=10.0, width=0.0)
LITTLE_MEMORY = Guest(low=0.1, width=0.1)


def scene(*guests: Guest, ticks: tuple[tuple[Moment, ...], ...], **given: object) -> Scene:
    """Return a host of 4 cores, 3.6 of them for tenants, in strict mode unless said."""
    policy = policy_of(4.0, 8 * GIB, modes=STRICT)
    pairs = tuple((guest, LITTLE_MEMORY) for guest in guests)
    elapsed_s = (1.0,) * len(ticks)
    return replace(Scene(pairs, policy, elapsed_s, ticks), **given)  # type: ignore[arg-type]


def limits(of: Scene, kernel: Kernel | None = None) -> list[list[float]]:
    """Return the cpu limits in force after each tick."""
    kernel = kernel or Kernel.holding(of)
    return [kernel.limits[Control.CPU_MAX].tolist() for _ in played(of, kernel)]


def test_nothing_is_lowered_before_time_has_passed() -> None:
    first = next(played(scene(WEB, HOG, ticks=((IDLE, SPIKE),))))
    assert first.seen.usage.elapsed_s == 0.0
    assert first.decision.resources[CPU].target.tolist() == [4.0, 4.0]


def test_overcommit_is_worked_off_in_steps() -> None:
    """Found without limits: a quarter a second, until 3.42 of 3.6 cores are handed out."""
    found = limits(scene(WEB, HOG, ticks=((IDLE, SPIKE),) * 8))
    assert found[1] == pytest.approx([3.0, 3.0])
    assert sum(found[-1]) == pytest.approx(3.6, abs=0.2)
    assert found[-1][0] >= 1.0


def test_a_spike_has_its_floor_in_the_tick_that_sees_it_and_more_in_the_next() -> None:
    kernel = Kernel.holding(scene(WEB, HOG, ticks=()))
    kernel.limits[Control.CPU_MAX][:] = (0.5, 3.0)
    found = limits(scene(WEB, HOG, ticks=((SPIKE, SPIKE),) * 3), kernel)
    assert found[0][0] >= 1.0
    assert found[1][0] > 1.5


def test_an_absent_tenants_floor_is_lent_and_returned_first() -> None:
    story = ((GONE, SPIKE),) * 12 + ((SPIKE, SPIKE),) * 3
    ticks = list(played(scene(WEB, HOG, ticks=story)))
    lent = ticks[11].decision.resources[CPU].allocation
    assert lent.limit == pytest.approx([0.0, 3.6], abs=0.2)
    returned = ticks[12].decision.resources[CPU].allocation
    assert returned.guarantee.amount[0] >= 1.0
    assert returned.limit[1] <= 2.6


def test_a_recreated_cgroup_is_a_gap_and_gets_its_limit_back_in_steps() -> None:
    story = ((IDLE, SPIKE),) * 10 + ((IDLE, RECREATED), (IDLE, SPIKE), (IDLE, SPIKE))
    ticks = list(played(scene(WEB, HOG, ticks=story)))
    assert np.isnan(ticks[10].seen.usage.cpu_cores[1])
    parts = [tick.decision.resources[CPU] for tick in ticks]
    before = parts[9].in_force[1]
    assert parts[10].in_force[1] == 4.0
    assert before <= parts[12].target[1] < 4.0


def test_floors_that_no_longer_fit_are_said() -> None:
    demanding = replace(WEB, floor=3.0)
    crowded = next(played(scene(demanding, demanding, ticks=((IDLE, IDLE),)))).decision
    weights = np.full(2, 100.0)
    assert broken_promises(crowded, weights, 4.0) == [
        "cpu floors exceed the capacity: they are scaled down by weight"
    ]
    roomy = next(played(scene(WEB, HOG, ticks=((IDLE, IDLE),)))).decision
    assert broken_promises(roomy, weights, 4.0) == []


def test_guarantees_that_weights_are_too_coarse_for_are_said() -> None:
    host = scene(replace(WEB, floor=3.0), HOG, ticks=((IDLE, IDLE),))
    decision = next(played(host)).decision
    assert broken_promises(decision, column(300, 100), 4.0) == []
    (problem,) = broken_promises(decision, column(100, 100), 4.0)
    assert problem.startswith("cpu.weight is too coarse for the guaranteed parts of 1 tenant(s)")
    assert problem.endswith("short by up to 33%")


def test_an_elastic_raise_does_not_wait_for_what_stays_in_the_dead_band() -> None:
    """Elastic limits are no parts of a whole: nothing is freed, and nothing is written, for it."""
    hog = replace(HOG, low=3.0)
    host = scene(hog, hog, ticks=((IDLE, IDLE),))
    host = replace(host, policy=policy_of(4.0, 8 * GIB))
    wanted = next(played(host)).decision.resources[CPU].allocation.limit
    kernel = Kernel.holding(host)
    kernel.limits[Control.CPU_MAX] = wanted * column(1.01, 0.8)
    (tick,) = played(host, kernel)
    assert tick.decision.resources[CPU].allocation.limit == pytest.approx(wanted)
    assert tick.left[CPU] == pytest.approx(wanted * column(1.01, 1.0))


def test_a_tenant_that_is_only_observed_is_decided_for_and_never_moved() -> None:
    watched = replace(HOG, is_hit=True)  # observed only where both guests say so
    host = scene(WEB, watched, ticks=((IDLE, SPIKE),) * 5)
    host = replace(host, pairs=(host.pairs[0], (watched, replace(LITTLE_MEMORY, is_hit=True))))
    last = list(played(host))[-1].decision.resources[CPU]
    assert last.target[1] == last.in_force[1] == 4.0
    assert last.allocation.limit[1] < 4.0


def test_of_a_tenant_never_observed_any_demand_up_to_the_ceiling_is_as_likely() -> None:
    """Equal weights, no forecasts: ceilings of 1 and 3 get 3.6 cores in proportion."""
    low, high = Guest(ceiling=1.0), Guest(ceiling=3.0)
    first = next(played(scene(low, high, ticks=((IDLE, IDLE),), has_history=False)))
    limit = first.decision.resources[CPU].allocation.limit
    assert limit == pytest.approx(column(0.9, 2.7), rel=0.01)


def test_while_learning_limits_stand_but_who_is_held_may_rise_to_its_fair_share() -> None:
    host = scene(
        Guest(), Guest(), ticks=((IDLE, SPIKE),) * 3, has_history=False, adopted=(0.25, 0.25)
    )
    found = limits(replace(host, policy=replace(host.policy, learning_s=60.0)))
    assert [limit[0] for limit in found] == pytest.approx([1.0, 1.0, 1.0])
    assert found[-1][1] == pytest.approx(1.8)


def test_a_resource_cuts_its_own_series_out_of_a_profile() -> None:
    series = np.arange(4.0)
    grid = np.stack((series, series + 0.5))
    maximum = np.tile(series + 1, (3, 3, 1))
    profile = Profile(7, column(0.5, 0.9), grid, series, maximum, np.arange(4, dtype=np.uint8))
    memory = ResourceProfile.of(profile, 1, 2)
    assert memory.expected.tolist() == [2, 3]
    assert memory.grid.tolist() == [[2, 3], [2.5, 3.5]]
    assert memory.maximum[2].tolist() == [[3, 4]] * 3
    assert memory.source.tolist() == [2, 3]


def test_newcomers_start_learning_and_those_who_stay_go_on() -> None:
    policy = policy_of(4.0, 8 * GIB, learning_s=60.0)
    state = CoreState.fresh(2, policy)
    state = replace(
        state, learning_left_s=column(5, 6), adopted={**state.adopted, CPU: column(1, 2)}
    )
    moved = state.rearranged(np.array([1, -1]), policy)
    assert moved.learning_left_s.tolist() == [6, 60]
    assert moved.adopted[CPU] == pytest.approx(column(2, NAN), nan_ok=True)


def disk_scene(*, ticks: int = 2) -> Scene:
    """Return a web service and a hog, of whom the hog reads four times as much from the disk."""
    policy = with_rates(policy_of(4.0, 8 * GIB, modes=STRICT), disk=4.0, net=1.0)
    reading = (Moment(wants_cores=0.5), Moment(wants_cores=2.0))
    return scene(WEB, HOG, ticks=(reading,) * ticks, policy=policy)


def test_a_disk_is_divided_and_booked_as_cpu_is() -> None:
    disk = list(played(disk_scene()))[-1].decision
    part, ledger = disk.resources[DISK], disk.state.ledgers[DISK]
    mib = column(0.5, 2.0) * MIB_PER_S
    assert ledger.spent == pytest.approx(mib)
    assert part.allocation.limit.sum() == pytest.approx(3.6 * MIB_PER_S)
    assert part.allocation.guarantee.amount[0] >= 1.0 * MIB_PER_S  # the floor of WEB
    assert ledger.balance[0] > 0 > ledger.balance[1]


def test_the_limits_of_a_disk_come_down_to_what_was_decided() -> None:
    tick = list(played(disk_scene(ticks=12)))[-1]
    part = tick.decision.resources[DISK]
    assert tick.left[DISK] == pytest.approx(part.allocation.limit, rel=0.03)
    assert tick.left[DISK].sum() <= 3.6 * MIB_PER_S * (1 + 1e-6)


def test_a_disk_that_is_not_there_is_named_and_its_limits_are_nobodys_to_move() -> None:
    played_out = disk_scene()
    tick = list(played(played_out))[-1]
    sample = replace(tick.seen.sample, disk_limits=DiskColumns())
    state = CoreState.fresh(2, played_out.policy)
    roster, policy = played_out.roster, played_out.policy
    seen = observed(state, sample, roster=roster, policy=policy)
    decision = decide(state, seen, played_out.profile, roster=roster, policy=policy)
    assert not decision.resources[DISK].is_movable.any()
    (said,) = (one for one in unenforceable(sample, policy.resources) if "sda" in one)
    assert said.startswith("disk sda: configured but not enforceable for 2 tenant(s): the disk is")


def weighed(
    tick: Played, *in_force: float, may_write: bool = True, elsewhere: Sequence[int] = ()
) -> tuple[Changes, ...]:
    """Return the changes of the weights on the disk, where these are in force."""
    sample = replace(tick.seen.sample, disk_weights=column(*in_force)[None])
    capacity, seen = disk_scene().policy.capacity, replace(tick.seen, sample=sample)
    is_elsewhere = np.isin(np.arange(2), elsewhere)
    return disk_weight_changes(
        tick.decision,
        seen,
        np.full(2, may_write),
        capacity=capacity,
        is_elsewhere=is_elsewhere,
    )


def test_weights_on_a_disk_keep_what_is_guaranteed_of_it() -> None:
    tick = list(played(disk_scene()))[-1]
    (found,) = weighed(tick, 100.0, 100.0)
    assert found.control == DiskWeight("sda")
    after = np.full(2, 100.0)
    after[found.tenant] = found.after
    promised = tick.decision.resources[DISK].allocation.guarantee.amount / (3.6 * MIB_PER_S)
    assert promised[0] > 0.25
    assert np.all(after / after.sum() >= promised * (1 - 1e-3))
    assert not len(weighed(tick, *after)[0])


def test_weights_on_a_disk_are_left_where_nothing_divides_it_by_them_or_nobody_may_write() -> None:
    tick = list(played(disk_scene()))[-1]
    assert weighed(tick, NAN, NAN) == ()
    assert not len(weighed(tick, 100.0, 100.0, may_write=False)[0])


def test_weights_of_tenants_elsewhere_are_left_since_their_siblings_are_not_ours() -> None:
    tick = list(played(disk_scene()))[-1]
    (found,) = weighed(tick, 9999.0, 1.0)
    assert set(found.tenant.tolist()) == {0, 1}
    (found,) = weighed(tick, 9999.0, 1.0, elsewhere=[0])
    assert 0 not in found.tenant
    assert weighed(tick, 9999.0, 1.0, elsewhere=[0, 1]) == ()


def test_what_nothing_limits_is_decided_and_stays_as_it_is() -> None:
    tick = list(played(disk_scene()))[-1]
    part = tick.decision.resources[NET]
    assert np.array_equal(part.target, part.in_force)
    assert part.in_force.tolist() == [part.in_force[0]] * 2
    assert unenforced(tick.decision, tick.seen.sample) == [
        "network: configured but not enforceable: limits are decided, and nothing writes them; "
        "usage is unknown, since nothing counts it",
    ]


def test_what_nothing_counts_is_unknown_and_promises_hold_all_the_same() -> None:
    tick = list(played(disk_scene()))[-1]
    part = tick.decision.resources[NET]
    assert np.isnan(tick.seen.demands[NET].value).all()
    assert np.isnan(part.profile.expected).all()
    assert tick.decision.state.ledgers[NET].spent.tolist() == [0.0, 0.0]
    assert (part.allocation.limit > 0).all()


def test_only_what_is_counted_is_forecast() -> None:
    policy = disk_scene().policy
    assert policy.resources == (CPU, MEMORY, DISK, NET)
    assert policy.foreseen == (CPU, MEMORY, DISK)


def test_a_resource_that_is_divided_from_now_on_starts_with_nothing() -> None:
    plain = policy_of(4.0, 8 * GIB)
    state = CoreState.fresh(2, plain)
    moved = state.rearranged(np.array([0, 1]), with_rates(plain, disk=1.0, net=1.0))
    assert list(moved.ledgers) == list(moved.grants) == [CPU, MEMORY, DISK, NET]
    assert list(moved.rearranged(np.array([0, 1]), plain).ledgers) == [CPU, MEMORY]


@pytest.mark.parametrize("row", [0, 7, -1])
def test_a_forecast_with_one_quantile_missing_is_no_forecast(row: int) -> None:
    of = scene(WEB, HOG, ticks=())
    whole = ResourceProfile.of(of.profile, 0, 2)
    grid = whole.grid.copy()
    grid[row, 0] = np.nan
    terms, ceiling = of.roster.terms[CPU], np.full(2, 4.0)
    expected, found = replace(whole, grid=grid).without_gaps(terms, ceiling)
    assert expected.tolist() == pytest.approx([1.0, 4.0])  # its floor, and what was forecast
    assert found[:, 0] == pytest.approx(whole.levels * 4.0)
    assert np.isfinite(found).all()
