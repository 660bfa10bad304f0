"""One tenant over hours: it saves, its bank grows, it overspends, and is brought down in time.

What `explain` says of it is checked at every turn, against numbers worked out here.
"""

import re
from itertools import pairwise

import numpy as np
import pytest
from loops import Scenario, tenants

from agent.allocation import Mode
from agent.explain import explain
from agent.record import ResourceTick, TickRecord
from agent.tenant import Resource

CPU = Resource.CPU
NEIGHBOUR, SAVER = 0, 1
ALLOCATABLE_CORES = 3.6
SHARE_CORES, FLOOR_CORES = 1.8, 1.0
CLASS_BURST = 60.0 * SHARE_CORES
TICK_S = 20.0
RAMP_FRACTION_PER_S = 0.25
MOST_TAKEN_BACK, SOFT_THRESHOLD = 0.5, 0.8


class Story:
    """Two tenants with a floor of a core each, on a host of 4 cores, of which 3.6 are theirs."""

    def __init__(self, mode: Mode) -> None:
        who = tenants("neighbour", "saver", floor=FLOOR_CORES)
        self.scenario, self.mode = Scenario(who, step_s=60.0, mode=mode), mode
        self.record: TickRecord | None = None

    def goes_on(
        self, minutes: float, *, neighbour_cores: float, saver_cores: float
    ) -> ResourceTick:
        """Let both want so much for some minutes; return what became of cpu in the last tick."""
        self.scenario.host.wants_cores[:] = (neighbour_cores, saver_cores)
        ticks = round(minutes * 60 / TICK_S)
        self.record = self.scenario.tick(ticks, elapsed_s=TICK_S)
        return self.record.resources[CPU]

    def says(self, stage: str) -> str:
        """Return what is explained of the saver's cpu at one stage, or in the summary."""
        assert self.record is not None
        found = explain(self.record, "saver", now_s=self.record.taken_at_s)
        assert found is not None
        if stage == "summary":
            return found.summary
        (chain,) = (chain for chain in found.chains if chain.resource == "cpu")
        (text,) = (one.text for one in chain.steps if one.stage == stage)
        return text


@pytest.fixture(params=list(Mode))
def mode(request: pytest.FixtureRequest) -> Mode:
    return Mode(request.param)


@pytest.fixture
def saved(mode: Mode) -> Story:
    """Return a story in which one tenant has used little of its share for an hour."""
    story = Story(mode)
    story.goes_on(60, neighbour_cores=0.9, saver_cores=0.1)
    return story


@pytest.fixture
def owing(saved: Story) -> Story:
    """Return the same after a quarter of an hour in which it wanted 0.6 cores above its share."""
    saved.goes_on(15, neighbour_cores=0.9, saver_cores=2.4)
    return saved


def amounts(text: str, pattern: str) -> list[float]:
    """Return the numbers in a text at the places {} of a pattern."""
    found = re.search(re.escape(pattern).replace(r"\{\}", r"([\d.]+)"), text)
    assert found, text
    return [float(number) for number in found.groups()]


def test_who_stays_below_its_profile_may_bank_more_than_its_class_within_limits(
    mode: Mode,
) -> None:
    story, allowances = Story(mode), []
    cpu = story.goes_on(1, neighbour_cores=1.7, saver_cores=0.1)
    for _ in range(8):
        cpu = story.goes_on(30, neighbour_cores=1.7, saver_cores=0.1)
        allowances.append(float(cpu.allowance[SAVER]))
        assert cpu.burst[SAVER] == pytest.approx(CLASS_BURST * allowances[-1])
        assert cpu.balance[SAVER] == pytest.approx(cpu.burst[SAVER], rel=0.01)
        banked, most = amounts(story.says("balance"), "{} of {} core-seconds banked")
        assert banked == pytest.approx(most, rel=0.01)
        assert f"may bank {allowances[-1]:.2f} times" in story.says("balance")
    assert 1.3 < allowances[0] < allowances[1] < 1.65 < allowances[-1] < 1.95
    assert cpu.allowance[NEIGHBOUR] < 1.15  # leaves little of its share of 1.8 cores


def test_who_overspends_draws_on_its_bank_first_and_its_allowance_goes_back(saved: Story) -> None:
    balances, allowances = [], []
    for _ in range(8):
        cpu = saved.goes_on(1, neighbour_cores=0.9, saver_cores=2.4)
        balances.append(float(cpu.balance[SAVER]))
        allowances.append(float(cpu.allowance[SAVER]))
        if balances[-1] > 0:  # it has the priority that it saved up for, and says what is left
            assert cpu.limit[SAVER] >= 2.4
            (banked, _) = amounts(saved.says("balance"), "{} of {} core-seconds banked")
            assert banked == pytest.approx(balances[-1], rel=0.01)
            assert "its debt" not in saved.says("guaranteed")
        else:
            (debt, most) = amounts(saved.says("balance"), "{} core-seconds in debt, of at most {}:")
            assert (debt, most) == pytest.approx((-balances[-1], CLASS_BURST), rel=0.01)
            assert "it has overspent its tokens" in saved.says("summary")
    assert all(later < before for before, later in pairwise(balances))
    assert balances[0] > CLASS_BURST
    assert -CLASS_BURST <= balances[-1] < 0.0
    assert all(later < before for before, later in pairwise(allowances))
    cpu = saved.goes_on(10, neighbour_cores=0.9, saver_cores=2.4)
    assert (cpu.allowance[SAVER], cpu.balance[SAVER]) == pytest.approx((1.0, -CLASS_BURST))


