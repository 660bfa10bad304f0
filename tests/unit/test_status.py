"""Rows of status: every number comes from the record, unknown is null, and states are named."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from click import unstyle
from records import CPU, INF, MIB, NAN, crowd, observed_web, record, with_quality, with_rates

from agent.answers import Status
from agent.render import resource_lines
from agent.status import AgentFacts, health, status
from forecast.quality import Verdict

FACTS = AgentFacts()


def answered(**facts: Any) -> dict[str, Any]:
    """Return the JSON of the standard record."""
    answer = status(record(), AgentFacts(**facts), now_s=100.4)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return decoded


def test_the_host_is_summed_up_in_base_units() -> None:
    host = answered(tick_cost_s=0.003, failed_ticks=1)["host"]
    assert (host["tick"], host["age_s"], host["late_ticks"]) == (1234, 0.4, 2)
    assert (host["tick_cost_s"], host["failed_ticks"]) == (0.003, 1)
    assert host["cpu"]["capacity_cores"] == 1.9
    assert host["cpu"]["usage_cores"] == 1.6
    assert host["cpu"]["guaranteed_cores"] == 1.26
    assert host["cpu"]["limits_cores"] == 4.0
    assert host["cpu"]["shortage_pct"] == 12.0
    assert host["memory"]["usage_bytes"] == 879 * MIB


def test_a_tenants_numbers_are_those_of_its_column() -> None:
    web = answered()["tenants"][4]
    assert (web["name"], web["qos"], web["states"]) == ("web", "platinum", ["emergency"])
    assert web["cpu"]["usage_cores"] == 0.8
    assert web["cpu"]["forecast_bound_cores"] == 1.05
    assert web["cpu"]["balance_tokens"] == 290.0
    assert web["cpu"]["ceiling_cores"] == 2.0
    assert web["memory"]["limit_bytes"] == 510 * MIB
    assert web["memory"]["floor_bytes"] == 256 * MIB


def test_what_is_unknown_or_without_bound_is_null() -> None:
    batch, ghost = answered()["tenants"][0], answered()["tenants"][2]
    assert ghost["cpu"]["usage_cores"] is None
    assert ghost["memory"]["usage_bytes"] is None
    assert batch["cpu"]["ceiling_cores"] is None


def test_states_are_named_in_order_of_importance() -> None:
    states = {tenant["name"]: tenant["states"] for tenant in answered()["tenants"]}
    assert states == {
        "batch": ["live"],
        "eater": ["squeezed", "fallback"],
        "ghost": ["absent", "learning"],
        "hog": ["debt", "throttled"],
        "web": ["emergency"],
    }


def test_a_control_that_is_missing_is_an_error_state_never_silence() -> None:
    one = record()
    high = one.sample.in_force.memory_high_bytes.copy()
    high[0] = NAN
    sample = replace(one.sample, in_force=replace(one.sample.in_force, memory_high_bytes=high))
    rows = status(replace(one, sample=sample), FACTS, now_s=100.0).tenants
    assert rows[0].states == ("unenforced",)


def test_a_tenant_without_a_process_is_empty_unless_it_used_cpu_since_it_was_asked() -> None:
    one = record()
    sample = replace(one.sample, populated=np.array([0.0, 0, NAN, 1, NAN]))
    cpu = replace(one.resources[CPU], usage=np.array([0.0, 0.1, NAN, 0, 0]))
    asked = replace(one, sample=sample, resources={**one.resources, CPU: cpu})
    rows = status(asked, FACTS, now_s=100.0).tenants
    assert [row.name for row in rows if "empty" in row.states] == ["batch"]


def test_of_who_is_only_observed_it_is_said_what_is_in_force_and_what_would_be_written() -> None:
    answer = msgspec.to_builtins(status(observed_web(), FACTS, now_s=100.0))
    assert (answer["host"]["tenants"], answer["host"]["observed_tenants"]) == (5, 1)
    *enforced, web = answer["tenants"]
    assert web["is_observed"]
    assert web["states"] == ("observed",)
    assert web["in_force"] == {
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "memory.high": "max",
        "memory.low": "0",
        "memory.max": "max",
    }
    assert web["would_write"] == {
        "cpu.weight": "4000",
        "memory.high": "534773760",
        "memory.low": "325058560",
    }
    assert not any(one["is_observed"] or one["would_write"] for one in enforced)


def test_what_is_in_force_is_what_this_ticks_writes_left() -> None:
    batch, eater, ghost, hog, _ = status(record(), FACTS, now_s=100.0).tenants
    assert hog.in_force["cpu.max"] == "50000 100000"  # lowered from 60000
    assert eater.in_force["memory.high"] == "522190848"  # held back on its way to 400M
    assert batch.in_force["cpu.max"] == "100000 100000"
    assert set(ghost.in_force.values()) == {None}


def test_an_observing_host_observes_every_tenant() -> None:
    rows = status(replace(record(), is_observing=True), FACTS, now_s=100.0).tenants
    assert all("observed" in row.states for row in rows)


def test_a_refused_reload_is_a_problem_until_it_is_mended() -> None:
    problems = answered(reload_problem="a.toml: bad")["host"]["problems"]
    assert problems[0] == "reload refused: a.toml: bad"
    assert len(answered()["host"]["problems"]) == len(problems) - 1


def test_state_that_would_be_lost_is_a_problem() -> None:
    told = answered(state_problem="state.db: disk is full", originals_problem="cannot be used")
    assert told["host"]["problems"][:2] == [
        "balances will not outlive the agent: state.db: disk is full",
        "originals damaged: cannot be used",
    ]


def test_what_the_agent_encodes_the_command_line_decodes() -> None:
    answer = status(record(), FACTS, now_s=100.0)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Status) == answer


def test_numbers_without_bound_are_valid_json() -> None:
    one = crowd(2)
    cpu = one.resources[CPU]
    endless = replace(cpu, limit=np.full(2, INF), elasticity=INF, marginal_need=NAN)
    answer = status(replace(one, resources={**one.resources, CPU: endless}), FACTS, now_s=100.0)
    decoded = msgspec.json.decode(msgspec.json.encode(answer))
    assert decoded["host"]["cpu"]["elasticity"] is None
    assert decoded["tenants"][0]["cpu"]["limit_cores"] is None


@pytest.mark.parametrize(
    ("age_s", "state"), [(0.0, "ok"), (9.9, "ok"), (10.1, "stalled"), (3600.0, "stalled")]
)
def test_an_agent_without_ticks_for_five_periods_is_stalled(age_s: float, state: str) -> None:
    found = health(record(), AgentFacts(tick_s=2.0), now_s=100.0 + age_s)
    assert found.state == state


def test_an_agent_before_its_first_tick_is_starting() -> None:
    assert health(None, FACTS, now_s=0.0).state == "starting"


def test_what_else_is_divided_has_its_own_numbers_and_says_whether_it_is_enforced() -> None:
    answer = status(with_rates(record()), FACTS, now_s=100.0)
    disk, net = answer.host.rates
    assert (disk.resource, disk.unit, disk.is_enforced) == ("disk_read:sda", "bytes", True)
    assert (disk.capacity_per_s, disk.usage_per_s) == (1.9 * MIB, 1.6 * MIB)
    assert (net.usage_per_s, net.is_enforced) == (None, False)  # unknown, not 0
    hog, web = (answer.tenants[at].rates[0] for at in (3, 4))
    assert (hog.usage_per_s, hog.is_held_back) == (0.5 * MIB, True)
    assert (hog.balance_tokens, web.floor_per_s) == (-31.5 * MIB, 0.5 * MIB)
    assert answer.tenants[3].rates[1].usage_per_s is None
    assert answer.tenants[3].in_force["io.max sda rbps"] == "524288"  # this tick's write
    assert answer.tenants[4].in_force["io.max sda rbps"] == "max"
    assert answer.tenants[4].in_force["io.weight sda"] == "4000"


def test_who_is_not_limited_where_others_are_is_counted_unless_there_is_no_cgroup() -> None:
    one = with_rates(record())
    disk = next(rate for rate in one.resources if str(rate) == "disk_read:sda")
    in_force = one.resources[disk].in_force.copy()
    in_force[:2] = np.nan
    cut = replace(one.resources[disk], in_force=in_force)
    answer = status(replace(one, resources={**one.resources, disk: cut}), AgentFacts(), now_s=100.0)
    pools = answer.host.rates[0]
    assert (pools.is_enforced, pools.unenforced_tenants) == (True, 2)
    lines = [unstyle(line) for line in resource_lines(answer, "disk_read:sda", width=100)]
    assert lines[-1].startswith("In force, but not for 2 tenant(s)")


def test_what_is_not_divided_is_counted_all_the_same_and_unknown_is_null() -> None:
    answer = answered()
    assert answer["host"]["rates"] == []
    one = with_rates(record())
    answer = msgspec.to_builtins(status(one, FACTS, now_s=100.0))
    traffic = answer["tenants"][3]["traffic"]
    assert traffic.pop("disk_read_bytes_per_s") == 0.5 * MIB
    assert len(traffic) == 6
    assert all(value is None for value in traffic.values())
    assert answer["host"]["traffic"]["disk_read_bytes_per_s"] == 1.6 * MIB
    assert answer["host"]["traffic"]["net_out_bytes_per_s"] is None


def test_who_overspent_a_disk_is_in_debt_too() -> None:
    one = with_rates(record())
    even = replace(one.resources[CPU], balance=np.zeros(5))
    rows = status(replace(one, resources={**one.resources, CPU: even}), FACTS, now_s=100.0).tenants
    assert "debt" in rows[3].states


def test_how_good_forecasts_have_been_is_told_of_each_tenant_and_resource() -> None:
    one = with_quality(with_rates(record()), verdict=Verdict.POOR, coverage_95=0.8)
    web = status(one, FACTS, now_s=100.4).tenants[4]
    parts = (web.cpu.forecast_quality, web.memory.forecast_quality)
    for found in (*parts, *(rate.forecast_quality for rate in web.rates)):
        assert found is not None
        assert (found.verdict, found.windows) == ("poor", 500.0)
        assert (found.coverage_80_pct, found.coverage_95_pct) == (81.0, 80.0)
        assert (found.skill_naive_pct, found.bias_pct) == (20.0, -1.0)
    assert "poor" in web.states


def test_what_nothing_has_kept_score_of_is_null() -> None:
    unknown = with_quality(record(), skill=NAN)
    found = status(unknown, FACTS, now_s=100.4).tenants[0].cpu.forecast_quality
    assert found is not None
    assert found.skill_naive_pct is None
    assert status(record(), FACTS, now_s=100.4).tenants[0].cpu.forecast_quality is None
