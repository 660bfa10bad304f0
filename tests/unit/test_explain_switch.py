"""What `explain` says as a tenant goes from being observed to being limited, and back."""

from dataclasses import replace

import numpy as np
import pytest
from loops import Scenario, tenants
from records import CPU, MIB, NAMES, SILVER, column, observed_web, record

from agent.allocation import Mode
from agent.answers import Explanation
from agent.explain import explain
from agent.pins import Pin, Pins
from agent.ports import Kernel
from agent.record import DriftTick, TickRecord
from agent.tenant import Entitlement, Resource, Roster, Tenant
from enforce.columns import Control

LIMITED = {Resource.CPU: Control.CPU_MAX, Resource.MEMORY: Control.MEMORY_HIGH}


def told(record: TickRecord, name: str) -> Explanation:
    answer = explain(record, name, now_s=record.taken_at_s)
    assert answer is not None
    return answer


def kernel_sentence(answer: Explanation, control: Control) -> str:
    """Return what is said of a control file."""
    said = [step.text for chain in answer.chains for step in chain.steps if step.stage == "kernel"]
    (sentence,) = [text for text in said if text.startswith(f"{control} ")]
    return sentence


def switched(scenario: Scenario, *observed: str) -> None:
    """Go on with the same tenants on the same host, of whom others are only observed."""
    roster = tenants("a", "b", "c", observed=observed)
    kernel = Kernel(scenario.host, scenario.host)
    scenario.loop.reconfigure(roster, scenario.policy, scenario.settings, kernel=kernel)


def test_what_is_in_force_is_what_was_decided_or_on_its_way_there() -> None:
    scenario = Scenario(tenants("a", "b", "c", observed=("a", "b")), mode=Mode.STRICT)
    scenario.tick(6)
    switched(scenario)
    ways = []
    for number in range(25):
        one = scenario.tick()
        answer = told(one, "a")
        for resource, control in LIMITED.items():
            decided = float(one.resources[resource].limit[0])
            left = min(float(scenario.host.limits()[control][0]), one.resources[resource].total)
            is_far = abs(left - decided) > 0.06 * max(left, decided)
            says_way = "on its way" in kernel_sentence(answer, control)
            assert says_way or not is_far, (number, kernel_sentence(answer, control))
            ways += [number] if says_way else []
    assert ways
    assert max(ways) < 20


def test_a_limit_that_was_switched_on_says_where_it_goes_step_by_step() -> None:
    scenario = Scenario(tenants("a", "b", "c", observed=("a",)), mode=Mode.STRICT)
    observed = told(scenario.tick(6), "a")
    assert "only observed, nothing is written" in observed.summary
    assert "and would become" in kernel_sentence(observed, Control.MEMORY_HIGH)
    switched(scenario)
    first = told(scenario.tick(), "a")
    assert "may use" in first.summary
    assert ", was max, on its way down to 1.14G in steps." in kernel_sentence(
        first, Control.MEMORY_HIGH
    )
    last = told(scenario.tick(30), "a")
    assert "unchanged in this tick" in kernel_sentence(last, Control.MEMORY_HIGH)
    switched(scenario, "a")
    again = told(scenario.tick(), "a")
    texts = [step.text for chain in again.chains for step in chain.steps]
    assert "only observed" in again.summary
    assert not any("in this tick" in text or "on its way" in text for text in texts)
    assert sum(text.startswith("would be ") for text in texts) == 4  # guaranteed, and the limit


def hog_in_debt(*, ceiling_cores: float, limit_cores: float) -> TickRecord:
    """Return a tick of a host of 2 cores where a shortage is likely and the hog in debt."""
    one = record()
    hog = Tenant("hog", SILVER, {CPU: Entitlement(0.0, ceiling_cores)})
    roster = Roster.of([hog, *(Tenant(name, SILVER, {}) for name in NAMES if name != "hog")])
    limit = column(0, 0, 0, limit_cores, 0)
    cpu = replace(one.resources[CPU], limit=limit, total=2.0, pressure=0.5)
    return replace(one, roster=roster, resources={**one.resources, CPU: cpu})


