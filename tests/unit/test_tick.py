"""The control loop over a host of arrays: what is computed, and counted, once."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from loops import CORES, Host, Scenario, tenants

from agent.allocation import Mode
from agent.backtest.engine import RuleForecaster
from agent.backtest.host import Evidence, SimulatedHost
from agent.controls import LIMIT_CONTROL
from agent.forecaster import State
from agent.ports import Kernel
from agent.tenant import BASIC, Floats, Resource
from agent.tick import ControlLoop
from agent.tokens import Ledger
from enforce.columns import AnyControl, Changes, Control, HostSample, Outcomes, Vitals
from enforce.limits import text
from forecast.profile import BOUNDS, LEVELS, Profile, Source
from forecast.settings import HORIZONS

from hosts import GIB
from scenes import DISK, NET, with_rates

CPU = Resource.CPU


def loop_on(
    scenario: Scenario, host: Host, forecaster: RuleForecaster, ledgers: Mapping[Resource, Ledger]
) -> ControlLoop:
    """Return a scenario's loop with another host or forecaster."""
    return ControlLoop(
        scenario.loop.roster,
        scenario.policy,
        scenario.settings,
        kernel=Kernel(host, host),
        forecaster=forecaster,
        ledgers=ledgers,
    )


class Certain(RuleForecaster):
    """Answers each step at once, and always that next to nothing will be wanted."""

    def __init__(self) -> None:
        super().__init__()
        self._profile: Profile | None = None

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        super().offer(step, values, now_s)
        little = np.full(len(values), 0.1)
        grid = np.tile(little, (len(LEVELS), 1))
        source = np.full(len(values), Source.LIVE, dtype=np.uint8)
        maximum = np.tile(little, (HORIZONS, len(BOUNDS), 1))
        self._profile = Profile(step, LEVELS, grid, little, maximum, source)

    def poll(self, now_s: float) -> Profile | None:
        assert now_s > 0
        return self._profile

    def state(self, now_s: float) -> State:
        assert now_s > 0
        return "live"


class BehindOthers(Host):
    """A host whose CPUs others take, so that the first tenant waits for six tenths of the time."""

    is_short = False

    def read(self, taken_at_s: float) -> HostSample:
        sample, waited_us = super().read(taken_at_s), 0.6e6 * taken_at_s
        waited = np.array([waited_us, np.nan]) if self.is_short else np.full(2, np.nan)
        return replace(
            sample,
            cpu_waited_us=waited,
            cpu_stalled_us=waited,
            cpu_stalled_at_us=np.full(2, 1e6 * taken_at_s),
            vitals=Vitals(cpu_passed_s=4.0 * taken_at_s, cpu_idle_s=0.0),
        )


def test_who_waits_for_a_cpu_without_being_throttled_may_have_more_within_two_ticks() -> None:
    scenario, host = Scenario(tenants("a", "b"), mode=Mode.STRICT), BehindOthers(2)
    loop = loop_on(scenario, host, RuleForecaster(), ledgers={})
    before = [loop.tick(float(tick), late_ticks=0).resources[CPU] for tick in range(20)][-1]
    host.is_short = True
    after = [loop.tick(float(tick), late_ticks=0).resources[CPU] for tick in (20, 21)][-1]
    assert not before.is_censored.any()
    assert before.demand == pytest.approx([0.5, 0.5])
    assert after.demand == pytest.approx([0.5 / 0.4, 0.5])
    assert after.is_censored.tolist() == [True, False]
    limit = host.limits()[Control.CPU_MAX]
    assert after.guaranteed[0] > 1.5 * before.guaranteed[0]
    assert limit[0] > limit[1]


@pytest.mark.parametrize(
    ("step_s", "calm_ticks", "elapsed_s", "is_lifted"),
    [
        pytest.param(5.0, 11, 1.0, True, id="in the midst of a step"),
        pytest.param(5.0, 10, 1.0, True, id="in the last of five ticks of a step"),
        pytest.param(1.0, 11, 1.0, False, id="in the tick that is the whole step"),
        pytest.param(1.0, 11, 0.3, True, id="in an early tick, which closes no step"),
    ],
)
def test_a_spike_counts_at_once_unless_the_forecast_has_seen_it(
    step_s: float, calm_ticks: int, elapsed_s: float, is_lifted: bool
) -> None:
    scenario = Scenario(tenants("a", "b", floor=0.0), step_s=step_s)
    host = scenario.host
    loop = loop_on(scenario, host, Certain(), scenario.loop.ledgers)
    for tick in range(1, calm_ticks):
        loop.tick(float(tick), late_ticks=0)
    before = loop.tick(float(calm_ticks), late_ticks=0)
    host.wants_cores[0] = 2.0
    after = loop.tick(calm_ticks + elapsed_s, late_ticks=0)
    gain = after.resources[CPU].guaranteed[0] - before.resources[CPU].guaranteed[0]
    assert (gain > 1.0) == is_lifted, gain
    assert abs(gain) < 0.01 or is_lifted


