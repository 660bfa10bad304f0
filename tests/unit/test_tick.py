"""The control loop over a host of arrays: what is computed, and counted, once."""

import numpy as np
import pytest
from loops import CORES, Scenario, tenants

from agent.allocation import Mode
from agent.tenant import Resource
from enforce.columns import Control
from enforce.limits import text

CPU = Resource.CPU


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


def test_a_decision_that_stays_is_counted_once_however_long_it_is_left_out() -> None:
    scenario = Scenario(tenants("a", "b"), is_observing=True, step_s=2.0)
    steady = scenario.tick(10).totals.would_have
    assert steady > 0
    assert scenario.tick(10).totals.would_have == steady


def test_each_change_of_a_decision_that_is_left_out_is_counted() -> None:
    scenario = Scenario(tenants("a", "b"), is_observing=True, step_s=2.0)
    last: dict[tuple[Control, int], str] = {}
    changed = 0
    for wanted in ((0.5, 0.5), (3.0, 0.1), (0.1, 2.0)):
        scenario.host.wants_cores[:] = wanted
        for _ in range(10):
            record = scenario.tick()
            for changes in record.changes:
                for tenant, after in zip(changes.tenant, changes.after, strict=True):
                    said = text(changes.control, float(after))
                    changed += last.get((changes.control, int(tenant))) != said
                    last[changes.control, int(tenant)] = said
            assert record.totals.would_have == changed


def test_a_tenant_that_is_only_observed_is_counted_once_for_each_change_too() -> None:
    scenario = Scenario(tenants("a", "b", observed=("a",)), step_s=2.0)
    scenario.host.limits[Control.CPU_MAX][:] = (0.1, np.inf)
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
    limits = {control: column.copy() for control, column in scenario.host.limits.items()}
    after = scenario.late_tick(gap_s=gap_s, is_asleep=is_asleep)
    assert np.array_equal(after.resources[CPU].balance, before.resources[CPU].balance)
    record = after
    for later in range(5):
        for control, column in scenario.host.limits.items():
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
