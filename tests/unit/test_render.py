"""The tables of `status`: numbers that are nothing, names that are long."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from click import unstyle
from records import CPU, column, record, with_rates

from agent.render import resource_lines, status_lines
from agent.status import AgentFacts, status


def test_a_balance_that_rounds_to_nothing_has_no_sign() -> None:
    one = record()
    cpu = replace(one.resources[CPU], balance=column(-0.004, -0.39, 0, 0.3, -290))
    answer = status(replace(one, resources={**one.resources, CPU: cpu}), AgentFacts(), now_s=100.0)
    lines = [unstyle(line).split() for line in status_lines(answer, width=200)]
    rows = {words[0]: words for words in lines if words}
    place = rows["TENANT"].index("BALANCE")
    shown = [rows[name][place] for name in ("batch", "eater", "hog", "web")]
    assert shown == ["0.00", "-0.39", "0.30", "-290"]


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