def test_the_fallback_rule_is_applied_once_a_step_while_no_forecast_comes() -> None:
    scenario = Scenario(tenants("a", "b"), step_s=5.0)
    scenario.tick(6)  # the first step is closed
    asked = scenario.forecaster.looked_back
    for _ in range(3):
        closed = scenario.loop.steps_closed
        while scenario.loop.steps_closed == closed:
            scenario.tick()
        scenario.tick(3)
    assert scenario.forecaster.looked_back - asked == 3


def test_the_fallback_rule_follows_each_step() -> None:
    scenario = Scenario(tenants("a", "b"), step_s=2.0)
    scenario.tick(5)
    for wanted in (0.3, 0.1, 0.8):
        scenario.host.wants_cores[:] = wanted
        record = scenario.tick(4)
        assert np.allclose(record.resources[CPU].expected, wanted)


def test_the_fallback_rule_follows_the_roster() -> None:
    scenario = Scenario(tenants("a", "c"), step_s=2.0)
    scenario.host.wants_cores[:] = (0.3, 0.7)
    scenario.tick(9)
    scenario.changed_to(tenants("a", "b", "c"))
    expected = scenario.tick().resources[CPU].expected
    np.testing.assert_allclose(expected, [0.3, np.nan, 0.7], rtol=1e-6)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_tenant_that_is_only_observed_keeps_nobody_elses_limit_down(mode: Mode) -> None:
    """It has the whole machine in the kernel, which is more than there is to divide."""
    scenario = Scenario(tenants("a", "b", "c", observed=("c",)), mode=mode)
    scenario.host.wants_cores[:] = (0.1, 0.1, 0.5)
    scenario.tick(40)
    scenario.host.wants_cores[0] = 3.0
    scenario.tick(12)
    part = scenario.tick().resources[CPU]
    in_force = scenario.host.limits()[Control.CPU_MAX]
    assert part.guaranteed[0] > 1.0
    assert np.minimum(in_force[:2], CORES) == pytest.approx(part.limit[:2], rel=0.03)
    assert np.isinf(in_force[2])


def test_a_decision_that_stays_is_counted_once_however_long_it_is_left_out() -> None:
    scenario = Scenario(tenants("a", "b"), is_observing=True, step_s=2.0)
    steady = scenario.tick(10).totals.would_have
    assert steady > 0
    assert scenario.tick(10).totals.would_have == steady


def test_each_change_of_a_decision_that_is_left_out_is_counted() -> None:
    scenario = Scenario(tenants("a", "b"), is_observing=True, step_s=2.0)
    last: dict[tuple[AnyControl, int], str] = {}
    changed = 0
    for wanted in ((0.5, 0.5), (3.0, 0.1), (0.1, 2.0)):
        scenario.host.wants_cores[:] = wanted
        for _ in range(10):
            record = scenario.tick()
            assert not any(map(len, record.changes))
            for changes in record.unwritten:
                for tenant, after in zip(changes.tenant, changes.after, strict=True):
                    said = text(changes.control, float(after))
                    changed += last.get((changes.control, int(tenant))) != said
                    last[changes.control, int(tenant)] = said
            assert record.totals.would_have == changed