def test_a_debtor_is_brought_down_before_the_host_is_full_and_rises_again_when_it_is_not(
    owing: Story,
) -> None:
    limits, guaranteed, pressures = [], [], []
    for neighbour_cores in np.linspace(0.9, 1.15, 6):
        cpu = owing.goes_on(1, neighbour_cores=float(neighbour_cores), saver_cores=2.4)
        assert cpu.usage.sum() < ALLOCATABLE_CORES
        assert cpu.limit[NEIGHBOUR] >= neighbour_cores - 1e-3
        assert cpu.limit[SAVER] >= 2.4 - 1e-3  # nobody is squeezed while there is room for all
        limits.append(float(cpu.limit[SAVER]))
        guaranteed.append(float(cpu.guaranteed[SAVER]))
        pressures.append(cpu.pressure)
        part = float(cpu.expected.sum()) / ALLOCATABLE_CORES
        crowding = min(max((part - SOFT_THRESHOLD) / (1 - SOFT_THRESHOLD), 0.0), 1.0)
        kept = 1 - MOST_TAKEN_BACK * crowding
        beyond = SHARE_CORES - FLOOR_CORES
        assert guaranteed[-1] == pytest.approx(FLOOR_CORES + kept * beyond)
        (taken_pct,) = amounts(owing.says("guaranteed"), "its debt takes back {} %")
        assert taken_pct == pytest.approx(100 * (1 - kept), abs=0.51)
        likely = "towards its guaranteed part as a shortage becomes likely ({} % now)"
        (shortage_pct,) = amounts(owing.says("balance"), likely)
        assert shortage_pct == pytest.approx(100 * cpu.pressure, abs=0.051)
    assert all(later <= before + 0.01 for before, later in pairwise(limits))
    assert all(later <= before for before, later in pairwise(guaranteed))
    falls, more_likely = -np.diff(limits), np.maximum(np.diff(pressures), 0.0)
    if owing.mode is Mode.ELASTIC:  # by no more of what is above demand than a shortage is likelier
        assert np.all(falls <= (limits[0] - 2.4) * more_likely + 0.01)
        assert limits[-1] < limits[0] - 0.8
    else:  # by no more than twice what the other has come to want
        assert np.all(falls <= 2 * 0.05 + 1e-3)
        assert limits[-1] < limits[0] - 0.15


def test_on_an_idle_host_debt_costs_nothing_and_who_has_repaid_it_saves_up_again(
    owing: Story,
) -> None:
    cpu = owing.goes_on(15, neighbour_cores=0.1, saver_cores=2.4)
    assert cpu.balance[SAVER] == pytest.approx(-CLASS_BURST)
    assert cpu.guaranteed[SAVER] == pytest.approx(SHARE_CORES)
    assert cpu.limit[SAVER] > 2.4
    assert "brought down first when the host fills up" in owing.says("balance")
    owed, allowances, bursts = [CLASS_BURST], [], []
    for _ in range(2):  # 0.6 cores below its share: it takes three minutes to repay
        owing.goes_on(1, neighbour_cores=0.9, saver_cores=1.2)
        (debt, _) = amounts(owing.says("balance"), "{} core-seconds in debt, of at most {}:")
        owed.append(debt)
    assert owed == pytest.approx([108.0, 72.0, 36.0], abs=0.1)
    for _ in range(3):
        cpu = owing.goes_on(15, neighbour_cores=0.9, saver_cores=0.1)
        allowances.append(float(cpu.allowance[SAVER]))
        bursts.append(float(cpu.burst[SAVER]))
        assert f"may bank {allowances[-1]:.2f} times" in owing.says("balance")
        assert "overspent" not in owing.says("summary")
    assert all(later > before for before, later in pairwise([1.1, *allowances]))
    assert bursts == pytest.approx([CLASS_BURST * allowance for allowance in allowances])


def test_a_debtors_limit_falls_in_steps_in_the_kernel_and_never_at_once(owing: Story) -> None:
    """By a quarter a second, or as far as the other's guarantee waits, and not below its own."""
    host, least = owing.scenario.host, (1 - RAMP_FRACTION_PER_S) ** 0.5
    host.wants_cores[:] = (2.5, 2.4)
    in_force = lowest = min(float(host.limit()[SAVER]), 4.0)
    for _ in range(60):
        cpu = owing.scenario.tick(elapsed_s=0.5).resources[CPU]
        before, in_force = in_force, min(float(host.limit()[SAVER]), 4.0)
        others = cpu.guaranteed[NEIGHBOUR] if owing.mode is Mode.STRICT else 0.0
        assert in_force >= min(before * least, ALLOCATABLE_CORES - others) - 1e-3
        assert in_force >= cpu.guaranteed[SAVER] * (1 - 2e-3)
        lowest = min(lowest, in_force)
    assert lowest < 1.5
