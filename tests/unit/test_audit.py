"""The audit trail of emergency pools: every beginning and end, once, with its numbers."""

from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from loops import Scenario, tenants
from records import CPU, MEMORY, NAMES, column, record

from agent.allocation import Mode
from agent.audit import grant_events, log_grants
from agent.record import TickRecord
from agent.tenant import Roster
from enforce.columns import Changes, Control, Vitals

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Return the log's lines, as they are written."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def with_cpu(one: TickRecord, **changes: Any) -> TickRecord:
    return replace(one, resources={**one.resources, CPU: replace(one.resources[CPU], **changes)})


def test_a_grant_is_told_once_with_its_reason_and_its_numbers(lines: Lines) -> None:
    nobody = with_cpu(record(), grant_left_s=np.zeros(5), emergency=np.zeros(5))
    log_grants(nobody, record())
    log_grants(record(), record())
    (line,) = lines
    assert (line["event"], line["tenant"], line["resource"]) == ("emergency grant", "web", "cpu")
    assert line["reason"] == "it had to wait on a full host and it is short of what it demands"
    numbers = {name: line[name] for name in ("amount", "demand", "limit", "pool", "grant_left_s")}
    assert numbers == {
        "amount": 0.095,
        "demand": 0.8,
        "limit": 2.0,
        "pool": 0.095,
        "grant_left_s": 21.0,
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "its time is over"),
        ({"balance": column(0, 0, 0, 0, -1)}, "it is in debt"),
        ({"host_need": "some task waits"}, "the host itself needs the pool: some task waits"),
    ],
)
def test_the_end_of_a_grant_is_told_with_what_ended_it(
    changes: dict[str, Any], reason: str
) -> None:
    cooling = column(0, 0, 0, 0, 60)
    after = with_cpu(record(), grant_left_s=np.zeros(5), cooldown_left_s=cooling, **changes)
    told = [one for one in grant_events(record(), after) if one.tenant]
    assert [(one.event, one.tenant, one.reason) for one in told] == [
        ("emergency grant ends", "web", reason)
    ]
    gone = with_cpu(after, cooldown_left_s=np.zeros(5), host_need="")
    assert "emergency grant taken back" in {one.event for one in grant_events(after, gone)}


def test_a_grant_that_is_pre_empted_says_who_gets_what_is_taken_back() -> None:
    """The eater's, by web, which is of a better rank and stays short."""
    eater, web = NAMES.index("eater"), NAMES.index("web")
    columns = {name: np.zeros(5) for name in ("grant_left_s", "cooldown_left_s", "emergency")}
    columns["emergency"][[eater, web]] = columns["grant_left_s"][[eater, web]] = 0.05
    before = with_cpu(record(), **columns)
    left, cooling, by = columns["grant_left_s"].copy(), np.zeros(5), np.full(5, -1)
    left[eater], cooling[eater], by[eater] = 0.0, 60.0, web
    after = with_cpu(before, grant_left_s=left, cooldown_left_s=cooling, preempted_by=by)
    (told,) = grant_events(before, after)
    assert (told.event, told.tenant) == ("emergency grant pre-empted", "eater")
    assert told.reason == (
        "web (platinum) is short of what it demands and ranks before it: it gets what is taken back"
    )
    assert told.numbers["amount"] == 0.05


def test_a_grant_to_who_is_throttled_says_that_its_limit_was_hit() -> None:
    nobody = with_cpu(record(), grant_left_s=np.zeros(5), emergency=np.zeros(5))
    throttled = replace(record(), throttled_fraction=column(0, 0, 0, 0, 0.3))
    (told,) = grant_events(nobody, throttled)
    assert told.reason == "its limit was hit and it is short of what it demands"


def test_a_grant_that_ends_since_its_tenant_is_only_observed_by_now_says_so() -> None:
    one = record()
    observed = replace(one.roster, is_observed_only=np.array([name == "web" for name in NAMES]))
    cooling = column(0, 0, 0, 0, 60)
    ended = with_cpu(one, grant_left_s=np.zeros(5), cooldown_left_s=cooling)
    (told,) = grant_events(one, replace(ended, roster=observed))
    assert (told.event, told.reason) == ("emergency grant ends", "it is only observed now")