def test_a_tenant_that_is_only_observed_is_counted_once_for_each_change_too() -> None:
    scenario = Scenario(tenants("a", "b", observed=("a",)), step_s=2.0)
    scenario.host.apply(
        Changes(Control.CPU_MAX, np.array([0]), np.array([np.inf]), np.array([0.1]))
    )
    scenario.host.wants_cores[:] = 0.0
    steady = scenario.tick(20).totals.would_have
    assert steady > 0
    assert scenario.tick(10).totals.would_have == steady


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("is_asleep", [True, False])
@pytest.mark.parametrize("gap_s", [120.0, 600.0, 1e6])
def test_after_a_gap_of_minutes_limits_and_balances_stand_where_they_stood(
    gap_s: float, is_asleep: bool, mode: Mode
) -> None:
    scenario = Scenario(tenants("busy", "calm", "idle"), step_s=60.0, mode=mode)
    scenario.host.wants_cores[:] = (2.5, 0.4, 0.0)
    before = scenario.tick(130)
    limits = {control: column.copy() for control, column in scenario.host.limits().items()}
    after = scenario.late_tick(gap_s=gap_s, is_asleep=is_asleep)
    assert np.array_equal(after.resources[CPU].balance, before.resources[CPU].balance)
    record = after
    for later in range(5):
        for control, column in scenario.host.limits().items():
            np.testing.assert_allclose(column, limits[control], rtol=0.1, err_msg=f"{later}")
        record = scenario.tick()
    moved = np.abs(record.resources[CPU].balance - before.resources[CPU].balance)
    assert (moved <= 5.0 * CORES).all()  # of the five seconds since, not of the gap


def test_a_tick_that_is_a_few_seconds_late_is_settled_in_full() -> None:
    scenario = Scenario(tenants("busy", "idle"), step_s=60.0)
    scenario.host.wants_cores[:] = (3.0, 0.0)
    before = scenario.tick(70)
    after = scenario.late_tick(gap_s=10.0, is_asleep=False)
    assert scenario.loop.ledgers[CPU].spent[0] > 70 * 3.0
    assert after.resources[CPU].balance[0] <= before.resources[CPU].balance[0]


def test_each_tenant_is_either_written_or_only_observed() -> None:
    scenario = Scenario(tenants("a", "b", "c", observed=("b",)), step_s=2.0)
    written, left_out = set(), set()
    for wanted in ((0.5, 0.5, 0.5), (3.0, 0.1, 3.0), (0.1, 3.0, 2.0)):
        scenario.host.wants_cores[:] = wanted
        for _ in range(10):
            record = scenario.tick()
            written |= {place for one in record.changes for place in one.tenant.tolist()}
            left_out |= {place for one in record.unwritten for place in one.tenant.tolist()}
    assert (written, left_out) == ({0, 2}, {1})


def test_what_would_be_written_is_what_was_decided_and_the_kernel_keeps_what_it_has() -> None:
    """Of a host that only observes, and of one tenant: the same, and the other is moved."""
    both, unlimited = np.arange(2), np.full(2, np.inf)
    found = np.array([3.5, 0.5])  # together all that there is
    for scenario in (
        Scenario(tenants("a", "b"), is_observing=True, mode=Mode.STRICT),
        Scenario(tenants("a", "b", observed=("a",)), mode=Mode.STRICT),
    ):
        scenario.host.apply(Changes(Control.CPU_MAX, both, unlimited, found))
        scenario.host.wants_cores = np.array([0.2, 3.0])
        record = scenario.tick(60)
        limit = record.resources[CPU].limit
        (change, *_) = record.unwritten
        assert change.control is Control.CPU_MAX
        assert change.tenant.tolist() == np.flatnonzero(record.roster.is_observed_only).tolist()
        assert change.before.tolist() == found[change.tenant].tolist()
        assert change.after.tolist() == limit[change.tenant].tolist()
        kept = scenario.host.limits()[Control.CPU_MAX]
        assert kept[change.tenant].tolist() == found[change.tenant].tolist()
        assert {one.control for one in record.unwritten} == set(Control)


class CoarseHost(Host):
    """A host whose kernel keeps quotas down to a whole hundredth of a core."""

    def apply(self, changes: Changes) -> Outcomes:
        """Put limits in force, rounded down."""
        return super().apply(replace(changes, after=np.floor(changes.after * 100) / 100))


def test_what_the_kernel_rounded_down_is_not_written_a_second_time() -> None:
    scenario = Scenario(tenants("a", "b"), mode=Mode.STRICT)
    host = scenario.host = CoarseHost(2)
    scenario.loop.reconfigure(
        scenario.loop.roster, scenario.policy, scenario.settings, kernel=Kernel(host, host)
    )
    lowered = 0
    for wanted in ((0.3, 3.0), (3.0, 0.3), (0.7, 0.9)):
        host.wants_cores[:] = wanted
        for _ in range(10):
            changes = [one for one in scenario.tick().changes if one.control is Control.CPU_MAX]
            written = np.concatenate([one.tenant for one in changes]).tolist()
            assert len(written) == len(set(written))
            lowered += len(changes[0])
    assert lowered > 10


