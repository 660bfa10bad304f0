"""The tables of `status`: numbers that are nothing, names that are long."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from click import unstyle
from records import CPU, INF, MIB, NAMES, column, observed_web, record, with_rates

from agent.answers import Finding
from agent.render import finding_lines, resource_lines, status_lines
from agent.status import AgentFacts, status
from enforce.columns import Changes, Control


def test_a_balance_that_rounds_to_nothing_has_no_sign() -> None:
    one = record()
    cpu = replace(one.resources[CPU], balance=column(-0.004, -0.39, 0, 0.3, -290))
    answer = status(replace(one, resources={**one.resources, CPU: cpu}), AgentFacts(), now_s=100.0)
    lines = [unstyle(line).split() for line in status_lines(answer, width=200)]
    rows = {words[0]: words for words in lines if words}
    place = rows["TENANT"].index("BALANCE")
    shown = [rows[name][place] for name in ("batch", "eater", "hog", "web")]
    assert shown == ["0.00", "-0.39", "0.30", "-290"]


def test_a_host_without_a_tenant_says_what_to_do_next() -> None:
    answer = msgspec.structs.replace(status(record(), AgentFacts(), now_s=100.0), tenants=())
    lines = [unstyle(line) for line in status_lines(answer, width=80)]
    assert max(map(len, lines)) <= 80
    said = " ".join(lines)
    assert "copy NAME.toml.example to web.toml" in said
    assert "`systemctl reload-or-restart tidegate` takes it on" in said


@pytest.mark.parametrize(
    ("pressure", "used", "unknown", "said"),
    [
        (
            1.0,
            0.05,
            0,
            "SHORTAGE looks ahead: little is used of cpu now; what may be wanted in the",
        ),
        (1.0, 0.05, 1, "Of batch nothing is known yet: all up to the ceiling counts."),
        (0.3, 0.05, 2, "Of batch and 1 more nothing is known yet: all up to the ceiling counts."),
        (1.0, 0.4, 0, ""),  # most of it is used: no wonder
        (0.04, 0.05, 2, ""),
    ],
)
def test_a_shortage_that_is_only_forecast_is_said_to_be(
    pressure: float, used: float, unknown: int, said: str
) -> None:
    one = record()
    tick = one.resources[CPU]  # of 1.9 cores, and of five tenants one is absent
    maximum = tick.maximum.copy()
    maximum[..., :unknown] = np.nan
    cpu = replace(tick, pressure=pressure, usage=column(*[used] * 5), maximum=maximum)
    answer = status(replace(one, resources={**one.resources, CPU: cpu}), AgentFacts(), now_s=100.0)
    lines = [unstyle(line) for line in status_lines(answer, width=80)]
    assert max(map(len, lines)) <= 80
    text = " ".join(lines)
    assert ("looks ahead" in text) == bool(said)
    assert said in text
    assert ("nothing is known" in text) == bool(said and unknown)


@pytest.mark.parametrize("name", ["disk_read:sda", "net_out", "disk_read"])
def test_tenants_parts_of_one_resource_read_as_reviewed(
    name: str, assert_golden: Callable[[str, str], None]
) -> None:
    answer = status(with_rates(record()), AgentFacts(), now_s=100.0)
    lines = [unstyle(line) for line in resource_lines(answer, name, width=100)]
    assert_golden(f"status-{name.replace(':', '-')}.txt", "\n".join(lines) + "\n")


def test_the_host_table_has_what_else_is_divided(assert_golden: Callable[[str, str], None]) -> None:
    answer = status(with_rates(record()), AgentFacts(), now_s=100.0)
    lines = [unstyle(line) for line in status_lines(answer, width=140)]
    assert_golden("status-rates-140.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("columns", [80, 140])
def test_who_is_only_observed_is_shown_with_what_is_in_force_and_what_would_be_written(
    columns: int, assert_golden: Callable[[str, str], None]
) -> None:
    answer = status(observed_web(), AgentFacts(), now_s=100.0)
    lines = [unstyle(line) for line in status_lines(answer, width=columns)]
    assert max(map(len, lines)) <= columns
    assert_golden(f"status-observed-{columns}.txt", "\n".join(lines) + "\n")


def test_what_would_become_of_memory_max_is_shown_where_somebody_has_it_configured() -> None:
    one, at = observed_web(), np.array([NAMES.index("web")])
    change = Changes(Control.MEMORY_MAX, at, column(INF), column(1024 * MIB))
    bounded = replace(one, unwritten=(*one.unwritten, change))
    said = {}
    for name, each in (("unbounded", one), ("bounded", bounded)):
        lines = status_lines(status(each, AgentFacts(), now_s=100.0), width=140)
        said[name] = [unstyle(line) for line in lines][-2:]
    heads, row = said["bounded"]
    assert heads.split()[-1] == "memory.max"
    assert row.endswith("max -> 1.00G")
    assert not any("memory.max" in line for line in said["unbounded"])


@pytest.mark.parametrize(
    ("width", "states"),
    [(60, "absent+3"), (120, "absent,unenforced+2"), (200, "absent,unenforced,emergency,debt")],
)
def test_as_many_states_are_named_as_fit(width: int, states: str) -> None:
    answer = status(record(), AgentFacts(), now_s=100.0)
    every = msgspec.structs.replace(
        answer.tenants[0], states=("absent", "unenforced", "emergency", "debt")
    )
    narrow = msgspec.structs.replace(answer, tenants=(every,))
    row = next(line for line in status_lines(narrow, width=width) if line.startswith("batch"))
    assert unstyle(row).split()[-1] == states


@pytest.mark.parametrize(
    ("observed", "is_observing", "words"),
    [
        ((), False, "enforcing 5 tenants."),
        ((4,), False, "enforcing 4 of 5 tenants, 1 observed, 0 writes left out."),
        (range(5), False, "enforcing 0 of 5 tenants, 5 observed, 0 writes left out."),
        (range(5), True, "OBSERVING 5 tenants: nothing is written, 0 writes left out."),
    ],
)
def test_the_first_line_says_who_is_enforced(
    observed: Sequence[int], is_observing: bool, words: str
) -> None:
    one = record()
    roster = replace(one.roster, is_observed_only=np.isin(np.arange(5), list(observed)))
    seen = replace(one, roster=roster, is_observing=is_observing)
    first = status_lines(status(seen, AgentFacts(), now_s=100.0), width=200)[0]
    assert first.endswith(f"forecaster live, {words}")


def test_findings_are_counted_by_state_and_each_has_its_remedy() -> None:
    found = [
        Finding("swap", "degraded", "there is none", "add swap"),
        Finding("machines", "ok", "1 left alone", "to limit one: cgroup ="),
        Finding("agent", "ok", "tick 7", ""),
    ]
    lines = [unstyle(line).strip() for line in finding_lines(found, width=80)]
    assert [line for line in lines if line.startswith("->")] == [
        "-> add swap",
        "-> to limit one: cgroup =",
    ]
    assert lines[-1] == "0 missing, 1 degraded, 2 ok"


def test_a_resource_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    answer = status(with_rates(record()), AgentFacts(), now_s=100.0)
    with pytest.raises(ValueError, match=r"no resource 'disk' .known: disk_read:sda, net_out"):
        resource_lines(answer, "disk", width=100)


def test_the_longest_names_fit_80_columns_and_stay_apart() -> None:
    answer = status(record(), AgentFacts(), now_s=100.0)
    tenants = [
        msgspec.structs.replace(tenant, name=f"customer-{'x' * 50}-{number:03}", states=("debt",))
        for number, tenant in enumerate(answer.tenants)
    ]
    lines = [
        unstyle(line)
        for line in status_lines(msgspec.structs.replace(answer, tenants=tenants), width=80)
    ]
    assert max(map(len, lines)) <= 80
    assert len({line.split()[0] for line in lines if line.startswith("customer")}) == len(tenants)
    assert "memory demand, tenant in full (try --json)." in " ".join(lines)
