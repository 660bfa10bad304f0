"""One tenant over hours: it saves, its bank grows, it overspends, and is brought down in time."""

from itertools import pairwise

import numpy as np
import pytest
from loops import Scenario, tenants

from agent.record import TickRecord
from agent.tenant import Resource

CPU = Resource.CPU
NEIGHBOUR, SAVER = 0, 1
ALLOCATABLE_CORES = 3.6
TICK_S = 20.0
RAMP_FRACTION_PER_S = 0.25


class Story:
    """Two tenants with a floor of a core each, on a host of 4 cores, of which 3.6 are theirs."""

    def __init__(self) -> None:
        self.scenario = Scenario(tenants("neighbour", "saver", floor=1.0), step_s=60.0)
        self.record: TickRecord | None = None

    def goes_on(self, minutes: float, *, neighbour_cores: float, saver_cores: float) -> TickRecord:
        """Let both want so much for some minutes; return the last tick."""
        self.scenario.host.wants_cores[:] = (neighbour_cores, saver_cores)
        ticks = round(minutes * 60 / TICK_S)
        self.record = self.scenario.tick(ticks, elapsed_s=TICK_S)
        return self.record


@pytest.fixture
def saved() -> Story:
    """Return a story in which one tenant has used little of its share for an hour."""
    story = Story()
    story.goes_on(60, neighbour_cores=0.9, saver_cores=0.1)
    return story


def test_who_stays_below_its_profile_may_bank_more_than_its_class_within_limits() -> None:
    story, allowances = Story(), []
    cpu = story.goes_on(1, neighbour_cores=1.7, saver_cores=0.1).resources[CPU]
    for _ in range(8):
        cpu = story.goes_on(30, neighbour_cores=1.7, saver_cores=0.1).resources[CPU]
        allowances.append(float(cpu.allowance[SAVER]))
        assert cpu.burst[SAVER] == pytest.approx(108.0 * allowances[-1])  # 60 s of 1.8 cores
        assert cpu.balance[SAVER] == pytest.approx(cpu.burst[SAVER], rel=0.01)
    assert 1.3 < allowances[0] < allowances[1] < 1.65 < allowances[-1] < 1.95
    assert cpu.allowance[NEIGHBOUR] < 1.15  # leaves little of its share of 1.8 cores


def test_who_overspends_draws_on_its_bank_first_and_its_allowance_goes_back(saved: Story) -> None:
    balances, allowances = [], []
    for _ in range(8):
        cpu = saved.goes_on(1, neighbour_cores=0.9, saver_cores=2.4).resources[CPU]
        balances.append(float(cpu.balance[SAVER]))
        allowances.append(float(cpu.allowance[SAVER]))
        if balances[-1] > 0:
            assert cpu.limit[SAVER] >= 2.4
    assert all(later < before for before, later in pairwise(balances))
    assert balances[0] > 108.0
    assert -108.0 <= balances[-1] < 0.0
    assert all(later < before for before, later in pairwise(allowances))
    cpu = saved.goes_on(10, neighbour_cores=0.9, saver_cores=2.4).resources[CPU]
    assert (cpu.allowance[SAVER], cpu.balance[SAVER]) == pytest.approx((1.0, -108.0))


def test_a_debtor_is_brought_down_before_the_host_is_full_and_rises_again_when_it_is_not(
    saved: Story,
) -> None:
    saved.goes_on(15, neighbour_cores=0.9, saver_cores=2.4)  # into debt
    limits = []
    for neighbour_cores in np.linspace(0.9, 1.15, 6):
        record = saved.goes_on(1, neighbour_cores=float(neighbour_cores), saver_cores=2.4)
        cpu = record.resources[CPU]
        assert cpu.usage.sum() < ALLOCATABLE_CORES
        assert cpu.limit[NEIGHBOUR] == 4.0
        limits.append(float(cpu.limit[SAVER]))
    assert limits[0] > 3.9
    assert limits[-1] < 3.2
    assert min(limits) >= 2.4  # nobody is squeezed while there is room for all
    cpu = saved.goes_on(15, neighbour_cores=0.1, saver_cores=2.4).resources[CPU]
    assert cpu.balance[SAVER] < 0
    assert cpu.limit[SAVER] == pytest.approx(4.0)  # on an idle host debt costs nothing


def test_a_debtors_limit_falls_in_steps_in_the_kernel_and_never_at_once(saved: Story) -> None:
    saved.goes_on(15, neighbour_cores=0.9, saver_cores=2.4)
    host = saved.scenario.host
    host.wants_cores[:] = (2.5, 2.4)
    in_force = [4.0]
    for _ in range(60):
        saved.scenario.tick(elapsed_s=0.5)
        in_force.append(min(float(host.limit()[SAVER]), 4.0))
    least = (1 - RAMP_FRACTION_PER_S) ** 0.5
    assert all(later >= before * least for before, later in pairwise(in_force))
    assert in_force[-1] < 3.2