class MemoryHost(SimulatedHost):
    """A host of memory alone that notes what memory.low the tenants' parent was last given."""

    def __init__(self, size: int, *, is_exact: bool = True) -> None:
        evidence = Evidence(is_exact=is_exact)
        super().__init__(size, resource=Resource.MEMORY, capacity=4 * GIB, evidence=evidence)
        self.holds_bytes = np.zeros(size)
        self.root_low_bytes = 0.0

    def read(self, taken_at_s: float) -> HostSample:
        """Let tenants hold what they want, and return the counters."""
        self.run(self.holds_bytes, 1.0)
        return super().read(taken_at_s)

    def protect_root(self, low_bytes: float, *, is_enforcing: bool) -> str | None:
        """Take it."""
        self.root_low_bytes = low_bytes
        return None


def test_while_learning_memory_that_is_held_back_rises_to_what_it_needs_and_stays() -> None:
    """Reclaim would be at it without end, for as long as the agent learns."""
    scenario = Scenario(tenants("a", "b"), mode=Mode.STRICT, learning_s=300.0)
    host = MemoryHost(2, is_exact=False)
    scenario.loop.reconfigure(
        scenario.loop.roster, scenario.policy, scenario.settings, kernel=Kernel(host, host)
    )
    found = np.array([2.0, 0.5]) * GIB  # of 3.6, half of which is the fair share
    both = np.arange(2)
    host.apply(Changes(Control.MEMORY_HIGH, both, np.full(2, np.inf), found))
    host.holds_bytes = np.array([2.5, 0.1]) * GIB
    scenario.tick(5)
    for _ in range(10):
        now = host.read(0.0).in_force.memory_high_bytes / GIB
        assert 2.5 <= now[0] <= 2.5 * 1.1
        assert now[1] == 0.5
        scenario.tick()


def test_the_parent_is_given_all_that_its_tenants_hold_also_within_the_dead_band() -> None:
    scenario, host = Scenario(tenants("a", "b", "c", observed=("c",))), MemoryHost(3)
    scenario.loop.reconfigure(
        scenario.loop.roster, scenario.policy, scenario.settings, kernel=Kernel(host, host)
    )
    for held in (0.5, 0.49, 0.48, 0.47):  # of which no step leaves the dead-band
        host.holds_bytes = np.full(3, held * GIB)
        scenario.tick(60)
        low = host.read(0.0).in_force.memory_low_bytes
        assert low[2] == 0  # only observed
        assert host.root_low_bytes == pytest.approx(float(low.sum()))
    decided = scenario.tick().resources[Resource.MEMORY].guaranteed[:2]
    assert decided.sum() < host.root_low_bytes


def test_a_reload_that_divides_a_disk_too_keeps_what_is_known_of_the_rest() -> None:
    scenario = Scenario(tenants("a", "b"))
    scenario.host.wants_cores[:] = (0.2, 0.4)
    before = scenario.tick(30)
    policy = with_rates(scenario.policy, disk=10.0, net=1.0)
    roster = tenants("a", "b", resources=policy.resources)
    kernel = Kernel(scenario.host, scenario.host)
    scenario.loop.reconfigure(roster, policy, scenario.settings, kernel=kernel)
    after = scenario.tick()
    assert list(after.resources) == [CPU, Resource.MEMORY, DISK, NET]
    assert after.resources[CPU].expected == pytest.approx(before.resources[CPU].expected)
    assert np.isnan(after.resources[DISK].expected).all()  # no step of it yet
    assert any(problem.startswith("disk sda: configured but not") for problem in after.problems)
    scenario.loop.reconfigure(tenants("a", "b"), scenario.policy, scenario.settings, kernel=kernel)
    last = scenario.tick()
    assert list(last.resources) == [CPU, Resource.MEMORY]
    assert last.resources[CPU].expected == pytest.approx(before.resources[CPU].expected)


