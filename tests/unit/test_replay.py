"""Recorded demand under the control loop: what the simulated host serves and shows."""

import numpy as np
import pytest

from agent.allocation import Mode
from agent.backtest.engine import Replay, RuleForecaster, Setting, replayed
from agent.backtest.host import Evidence, SimulatedHost
from agent.cycle import Policy
from agent.emergency import EmergencySettings
from agent.plan import Pace
from agent.settings import DEFAULT_QOS
from agent.tenant import Entitlement, Floats, QosClass, Resource, Roster, Tenant
from enforce.columns import Changes, Control

PLATINUM, _, SILVER = DEFAULT_QOS
STEP_S = 300.0


def policy(capacity: float, mode: Mode) -> Policy:
    amounts = {Resource.CPU: capacity, Resource.MEMORY: 1e12}
    modes = {Resource.CPU: mode, Resource.MEMORY: Mode.STRICT}
    return Policy(amounts, amounts, modes, EmergencySettings(), Pace(), 0.0, 0.0)


def roster(*classes: QosClass) -> Roster:
    entitled = {Resource.CPU: Entitlement(ceiling=4.0)}
    return Roster.of(Tenant(f"t{i:02}", qos, entitled) for i, qos in enumerate(classes))


def replay(
    demand: Floats, who: Roster, *, capacity: float, mode: Mode, is_exact: bool = True
) -> Replay:
    setting = Setting(who, policy(capacity, mode), Resource.CPU, STEP_S)
    evidence = Evidence(is_exact)
    return replayed(demand, setting, forecaster=RuleForecaster(), evidence=evidence)


def drawn(tenants: int, steps: int = 120) -> Floats:
    """Return bursty demand: mostly little, now and then ten times as much."""
    generator = np.random.default_rng(7)
    quiet = generator.gamma(2.0, 0.1, (steps, tenants))
    return np.minimum(np.where(generator.random(quiet.shape) < 0.1, 10 * quiet, quiet), 4.0)


def test_strict_limits_never_sum_to_more_than_the_capacity_once_adopted() -> None:
    found = replay(drawn(12), roster(*[SILVER] * 12), capacity=6.0, mode=Mode.STRICT)
    assert np.all(found.limit[2:].sum(axis=1) <= 6.0 * (1 + 1e-9))


@pytest.mark.parametrize("mode", list(Mode))
def test_nobody_is_served_more_than_it_wants_or_its_limit(mode: Mode) -> None:
    demand = drawn(12)
    found = replay(demand, roster(*[SILVER] * 12), capacity=6.0, mode=mode)
    assert np.all(found.served <= np.minimum(demand, found.limit) + 1e-12)
    assert np.all(found.served.sum(axis=1) <= 6.0 * (1 + 1e-9))


def test_elastic_mode_leaves_nothing_unmet_while_capacity_lasts() -> None:
    demand = drawn(12)
    enough = float(demand.sum(axis=1).max())
    found = replay(demand, roster(*[SILVER] * 12), capacity=enough, mode=Mode.ELASTIC)
    assert found.served == pytest.approx(demand)


def test_in_a_lasting_shortage_platinum_is_served_before_silver() -> None:
    demand = np.full((40, 4), 2.0)
    who = roster(PLATINUM, SILVER, SILVER, SILVER)
    found = replay(demand, who, capacity=4.0, mode=Mode.ELASTIC)
    assert found.served[-10:, 0].min() > 1.9
    assert found.served[-10:, 1:].max() < 1.0


def test_a_throttled_tenant_is_not_starved_for_ever() -> None:
    """Squeezed by a neighbour for 30 steps; the rule forgets that one 12 steps after it goes."""
    demand = np.full((60, 2), 2.0)
    demand[:30, 1], demand[30:, 1] = 3.9, 0.0
    found = replay(demand, roster(SILVER, PLATINUM), capacity=4.0, mode=Mode.STRICT, is_exact=False)
    assert found.served[10:30, 0].max() < 1.9
    assert found.served[44:, 0] == pytest.approx(2.0)


def test_a_host_serves_by_weight_up_to_limits() -> None:
    """Six cores among three who want four each: one is held at 1, the others divide 5 by 4 to 1."""
    host = SimulatedHost(3, resource=Resource.CPU, capacity=6.0, evidence=Evidence(is_exact=False))
    everyone = np.arange(3)
    before = np.full(3, 100.0)
    host.apply(Changes(Control.CPU_WEIGHT, everyone, before, np.array([100.0, 400.0, 100.0])))
    host.apply(Changes(Control.CPU_MAX, everyone[:1], np.array([np.inf]), np.array([1.0])))
    assert host.run(np.full(3, 4.0), 10.0) == pytest.approx([1.0, 4.0, 1.0])
    sample = host.read(10.0)
    assert sample.cpu_usage_us == pytest.approx([1e7, 4e7, 1e7])
    assert sample.cpu_throttled_us == pytest.approx([3e7, 0.0, 0.0])
    assert sample.cpu_throttled_periods == pytest.approx([100.0, 0.0, 0.0])
