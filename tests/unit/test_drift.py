"""What somebody else changes between two ticks, through the real loop on a host of arrays."""

from dataclasses import replace

import numpy as np
import pytest
from loops import Scenario, tenants
from samples import sample

from agent.allocation import Mode
from agent.custody import Custody
from agent.drift import DriftWatch, PassingPins
from agent.pins import Origin, Pin
from agent.record import TickRecord
from agent.settings import DriftSettings
from agent.tenant import Resource
from enforce.columns import (
    AnyControl,
    Changes,
    ClassControl,
    Control,
    DiskColumns,
    DiskControl,
    HostSample,
    NetColumns,
)

A, B = 0, 1


def scenario(
    policy: str = "pin",
    *,
    pin_s: float = 60.0,
    most_bytes: float = np.inf,
    is_elsewhere: bool = False,
) -> Scenario:
    roster = tenants("a", "b", floor=0.5)
    roster = replace(
        roster,
        memory_max_bytes=np.full(2, most_bytes),
        is_elsewhere=np.array([is_elsewhere, False]),
    )
    found = Scenario(roster, mode=Mode.STRICT)
    found.loop.drift = DriftWatch(found.loop.roster, DriftSettings(policy, pin_s))
    found.tick(8)
    return found


def another_writes(found: Scenario, control: Control, value: float) -> None:
    found.host.apply(Changes(control, np.array([A]), np.zeros(1), np.array([value])))


def in_force(found: Scenario, control: Control) -> float:
    return float(found.host.limits()[control][A])


def changes(record: TickRecord) -> list[tuple[AnyControl, int, float]]:
    assert record.drift is not None
    return [(one.control, one.tenant, one.after) for one in record.drift.changes]


def test_what_the_loop_writes_itself_is_no_drift() -> None:
    found = scenario()
    for wants in (0.1, 3.0, 0.2, 4.0):
        found.host.wants_cores[:] = wants
        record = found.tick(5)
        assert record.drift is not None
        assert record.drift.total == 0


@pytest.mark.parametrize(
    ("control", "value"),
    [
        (Control.CPU_MAX, 1.0),
        (Control.CPU_MAX, 100.0),
        (Control.CPU_MAX, float("inf")),
        (Control.CPU_WEIGHT, 9000.0),
        (Control.MEMORY_HIGH, float(1 << 31)),
        (Control.MEMORY_LOW, float(1 << 30)),
    ],
)
def test_a_foreign_value_is_noticed_within_a_tick_and_stands_until_its_time_is_over(
    control: Control, value: float
) -> None:
    found = scenario(pin_s=20.0)
    another_writes(found, control, value)
    record = found.tick()
    assert changes(record) == [(control, A, value)]
    assert in_force(found, control) == value
    record = found.tick(19)
    assert in_force(found, control) == value
    assert changes(record) == []
    found.tick(30)
    assert in_force(found, control) != value


def test_a_weight_of_a_tenant_elsewhere_is_its_owners_whoever_changes_it() -> None:
    found = scenario(is_elsewhere=True)
    another_writes(found, Control.CPU_WEIGHT, 9000.0)
    another_writes(found, Control.CPU_MAX, 1.0)
    assert changes(found.tick()) == [(Control.CPU_MAX, A, 1.0)]
    found.tick(70)
    assert in_force(found, Control.CPU_WEIGHT) == 9000.0


@pytest.mark.parametrize("control", [Control.CPU_MAX, Control.MEMORY_HIGH, Control.CPU_WEIGHT])
def test_a_foreign_value_below_what_a_tenant_must_have_does_not_stand(control: Control) -> None:
    found = scenario()
    smallest = {Control.CPU_MAX: 0.01, Control.MEMORY_HIGH: 4096.0, Control.CPU_WEIGHT: 1.0}
    another_writes(found, control, smallest[control])
    found.tick()
    floor = found.loop.roster.terms[Resource.CPU].floor[A]
    least = {Control.CPU_MAX: floor, Control.MEMORY_HIGH: float(1 << 27), Control.CPU_WEIGHT: 2.0}
    assert in_force(found, control) >= least[control]
    assert in_force(found, Control.CPU_MAX) >= floor


