"""Recorded demand under the control loop: what the simulated host serves and shows."""

from dataclasses import replace

import numpy as np
import pytest
from replays import Replay, replayed

from agent.allocation import Mode
from agent.backtest.engine import RuleForecaster, Setting
from agent.backtest.host import Evidence, SimulatedHost
from agent.cycle import Policy
from agent.emergency import EmergencySettings
from agent.plan import Pace
from agent.settings import DEFAULT_QOS
from agent.tenant import Entitlement, Floats, Kind, QosClass, Resource, Roster, Tenant
from enforce.columns import Changes, Control

PLATINUM, GOLD, SILVER = DEFAULT_QOS
STEP_S = 300.0


def policy(capacity: float, mode: Mode) -> Policy:
    amounts = {Resource.CPU: capacity, Resource.MEMORY: 1e12}
    modes = {Resource.CPU: mode, Resource.MEMORY: Mode.STRICT}
    return Policy(amounts, amounts, amounts, modes, EmergencySettings(), Pace(), 0.0, 0.0)


def roster(*classes: QosClass) -> Roster:
    entitled = {Resource.CPU: Entitlement(ceiling=4.0)}
    return Roster.of(Tenant(f"t{i:02}", qos, entitled) for i, qos in enumerate(classes))


def replay(
    demand: Floats, who: Roster, *, capacity: float, mode: Mode, is_exact: bool = True
) -> Replay:
    setting = Setting(who, policy(capacity, mode), Resource.CPU, STEP_S)
    evidence = Evidence(is_exact)
    return replayed(demand, setting, forecaster=RuleForecaster(), evidence=evidence)


def test_the_systems_reserve_is_served_to_nobody() -> None:
    reserved = replace(policy(4.0, Mode.ELASTIC), total={Resource.CPU: 5.0, Resource.MEMORY: 1e12})
    setting = Setting(roster(SILVER, SILVER), reserved, Resource.CPU, STEP_S)
    found = replayed(
        np.full((5, 2), 3.0), setting, forecaster=RuleForecaster(), evidence=Evidence(is_exact=True)
    )
    assert found.served.sum(axis=1) == pytest.approx(4.0)


def test_who_only_observes_limits_nobody() -> None:
    setting = Setting(roster(SILVER, GOLD), policy(6.0, Mode.STRICT), Resource.CPU, STEP_S)
    runs = [
        replayed(
            np.full((20, 2), 4.0),
            replace(setting, is_observing=is_observing),
            forecaster=RuleForecaster(),
            evidence=Evidence(is_exact=True),
        )
        for is_observing in (False, True)
    ]
    assert np.isinf(runs[1].limit).all()
    assert runs[1].served == pytest.approx(3.0)  # of equal weights
    assert np.isfinite(runs[0].limit[1:]).all()
    assert runs[0].served[-1, 1] > runs[0].served[-1, 0]


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


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_tenant_that_is_away_is_not_one_that_wants_nothing(is_exact: bool) -> None:
    demand = np.full((40, 2), 1.5)
    demand[20:30, 1] = np.nan
    found = replay(
        demand, roster(SILVER, SILVER), capacity=4.0, mode=Mode.STRICT, is_exact=is_exact
    )
    assert np.array_equal(np.isnan(found.served), np.isnan(demand))
    # What it will want when it comes back is known from before, and kept for it.
    assert found.served[31:, 1] == pytest.approx(1.5)
    still = replay(np.nan_to_num(demand), roster(SILVER, SILVER), capacity=4.0, mode=Mode.STRICT)
    assert not np.array_equal(found.limit[25], still.limit[25])


def held_at(limit: float, capacity: float, demand: Floats) -> Floats:
    """Return what is throttled, in cores, of tenants that all have the same limit."""
    host = SimulatedHost(
        len(demand), resource=Resource.CPU, capacity=capacity, evidence=Evidence(is_exact=False)
    )
    everyone = np.arange(len(demand))
    nothing = np.full(len(demand), np.inf)
    host.apply(Changes(Control.CPU_MAX, everyone, nothing, np.full(len(demand), limit)))
    host.run(demand, 1.0)
    return host.read(1.0).cpu_throttled_us / 1e6


def test_only_a_limit_throttles_and_not_a_full_host() -> None:
    wants = np.array([3.5, 3.5])
    assert held_at(3.0, 4.0, wants) == pytest.approx([0.0, 0.0])
    assert held_at(3.0, 6.0, wants) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("is_exact", [True, False])
def test_memory_is_held_up_to_its_limit_whatever_the_weights(is_exact: bool) -> None:
    host = SimulatedHost(
        3, resource=Resource.MEMORY, capacity=5.0, evidence=Evidence(is_exact=is_exact)
    )
    everyone, no_limit = np.arange(3), np.full(3, np.inf)
    weights = np.array([1.0, 100.0, 9000.0])
    host.apply(Changes(Control.CPU_WEIGHT, everyone, np.full(3, 100.0), weights))
    host.apply(Changes(Control.MEMORY_HIGH, everyone, no_limit, np.array([2.0, 4.0, 4.0])))
    host.apply(Changes(Control.MEMORY_LOW, everyone, np.zeros(3), np.array([1.0, 1.0, 1.0])))
    demand = np.array([3.0, 3.0, 2.0])
    # Held: 2, 3 and 2, of which 1 each is protected; the other 4 shrink to the 2 that are left.
    assert host.run(demand, 1.0) == pytest.approx([1.5, 2.0, 1.5])
    sample = host.read(1.0)
    assert sample.memory_current_bytes == pytest.approx(demand if is_exact else [1.5, 2.0, 1.5])
    assert sample.memory_high_events == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("is_exact", "shown"), [(True, [30.0, 50.0, 90.0]), (False, [30.0, 35.0, 35.0])]
)
def test_what_no_control_file_limits_is_held_at_what_was_decided(
    is_exact: bool, shown: list[float]
) -> None:
    """Of 100 a second 30 go to who wants no more; the others share the rest, below limits."""
    network = Resource(Kind.NET_OUT)
    host = SimulatedHost(3, resource=network, capacity=100.0, evidence=Evidence(is_exact))
    host.hold(np.array([60.0, 40.0, 90.0]))
    assert host.run(np.array([30.0, 50.0, 90.0]), 10.0) == pytest.approx([30.0, 35.0, 35.0])
    assert host.read(10.0).net_out_bytes / 10.0 == pytest.approx(shown)
    assert host.limit().tolist() == [60.0, 40.0, 90.0]


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
