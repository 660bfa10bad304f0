"""The chain behind a limit: sentences whose numbers are those of the record."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from click import unstyle
from msgspec import structs
from records import (
    CPU,
    GOLD,
    INF,
    MIB,
    NAMES,
    bounded_web,
    column,
    observed_web,
    record,
    with_quality,
    with_rates,
)

from agent.accuracy_text import JUDGED_FROM_HORIZONS
from agent.answers import Explanation
from agent.explain import explain
from agent.record import IndicatorTick, TickRecord
from agent.render import explanation_lines
from agent.tenant import Entitlement, Resource, Roster, Tenant
from enforce.columns import Control, Outcomes, Result
from forecast.judge import least_windows
from forecast.quality import Verdict


def explained(name: str, of: TickRecord | None = None) -> Explanation:
    """Return the explanation of a tenant that exists."""
    answer = explain(of or record(), name, now_s=100.4)
    assert answer is not None
    return answer


def step(answer: Explanation, resource: int, stage: str) -> str:
    """Return the first sentence of a stage."""
    return next(s.text for s in answer.chains[resource].steps if s.stage == stage)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_chain_reads_as_reviewed(
    name: str, assert_golden: Callable[[str, str], None]
) -> None:
    lines = explanation_lines(explained(name), width=100)
    assert_golden(f"explain-{name}.txt", unstyle("\n".join(lines)) + "\n")


def test_an_unknown_tenant_has_no_explanation() -> None:
    assert explain(record(), "nobody", now_s=100.0) is None


def test_the_formula_of_the_guaranteed_part_is_shown_with_its_numbers() -> None:
    text = step(explained("batch"), 0, "guaranteed")
    assert text == "0.29 cores: floor 0.25 cores + (0.30 cores - 0.25 cores) x 0.90 = 0.29 cores."


def test_a_guarantee_below_the_floor_says_so() -> None:
    one = record()
    cpu = replace(one.resources[CPU], guaranteed=column(0.1, 0, 0, 0, 0.2))
    text = step(
        explained("web", replace(one, resources={**one.resources, CPU: cpu})), 0, "guaranteed"
    )
    assert text == "0.20 cores: less than its floor of 0.50 cores, which does not fit now."


def test_a_guarantee_above_the_forecast_names_the_surprise() -> None:
    one = record()
    cpu = replace(one.resources[CPU], guaranteed=column(1.2, 0, 0, 0, 0))
    text = step(
        explained("batch", replace(one, resources={**one.resources, CPU: cpu})), 0, "guaranteed"
    )
    assert text.endswith("= 0.29 cores, raised since its demand is above the forecast now.")


@pytest.mark.parametrize(
    ("fair", "ceiling", "floor", "words"),
    [
        (0.5, INF, 0.1, "cut to its fair share by weight, 0.50 cores."),
        (0.2, INF, 0.5, "cut to its floor, above its fair share by weight, 0.20 cores."),
        (0.9, 0.5, 0.1, "cut to its ceiling."),
        (0.9, INF, 0.1, "cut to what is left beside the others' guarantees."),
    ],
)
def test_a_guarantee_below_the_formula_names_what_bounds_it(
    fair: float, ceiling: float, floor: float, words: str
) -> None:
    one = record()
    tick = one.resources[CPU]
    cpu = replace(
        tick,
        expected=column(1.5, 0, 0, 0, 0),
        fair=column(fair, 0, 0, 0, 0),
        guaranteed=column(0.5, 0, 0, 0, 0),
    )
    batch = Tenant("batch", GOLD, {CPU: Entitlement(floor, ceiling)})
    roster = Roster.of([batch, *(Tenant(name, GOLD, {}) for name in NAMES[1:])])
    changed = replace(one, roster=roster, resources={**one.resources, CPU: cpu})
    assert step(explained("batch", changed), 0, "guaranteed").endswith(words)


@pytest.mark.parametrize(("forfeited", "part"), [(0.4, "40 %"), (0.5, "50 %")])
def test_what_a_debt_takes_back_of_a_guarantee_is_said(forfeited: float, part: str) -> None:
    one = record()
    cpu = replace(
        one.resources[CPU],
        credit=column(-forfeited / 0.5, 0, 0, 0, 0),
        most_forfeited=0.5,
        guaranteed=column(0.26, 0, 0, 0, 0),
    )
    text = step(
        explained("batch", replace(one, resources={**one.resources, CPU: cpu})), 0, "guaranteed"
    )
    assert text.endswith(f"cut: its debt takes back {part} of what is beyond its floor.")


@pytest.mark.parametrize("result", Result)
def test_every_way_a_write_can_go_has_words(result: Result) -> None:
    one = record()
    outcomes = tuple(
        replace(each, result=np.full_like(each.result, result)) for each in one.outcomes
    )
    value = explained("eater", replace(one, outcomes=outcomes)).chains[1].controls[0]
    assert value.result.endswith(": 482M cannot be reclaimed")
    assert value.result != ": 482M cannot be reclaimed"


def test_a_refused_write_carries_the_kernels_reason() -> None:
    value = explained("eater").chains[1].controls[0]
    assert value.control == "memory.high"
    assert (value.wanted, value.kept) == ("419430400 (400M)", "522190848 (498M)")
    assert value.result == "held back: 482M cannot be reclaimed"


def test_a_small_debt_names_its_depth_and_never_reads_as_nothing() -> None:
    one = record()
    cpu = replace(
        one.resources[CPU], balance=column(-0.25, 0, 0, 0, 0), burst=column(0.3, 0, 0, 0, 0)
    )
    answer = explained("batch", replace(one, resources={**one.resources, CPU: cpu}))
    assert step(answer, 0, "balance") == (
        "0.25 core-seconds in debt, of at most 0.30: it is brought down towards its guaranteed "
        "part as a shortage becomes likely (12.0 % now)."
    )


@pytest.mark.parametrize(
    ("credit", "pressure", "worth"),
    [
        (
            0.2395,
            0.647,
            "worth 0.24 of a minute's expected demand: weight x 1.11 at this pressure",
        ),
        (1.0, 0.0, "worth a minute's expected demand or more: weight x 1.00 at this pressure"),
        (0.004, 0.036, "which buys no priority"),
    ],
)
def test_a_bank_says_what_it_buys(credit: float, pressure: float, worth: str) -> None:
    one = record()
    cpu = replace(one.resources[CPU], credit=column(credit, 0, 0, 0, 0), pressure=pressure)
    answer = explained("batch", replace(one, resources={**one.resources, CPU: cpu}))
    assert step(answer, 0, "balance") == f"12.5 of 60.0 core-seconds banked, {worth}."


def test_a_grant_that_is_taken_back_and_a_pool_that_is_kept_are_explained() -> None:
    one = record()
    cooling = replace(
        one.resources[CPU],
        grant_left_s=np.zeros(5),
        cooldown_left_s=column(0, 0, 0, 0, 42),
        host_need="some task waits for a CPU for 95.0 % of the time, more than 90 %",
    )
    kept = replace(one, resources={**one.resources, CPU: cooling})
    assert step(explained("web", kept), 0, "emergency") == (
        "0.10 cores of a grant that has ended; it is taken back over another 42 s, "
        "and until then there is no other."
    )
    assert step(explained("hog", kept), 0, "emergency") == (
        "no grant: the pool is kept for the host itself "
        "(some task waits for a CPU for 95.0 % of the time, more than 90 %)."
    )


def test_a_grant_of_which_nothing_is_lent_now_is_still_a_grant() -> None:
    """Its tenant is not short in this tick, or others came first."""
    one = record()
    cpu = replace(one.resources[CPU], emergency=np.zeros(5))
    answer = explained("web", replace(one, resources={**one.resources, CPU: cpu}))
    assert step(answer, 0, "emergency") == (
        "a grant for another 21 s, of which it has nothing now."
    )


def test_what_would_read_as_nothing_is_not_said() -> None:
    one = record()
    cpu = replace(
        one.resources[CPU],
        emergency=np.zeros(5),
        cooldown_left_s=column(0, 0, 0, 0, 42),
        risk=np.full(5, 0.004),
    )
    quiet = replace(one, resources={**one.resources, CPU: cpu})
    answer = explained("web", quiet)
    assert step(answer, 0, "emergency") == "no grant, and none for another 42 s: one has ended."
    assert step(answer, 0, "risk") == "none: all of the expected demand is pre-allocated."
    floors = replace(one, resources={**one.resources, CPU: replace(cpu, expected=np.zeros(5))})
    assert "risk" not in [said.stage for said in explained("web", floors).chains[0].steps]


def test_on_an_idle_host_a_debt_costs_nothing_yet() -> None:
    one = record()
    cpu = replace(one.resources[CPU], pressure=0.001)
    answer = explained("hog", replace(one, resources={**one.resources, CPU: cpu}))
    assert step(answer, 0, "balance") == (
        "31.5 core-seconds in debt, of at most 36.0: "
        "it is brought down first when the host fills up."
    )


def test_what_is_only_observed_reads_as_reviewed(assert_golden: Callable[[str, str], None]) -> None:
    lines = explanation_lines(explained("web", observed_web()), width=100)
    assert_golden("explain-observed.txt", unstyle("\n".join(lines)) + "\n")


def test_each_file_of_who_is_only_observed_says_what_it_holds_and_what_would_be_written() -> None:
    controls = {
        value.control: value
        for chain in explained("web", observed_web()).chains
        for value in chain.controls
    }
    assert [(c.before, c.wanted, c.kept, c.result) for c in controls.values()] == [
        ("max 100000", None, "max 100000", "would stay"),
        ("100", "4000", "100", "would be written"),
        ("max", "534773760 (510M)", "max", "would be written"),
        ("0 (0B)", "325058560 (310M)", "0 (0B)", "would be written"),
    ]


def test_a_decision_of_who_is_only_observed_that_is_close_to_what_is_in_force_says_so() -> None:
    one = observed_web()
    low = one.sample.in_force.memory_low_bytes.copy()
    low[4] = 318 * MIB
    in_force = one.sample.in_force.with_control(Control.MEMORY_LOW, low)
    close = replace(one, sample=replace(one.sample, in_force=in_force), unwritten=())
    said = [s.text for s in explained("web", close).chains[1].steps if s.stage == "kernel"]
    assert said[1] == (
        "memory.low is 333447168 (318M), and would stay so: 310M is not far from it."
    )


@pytest.mark.parametrize(
    ("decided", "why"), [(850, "is not far from it"), (400, "waits until there is history")]
)
def test_a_weight_that_is_not_what_was_decided_says_why(decided: float, why: str) -> None:
    one = record()
    cpu = replace(one.resources[CPU], weight=column(decided, 100, 1, 200, 4000))
    said = explained("batch", replace(one, resources={**one.resources, CPU: cpu}))
    kernel = [s.text for s in said.chains[0].steps if s.stage == "kernel"]
    assert kernel[1] == f"cpu.weight is 900, unchanged in this tick: {decided} {why}."


def test_the_weight_of_who_lives_elsewhere_is_said_to_be_left_alone() -> None:
    one = record()
    elsewhere = replace(one.roster, is_elsewhere=np.array([name == "batch" for name in NAMES]))
    cpu = replace(one.resources[CPU], weight=column(400, 100, 1, 200, 4000))
    said = explained("batch", replace(one, roster=elsewhere, resources={**one.resources, CPU: cpu}))
    kernel = [s.text for s in said.chains[0].steps if s.stage == "kernel"]
    assert kernel[1] == (
        "cpu.weight is 900, unchanged in this tick: "
        "it compares siblings that are none of tidegate's, and is left alone."
    )


@pytest.mark.parametrize("name", ["hog", "web"])
def test_what_is_divided_beside_cpu_and_memory_is_explained_in_its_own_units(
    name: str, assert_golden: Callable[[str, str], None]
) -> None:
    answer = explained(name, with_rates(record()))
    rates = structs.replace(answer, chains=answer.chains[2:])
    lines = explanation_lines(rates, width=100)
    assert_golden(f"explain-rates-{name}.txt", unstyle("\n".join(lines)) + "\n")


def with_indicators(one: TickRecord) -> TickRecord:
    """Return the record with metrics of web, and one of batch, in every state there is."""
    tick = IndicatorTick(
        resources=(CPU, Resource.MEMORY),
        tenant=np.array([0, 4, 4, 4, 4]),
        names=("jobs", "queue_depth", "rps", "users", "workers"),
        value=np.array([3.0, 42.0, 1500.0, np.nan, 8.0]),
        shift=np.array([[0.1, 0.8, 0.2, np.nan, 0.0], [-64.0 * MIB, 0, 0, np.nan, 0]]),
        gain=np.array([[0.25, 0.31, 0.1, np.nan, np.nan], [0.25, -0.1, -0.1, -0.1, -0.1]]),
        lead_steps=np.array([[1, 2, 1, 3, 4], [1, 1, 1, 1, 1]]),
        scored_steps=np.array([[40, 100, 1000, 12, 12], [1000, 100, 100, 100, 100]]),
        is_used=np.array([[True, True, True, False, False], [True] + [False] * 4]),
        is_chosen=np.array([[True, True, False, False, False], [True] + [False] * 4]),
        is_paused=np.zeros((2, 5), dtype=np.bool_),
    )
    return replace(one, indicators=tick)


def test_what_metrics_make_of_a_forecast_is_told_metric_by_metric() -> None:
    answer = explained("web", with_indicators(record()))
    cpu, memory = answer.chains
    told = [[s.text for s in chain.steps if s.stage == "metric"] for chain in (cpu, memory)]
    assert told[0] == [
        "queue_depth (42) leads by 2 steps: +0.80 cores, loss 31 % lower over the last 100 steps.",
        "rps (1500): loss 10 % lower over the last 200 steps, but another metric tells more.",
        "users: not reported now, not used.",
        "workers (8): judged on 12 of 30 steps, not used yet.",
    ]
    assert told[1][0] == "queue_depth (42): no gain, not used."
    batch = explained("batch", with_indicators(record()))
    (text,) = [s.text for s in batch.chains[1].steps if s.stage == "metric"]
    assert text == "jobs (3) leads by 1 step: -64.0M, loss 25 % lower over the last 200 steps."


def test_metrics_that_are_paused_together_say_so() -> None:
    one = with_indicators(record())
    assert one.indicators is not None
    is_paused = np.zeros((2, 5), dtype=np.bool_)
    is_paused[1, 0] = True
    is_chosen = one.indicators.is_chosen & ~is_paused
    tick = replace(one.indicators, is_paused=is_paused, is_chosen=is_chosen)
    batch = explained("batch", replace(one, indicators=tick))
    (text,) = [s.text for s in batch.chains[1].steps if s.stage == "metric"]
    assert text == (
        "jobs (3): loss 25 % lower over the last 200 steps; paused: this tenant's metrics have "
        "lost too much together."
    )


def test_metrics_are_in_json_with_their_numbers() -> None:
    first = explained("web", with_indicators(record())).chains[0].indicators[0]
    assert structs.asdict(first) == {
        "metric": "queue_depth",
        "value": 42.0,
        "state": "used",
        "unit": "cores",
        "shift": 0.8,
        "lead_steps": 2,
        "gain_pct": 31.0,
        "scored_steps": 100,
    }
    assert explained("ghost", with_indicators(record())).chains[0].indicators == ()
    assert explained("web").chains[0].indicators == ()


def test_how_good_the_forecast_has_been_is_said_with_its_numbers() -> None:
    said = step(explained("web", with_quality(record())), 0, "accuracy")
    assert said == (
        "bounds for 80, 95 and 99 % held 81, 95 and 99 % of the time over 500 horizons; the next "
        "step's quantiles lost 20 % less than the naive forecast and 1 % less than the best single "
        "expert; the bound at 95 % stood 0.5 times the mean demand above what came; 1.0 % too "
        "little was expected."
    )


def test_a_poor_forecast_is_told_with_what_is_done_about_it() -> None:
    poor = with_quality(record(), verdict=Verdict.POOR)
    assert step(explained("web", poor), 0, "accuracy").startswith("poor, and so refitted early: ")
    assert "its forecast has been poor" in explained("web", poor).summary
    replaced = with_quality(record(), verdict=Verdict.REPLACED)
    assert "the fallback rule stands in" in step(explained("eater", replaced), 0, "accuracy")


def test_before_any_horizon_has_ended_nothing_is_known_of_accuracy() -> None:
    fresh = with_quality(record(), coverage_95=float("nan"), windows=0.0)
    assert step(explained("web", fresh), 0, "accuracy").startswith("not known yet")


def test_who_is_unjudged_is_told_what_it_takes() -> None:
    few = with_quality(record(), verdict=Verdict.UNJUDGED, windows=29.0)
    said = step(explained("web", few), 0, "accuracy")
    assert said.startswith("too little to judge by yet: ")
    assert " over 29 horizons of the 58 that it takes; " in said
    assert least_windows(15, 5) == JUDGED_FROM_HORIZONS


def test_where_the_kernel_kills_is_said_of_whom_it_is_configured() -> None:
    one = bounded_web(record())
    said = [s.text for s in explained("web", one).chains[1].steps if s.stage == "kernel"]
    assert said[2:] == ["memory.max is 1073741824 (1.00G), unchanged in this tick."]
    held = Outcomes(
        Control.MEMORY_MAX,
        np.array([NAMES.index("web")]),
        column(512 * MIB),
        column(1024 * MIB),
        np.array([Result.HELD_BACK], np.uint8),
        {NAMES.index("web"): "600.0 MiB in use: it comes down with that"},
    )
    waits = replace(one, outcomes=(*one.outcomes, held))
    said = [s.text for s in explained("web", waits).chains[1].steps if s.stage == "kernel"]
    assert said[2] == (
        "memory.max is 1073741824 (1.00G), was 1073741824 (1.00G), wanted 536870912 (512M): held "
        "back: 600.0 MiB in use: it comes down with that."
    )
    of_batch = [s.text for s in explained("batch", one).chains[1].steps if s.stage == "kernel"]
    assert not any("memory.max" in text for text in of_batch)