def test_a_foreign_value_below_the_floor_is_raised_to_the_floor_and_no_further() -> None:
    found = scenario()
    another_writes(found, Control.CPU_MAX, 0.01)
    found.tick()
    assert in_force(found, Control.CPU_MAX) == pytest.approx(0.5)
    found.tick(10)
    assert in_force(found, Control.CPU_MAX) == pytest.approx(0.5)


@pytest.mark.parametrize("policy", ["pin", "restore"])
def test_who_insists_is_not_fought(policy: str) -> None:
    found, writes = scenario(policy), 0
    record = found.tick()
    for _ in range(12):
        another_writes(found, Control.CPU_MAX, 0.01)
        record = found.tick()
        writes += in_force(found, Control.CPU_MAX) > 0.01
    assert 1 <= writes <= 4
    assert any("keeps changing it back" in problem for problem in record.problems)


def test_by_configuration_what_another_changed_is_put_back() -> None:
    found = scenario("restore")
    before = in_force(found, Control.CPU_MAX)
    another_writes(found, Control.CPU_MAX, 0.7)
    record = found.tick()
    assert changes(record) == [(Control.CPU_MAX, A, 0.7)]
    assert in_force(found, Control.CPU_MAX) == pytest.approx(before, rel=0.05)


def test_a_cgroup_that_was_made_anew_is_no_drift_and_ends_what_another_set() -> None:
    found = scenario()
    another_writes(found, Control.CPU_MAX, 1.0)
    found.tick()
    found.host.remake(A)
    record = found.tick(20)
    assert record.drift is not None
    assert record.drift.total == 1
    assert in_force(found, Control.CPU_MAX) != 1.0
    assert not record.drift.pins.is_foreign[Control.CPU_MAX].any()


def test_a_foreign_memory_max_is_drift_only_where_it_is_configured() -> None:
    found = scenario()
    another_writes(found, Control.MEMORY_MAX, 3e9)
    assert changes(found.tick()) == []
    found = scenario(most_bytes=2.0**31)
    assert in_force(found, Control.MEMORY_MAX) == 2.0**31
    another_writes(found, Control.MEMORY_MAX, 3e9)
    assert changes(found.tick()) == [(Control.MEMORY_MAX, A, 3e9)]
    found.tick(3)
    assert in_force(found, Control.MEMORY_MAX) == 3e9


INF, WBPS, CEIL = float("inf"), DiskControl("sda", "wbps"), ClassControl("eth0", "out", "ceil")


def device_sample(wbps: float, ceil: float, *, cgroup_id: int = 1, anew: str = "") -> HostSample:
    """Return a sample of one tenant, limited on a disk and on an uplink."""
    disk, network = np.full((1, 1), wbps), NetColumns.unknown(("eth0",), 1)
    network.out_ceil[:] = ceil
    return replace(
        sample(0.0, cgroup_id=(cgroup_id,)),
        disks=DiskColumns(("sda",), *[disk] * 4, anew=frozenset({anew})),
        disk_limits=DiskColumns(("sda",), *[disk] * 4),
        network=network,
    )