def step(answer: Explanation, stage: str) -> str:
    return next(each.text for each in answer.chains[0].steps if each.stage == stage)


def test_who_has_all_that_there_is_below_its_ceiling_is_not_said_to_lose_anything() -> None:
    answer = told(hog_in_debt(ceiling_cores=8.0, limit_cores=2.0), "hog")
    assert step(answer, "limit").endswith(": all that there is, below its ceiling of 8.00 cores.")
    assert step(answer, "balance").endswith("it is brought down first when the host fills up.")
    answer = told(hog_in_debt(ceiling_cores=8.0, limit_cores=1.5), "hog")
    assert step(answer, "limit").endswith(", below its ceiling of 8.00 cores.")
    assert "it is brought down towards its guaranteed part" in step(answer, "balance")


def test_a_pinned_limit_is_not_said_to_follow_debt_or_ceiling() -> None:
    one = hog_in_debt(ceiling_cores=8.0, limit_cores=0.5)
    pins = Pins.of([Pin("hog", Control.CPU_MAX, 0.5, one.taken_at_s + 60.0)], one.roster)
    answer = told(replace(one, drift=DriftTick(pins)), "hog")
    assert step(answer, "limit").endswith(", as it is pinned.")
    assert "its limit stays as it is pinned" in step(answer, "balance")


def test_a_guarantee_below_the_formula_is_said_to_be_cut_to_the_pin() -> None:
    one = hog_in_debt(ceiling_cores=8.0, limit_cores=0.2)
    cpu = replace(
        one.resources[CPU],
        credit=column(0, 0, 0, 0, 0),
        expected=column(0, 0, 0, 1.5, 0),
        fair=column(9, 9, 9, 9, 9),
        guaranteed=column(0, 0, 0, 0.2, 0),
    )
    pins = Pins.of([Pin("hog", Control.CPU_MAX, 0.2, one.taken_at_s + 60.0)], one.roster)
    one = replace(one, resources={**one.resources, CPU: cpu}, drift=DriftTick(pins))
    assert step(told(one, "hog"), "guaranteed").endswith(", cut to what it is pinned to.")


def test_a_limit_that_is_left_above_its_pin_says_why() -> None:
    one = record()
    memory = replace(one.resources[Resource.MEMORY], limit=column(0, 0, 0, 48.0 * MIB, 0))
    pins = Pins.of([Pin("hog", Control.MEMORY_HIGH, 32.0 * MIB, one.taken_at_s + 60.0)], one.roster)
    one = replace(one, resources={**one.resources, Resource.MEMORY: memory}, drift=DriftTick(pins))
    limit = next(s.text for s in told(one, "hog").chains[1].steps if s.stage == "limit")
    assert limit.endswith(
        ", above the 32.0M that it is pinned to: what it cannot give back, and a margin, are left "
        "to it."
    )


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_who_lives_elsewhere_and_has_no_cgroup_is_told_where_to_look(is_elsewhere: bool) -> None:
    one = record()
    gone = one.sample.cgroup_id.copy()
    gone[NAMES.index("hog")] = 0
    roster = replace(one.roster, is_elsewhere=np.array([is_elsewhere] * len(NAMES)))
    one = replace(one, sample=replace(one.sample, cgroup_id=gone), roster=roster)
    assert ("`tidegate doctor` says where" in told(one, "hog").summary) == is_elsewhere


@pytest.mark.parametrize("is_host", [False, True])
def test_who_is_only_observed_and_has_no_cgroup_was_promised_nothing(is_host: bool) -> None:
    one = observed_web()
    gone = one.sample.cgroup_id.copy()
    gone[NAMES.index("web")] = 0
    one = replace(one, sample=replace(one.sample, cgroup_id=gone), is_observing=is_host)
    answer = told(one, "web")
    assert "It is only observed: nothing would be written." in answer.summary
    assert ("none is made while [host] says" in answer.summary) == is_host
    assert "lent" not in answer.summary + step(answer, "measured")