def test_a_pool_kept_for_the_host_is_told_when_it_begins_and_when_it_ends() -> None:
    one = record()
    kept = replace(one.resources[MEMORY], host_need="3.0 % of the host's memory is available")
    danger = replace(one, resources={**one.resources, MEMORY: kept})
    (begins,) = grant_events(one, danger)
    (ends,) = grant_events(danger, one)
    assert (begins.event, begins.resource) == ("emergency pool kept for the host", "memory")
    assert begins.reason == "3.0 % of the host's memory is available"
    assert begins.numbers["pool"] > 0
    assert ends.event == "emergency pool free again"


def test_a_line_of_a_host_that_only_observes_says_so(lines: Lines) -> None:
    one = record()
    kept = replace(one.resources[MEMORY], host_need="3.0 % of the host's memory is available")
    danger = replace(one, resources={**one.resources, MEMORY: kept})
    log_grants(one, danger)
    log_grants(one, replace(danger, is_observing=True))
    assert [line.get("only_observed") for line in lines] == [None, True]


def test_a_new_roster_makes_no_grant_begin_again() -> None:
    one = record()
    order = np.array([4, 3, 2, 1, 0])
    tick = one.resources[CPU]
    columns = {
        name: getattr(tick, name)[..., order]
        for name in type(tick).__dataclass_fields__
        if isinstance(getattr(tick, name), np.ndarray)
    }
    turned = replace(
        one.roster,
        names=tuple(one.roster.names[at] for at in order),
        qos_names=tuple(one.roster.qos_names[at] for at in order),
    )
    assert isinstance(turned, Roster)
    after = replace(with_cpu(one, **columns), roster=turned)
    assert list(grant_events(one, after)) == []


@pytest.mark.parametrize("observed", [(), ("a",)])
def test_in_a_running_loop_who_is_only_observed_gets_no_grant(
    lines: Lines, observed: tuple[str, ...]
) -> None:
    """The same surprise as below: enforced, a grant helps over it."""
    names = ("a", "b", "c", "d")
    scenario = Scenario(tenants(*names, floor=0.8, observed=observed), mode=Mode.STRICT, step_s=60)
    scenario.host.wants_cores[:] = (0.1, 0.7, 0.7, 0.7)
    scenario.host.apply(
        Changes(Control.CPU_MAX, np.array([0]), np.array([np.inf]), np.array([1.0]))
    )
    before = scenario.tick(90)
    scenario.host.wants_cores[0] = 4.0
    for _ in range(10):
        after = scenario.tick()
        log_grants(before, after)
        before = after
    assert before.resources[CPU].is_censored[0]
    assert bool(lines) == (not observed)


def test_in_a_running_loop_each_grant_has_a_beginning_and_an_end(
    lines: Lines,
) -> None:
    """One of four has saved, and suddenly wants a lot; then the host itself suffers."""
    scenario = Scenario(tenants("a", "b", "c", "d", floor=0.8), mode=Mode.STRICT, step_s=60.0)
    scenario.host.wants_cores[:] = (0.1, 0.7, 0.7, 0.7)
    before = scenario.tick(90)
    scenario.host.wants_cores[0] = 4.0
    for _ in range(10):
        after = scenario.tick()
        log_grants(before, after)
        before = after
    scenario.host.suffers(Vitals(cpu_some_pct=99.0))
    amounts = []
    for _ in range(70):
        after = scenario.tick()
        log_grants(before, after)
        before = after
        amounts.append(float(after.resources[CPU].emergency[0]))
    events = [(line["event"], line.get("tenant", "")) for line in lines]
    assert events[0] == ("emergency grant", "a")
    assert ("emergency pool kept for the host", "") in events
    assert ("emergency grant ends", "a") in events
    assert events[-1] == ("emergency grant taken back", "a")
    assert any("kept for the host itself" in problem for problem in before.problems)
    assert amounts[0] > 0
    assert amounts[-1] == 0
    steps = -np.diff(amounts)
    assert steps.max() <= amounts[0] / 60 * 1.01