@pytest.mark.parametrize(
    ("later", "found"),
    [
        (device_sample(2e6, 3e6), set()),
        (device_sample(1e6, 3e6), {WBPS}),
        (device_sample(2e6, INF), {CEIL}),
        (device_sample(INF, 3e6, anew="sda"), set()),  # what came in a disk's place has no limits
        (device_sample(INF, 3e6, anew="sdb"), {WBPS}),
        (device_sample(INF, 3e6, cgroup_id=2), set()),
        (device_sample(INF, 4e6, cgroup_id=2), {CEIL}),  # a class outlives its cgroup
        (device_sample(float("nan"), float("nan")), set()),
    ],
)
def test_devices_limits_are_anothers_unless_the_kernel_began_them_anew(
    later: HostSample, found: set[AnyControl]
) -> None:
    earlier, fresh = device_sample(2e6, 3e6), Custody.none(1, (WBPS, CEIL))
    ours = dict.fromkeys(fresh.left, np.ones(1, dtype=np.bool_))
    custody = fresh.after(earlier, (), ours)
    assert {c for c, is_it in custody.changed(later, {}).items() if is_it.any()} == found
    # After a reload devices may be set up in another way: nothing of them is known.
    custody = custody.rearranged(np.array([0]), (WBPS, CEIL))
    assert not any(is_it.any() for is_it in custody.changed(later, {}).values())


def test_what_changes_while_readings_of_a_class_are_late_is_anothers_once_they_are_not() -> None:
    unknown, fresh = device_sample(2e6, float("nan")), Custody.none(1, (WBPS, CEIL))
    ours = dict.fromkeys(fresh.left, np.ones(1, dtype=np.bool_))
    custody = fresh.after(device_sample(2e6, 3e6), (), ours)
    for _ in range(3):
        assert not any(is_it.any() for is_it in custody.changed(unknown, {}).values())
        custody = custody.after(unknown, (), ours)
    assert not custody.changed(device_sample(2e6, 3e6), {})[CEIL].any()
    assert custody.changed(device_sample(2e6, 4e6), {})[CEIL].all()


def test_an_operators_pin_is_reached_in_steps_and_held() -> None:
    found = scenario()
    before = in_force(found, Control.CPU_MAX)
    found.loop.drift._board.put([Pin("a", Control.CPU_MAX, 0.6, found.now_s + 40.0)])
    found.tick()
    assert 0.7 * before < in_force(found, Control.CPU_MAX) < before
    found.host.wants_cores[A] = 4.0
    record = found.tick(20)
    assert in_force(found, Control.CPU_MAX) == pytest.approx(0.6)
    assert record.drift is not None
    assert record.drift.total == 0
    assert record.resources[Resource.CPU].limit[A] == pytest.approx(0.6)
    found.tick(30)
    assert in_force(found, Control.CPU_MAX) > 1.0


def test_what_an_operator_pinned_is_put_back_and_not_replaced_by_anothers_value() -> None:
    found = scenario()
    board, until_s = found.loop.drift._board, found.now_s + 1e4
    board.put([Pin("a", Control.CPU_MAX, 0.6, until_s)])
    found.host.wants_cores[A] = 4.0
    found.tick(20)
    another_writes(found, Control.CPU_MAX, 3.0)
    record = found.tick()
    assert changes(record) == [(Control.CPU_MAX, A, 3.0)]
    found.tick(20)
    assert in_force(found, Control.CPU_MAX) == pytest.approx(0.6)
    pins = board.pins(found.loop.roster, found.now_s)
    assert pins.value[Control.CPU_MAX][A] == 0.6
    assert pins.until_s[Control.CPU_MAX][A] == until_s


@pytest.mark.parametrize("other", ["recreated", "of the same"])
def test_what_an_earlier_agent_left_pinned_holds_for_the_same_cgroup_only(other: str) -> None:
    found, ids = scenario(), {"recreated": 77, "of the same": 1}
    another_writes(found, Control.CPU_MAX, 1.0)
    restarted = PassingPins()
    until_s = found.now_s + 60.0
    restarted.put([Pin("a", Control.CPU_MAX, 1.0, until_s, Origin.ANOTHER, ids[other])])
    found.loop.drift = DriftWatch(found.loop.roster, DriftSettings(), restarted)
    record = found.tick(10)
    assert record.drift is not None
    assert record.drift.total == 0
    stands = in_force(found, Control.CPU_MAX) == 1.0
    assert stands is (other == "of the same")
