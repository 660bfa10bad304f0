"""Closed loop: what was served becomes what a tenant is thought to want, and is given.

Whether it starves rests on what the kernel shows of having been held, which differs by resource.
"""

import numpy as np
import pytest
from closed_loops import STEP_S, served_strictly

from agent.backtest.engine import RuleForecaster
from agent.backtest.waiting import WaitingForecaster
from agent.ports import Forecasting
from agent.tenant import Entitlement, Floats, Kind, Resource, Roster, Tenant
from forecast.settings import ForecastSettings

from hosts import GIB, SILVER

MIB = float(1 << 20)
TENANTS, STEPS, SQUEEZED_STEPS, CAPACITY = 13, 150, 40, 6.0
SHARE = CAPACITY / TENANTS
CPU, DISK, UPLINK = Resource.CPU, Resource(Kind.DISK_READ, "sda"), Resource(Kind.NET_OUT, "up0")
UNITS = {CPU: 1.0, Resource.MEMORY: GIB, DISK: 10 * MIB, UPLINK: MIB}


def crowd(steps: int) -> Floats:
    """Return a steady tenant among twelve bursty ones, of whom two squeeze it for 40 steps.

    They want 11 of 6 units on average, so that nothing lies idle for it to grow into.
    """
    generator = np.random.default_rng(3)
    is_busy = generator.random((STEPS, TENANTS - 1)) < 0.4
    bursty = np.where(is_busy, generator.uniform(0.5, 3.0, is_busy.shape), 0.05)
    bursty[:SQUEEZED_STEPS, :2] = 3.9
    return np.column_stack((np.full(STEPS, 2.0), bursty))[:steps]


def served(
    resource: Resource, *, is_raw: bool, forecaster: Forecasting, steps: int = STEPS
) -> Floats:
    """Return what the steady tenant was served, in units of which it wants two."""
    unit = UNITS[resource]

    def who(resources: tuple[Resource, ...]) -> Roster:
        entitled = {resource: Entitlement(ceiling=4.0 * unit)}
        names = (f"t{place:02}" for place in range(TENANTS))
        return Roster.of((Tenant(name, SILVER, entitled) for name in names), resources)

    everybody = served_strictly(
        crowd(steps) * unit,
        who,
        forecaster,
        resource=resource,
        capacity=CAPACITY * unit,
        is_raw=is_raw,
    )
    return everybody[:, 0] / unit


@pytest.mark.parametrize(
    ("resource", "least", "most"),
    [
        pytest.param(CPU, 1.0, 0.4, id="cpu: throttled time"),
        pytest.param(DISK, 0.9, 0.5, id="a disk: time that it waited"),
        pytest.param(UPLINK, 1.9, 0.5, id="an uplink: what queues, and usage at the limit"),
    ],
)
def test_a_forecaster_that_sees_raw_usage_starves_a_held_tenant_for_ever(
    resource: Resource, least: float, most: float
) -> None:
    """Once its squeezers are gone it has twice its share and more; with raw usage, its share."""
    held, raw = (
        served(resource, is_raw=is_raw, forecaster=RuleForecaster()) for is_raw in (False, True)
    )
    for part in (slice(60, 105), slice(105, 150)):
        assert held[part].mean() > least
        assert raw[part].mean() < most


def test_with_raw_usage_a_tenant_held_at_memory_high_is_long_in_getting_its_memory_back() -> None:
    """Nobody is in debt for memory, and what is free raises limits: it does grow, bit by bit."""
    held, raw = (
        served(Resource.MEMORY, is_raw=is_raw, forecaster=RuleForecaster())
        for is_raw in (False, True)
    )
    squeezed, soon = slice(5, SQUEEZED_STEPS), SQUEEZED_STEPS + 20
    assert held[squeezed].mean() > 1.2 * raw[squeezed].mean()
    assert held[soon:].min() == pytest.approx(2.0)
    assert raw[soon:].max() < 1.9


def test_the_fitted_forecaster_starves_a_throttled_tenant_only_where_it_sees_raw_usage() -> None:
    settings = ForecastSettings(step_s=STEP_S, horizon_steps=3, are_refits_counted=True)
    found = []
    for is_raw in (False, True):
        with WaitingForecaster(settings) as forecaster:
            found.append(served(CPU, is_raw=is_raw, forecaster=forecaster, steps=100))
    held, raw = (one[60:].mean() for one in found)
    assert held > 1.5 * SHARE
    assert raw < SHARE


def test_nobody_stands_still_for_its_debt() -> None:
    """It wants four times its share all the time: it keeps half of its share at the least."""
    found = served(CPU, is_raw=False, forecaster=RuleForecaster())
    assert found[60:].min() >= 0.5 * SHARE * (1 - 1e-6)