@pytest.mark.parametrize("resource", BASIC)
def test_a_limit_that_went_with_its_controller_is_back_at_the_next_tick(resource: Resource) -> None:
    """And no ramp counts from all that the machine has: the others would wait for it."""
    scenario = Scenario(tenants("a", "b"), mode=Mode.STRICT)
    scenario.host.wants_cores[:] = (1.0, 2.0)
    scenario.tick(30)
    control = LIMIT_CONTROL[resource]
    before = scenario.host.limits()[control].copy()
    scenario.host.reset(control)
    scenario.tick()
    after = scenario.host.limits()[control]
    np.testing.assert_allclose(after, before, rtol=0.03)
    assert after.sum() <= scenario.policy.capacity[resource] * (1 + 1e-9)


def test_a_limit_that_goes_during_a_reload_that_divides_a_disk_is_back_too() -> None:
    scenario = Scenario(tenants("a", "b"), mode=Mode.STRICT)
    scenario.host.wants_cores[:] = (1.0, 2.0)
    scenario.tick(30)
    control = LIMIT_CONTROL[CPU]
    before = scenario.host.limits()[control].copy()
    policy = with_rates(scenario.policy, disk=10.0, net=1.0)
    scenario.host.reset(control)
    scenario.loop.reconfigure(
        tenants("a", "b", resources=policy.resources),
        policy,
        scenario.settings,
        kernel=Kernel(scenario.host, scenario.host),
    )
    scenario.tick()
    np.testing.assert_allclose(scenario.host.limits()[control], before, rtol=0.03)


def test_a_cgroup_that_is_another_by_now_has_no_limit_of_ours_to_come_back_to() -> None:
    scenario = Scenario(tenants("a", "b"), mode=Mode.STRICT)
    scenario.tick(30)
    control = LIMIT_CONTROL[CPU]
    before = scenario.host.limits()[control].copy()
    scenario.host.remake(0)
    scenario.tick()
    after = scenario.host.limits()[control]
    assert after[0] > 1.2 * before[0]  # it comes down in steps
    assert after[1] == pytest.approx(before[1], rel=0.03)


def test_a_weight_that_an_earlier_agent_set_stands_until_there_is_history() -> None:
    scenario = Scenario(tenants("a", "b"), learning_s=20.0)
    scenario.host.apply(
        Changes(Control.CPU_WEIGHT, np.array([0]), np.array([100.0]), np.array([321.0]))
    )
    scenario.tick(15)
    a, b = scenario.host.limits()[Control.CPU_WEIGHT]
    assert a == 321.0
    assert b > 1000.0, "the kernel's own default is nobody's"
    scenario.tick(10)
    assert scenario.host.limits()[Control.CPU_WEIGHT][0] == pytest.approx(b, rel=0.1)


def test_weights_and_protection_in_force_keep_every_guarantee() -> None:
    scenario = Scenario(tenants("a", "b", "c"))
    capacity = scenario.policy.capacity[CPU]
    for wanted in ((0.3, 0.5, 0.5), (0.33, 0.5, 0.5), (0.36, 0.48, 0.5), (0.4, 0.45, 0.5)):
        scenario.host.wants_cores[:] = wanted
        for _ in range(10):
            record = scenario.tick()
            weight = scenario.host.limits()[Control.CPU_WEIGHT]
            given = capacity * weight / weight.sum()
            assert (given >= record.resources[CPU].guaranteed * 0.999).all()
            low = scenario.host.limits()[Control.MEMORY_LOW]
            assert (low >= np.floor(record.resources[Resource.MEMORY].guaranteed) * 0.999).all()


def test_a_step_is_closed_with_what_had_been_forecast_of_it_before_it_began() -> None:
    scenario = Scenario(tenants("a", "b"), step_s=5.0)
    scenario.tick(6)  # the first knows no time that has passed
    scenario.host.wants_cores = np.array([0.1, 0.9])
    before = scenario.tick(4).resources[Resource.CPU]
    scenario.tick()
    closed = scenario.loop.closed
    assert closed is not None
    assert closed.expected is not None
    assert closed.bound is not None
    np.testing.assert_allclose(closed.expected[:2], before.expected)
    np.testing.assert_allclose(closed.bound[:2], before.upper)
    assert not np.allclose(closed.expected[:2], closed.demand[:2])


def test_a_forecast_is_as_old_as_the_last_step_that_it_knows() -> None:
    scenario = Scenario(tenants("a"), step_s=5.0)
    ages = [scenario.tick().forecast_age_s for _ in range(8)]
    assert ages[5:] == [0.0, 1.0, 2.0]  # the first tick knows no time that has passed
