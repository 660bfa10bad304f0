"""Pins and what somebody else changed, as they are read: in `status`, `explain` and the log."""

import math
from dataclasses import replace

import pytest
import structlog
from records import CPU, column, record

from agent.audit import log_drift
from agent.explain import explain
from agent.pin_words import pin_sentences
from agent.pins import Origin, Pin, Pins
from agent.problems import lost
from agent.record import Drift, DriftTick, Loss, TickRecord
from agent.status import AgentFacts, status
from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight

LEFT_S = 90.0


def pinned(control: AnyControl, value: float, origin: Origin, *changes: Drift) -> TickRecord:
    one = record()
    until_s = one.taken_at_s + LEFT_S
    pins = Pins.of([Pin("web", control, value, until_s, origin, 7)], one.roster)
    return replace(one, drift=DriftTick(pins, changes, total=3))


@pytest.mark.parametrize(
    ("control", "value", "origin", "said", "words"),
    [
        (Control.CPU_MAX, 1.5, Origin.OPERATOR, "150000 100000", "pinned to 1.50 cores by an op"),
        (Control.CPU_MAX, math.inf, Origin.ANOTHER, "max 100000", "set cpu.max to no limit"),
        (Control.CPU_WEIGHT, 7.0, Origin.ANOTHER, "7", "set cpu.weight to 7: left so"),
        (Control.MEMORY_HIGH, 2.0**30, Origin.INSISTING, str(1 << 30), "keeps setting memory.hi"),
    ],
)
def test_a_pin_is_shown_with_its_value_its_hand_and_its_time(
    control: Control, value: float, origin: Origin, said: str, words: str
) -> None:
    one = pinned(control, value, origin)
    answer = status(one, AgentFacts(), now_s=one.taken_at_s)
    (web,) = [tenant for tenant in answer.tenants if tenant.name == "web"]
    (pin,) = web.pins
    assert (pin.control, pin.value, pin.set_by, pin.left_s) == (control, said, origin, LEFT_S)
    assert "pinned" in web.states
    assert all(not tenant.pins for tenant in answer.tenants if tenant.name != "web")
    assert answer.host.drift_total == 3
    explanation = explain(one, "web", now_s=one.taken_at_s)
    assert explanation is not None
    sentences = [s.text for chain in explanation.chains for s in chain.steps if s.stage == "pin"]
    assert len(sentences) == 1
    assert words in sentences[0]
    assert "another 90s" in sentences[0]
    assert "`tidegate unpin web` ends it" in sentences[0]


def test_what_somebody_else_took_of_a_network_is_a_problem_in_explain_and_in_the_log() -> None:
    one = record()
    words = ("up0 out", "class", "removed")
    at_s = one.taken_at_s
    losses = (
        Loss("", "map tenants", "changed", "", 1, at_s - 5.0),
        Loss(*words, "db", 2, at_s),
        Loss(*words, "web", 2, at_s),
    )
    one = replace(one, drift=DriftTick(Pins.none(5), losses=losses, total=5))
    assert one.drift is not None
    assert lost(one.drift) == [
        "network: map tenants was changed by somebody else, and is as it was",
        "network: up0 out: class was removed by somebody else 2 times, and is as it was "
        "(2 tenant(s), such as db)",
    ]
    place, ceil = one.roster.names.index("web"), ClassControl("up0", "out", "ceil")
    other = ClassControl("up0", "in", "ceil")
    (said,) = pin_sentences(one, (ceil, other), place)
    assert said.text == "its class was removed by somebody else 2 times, and is as it was."
    with structlog.testing.capture_logs() as lines:
        log_drift(one)
    assert [(line["tenant"], line["what"], line["how"]) for line in lines] == [
        ("db", "class", "removed"),
        ("web", "class", "removed"),
    ]


@pytest.mark.parametrize(
    ("origin", "by"),
    [
        (Origin.OPERATOR, "an operator"),
        (Origin.ANOTHER, "somebody else"),
        (Origin.INSISTING, "somebody else"),
    ],
)
def test_the_first_sentence_names_a_pin_and_what_the_limit_would_be_without(
    origin: Origin, by: str
) -> None:
    one = pinned(Control.CPU_MAX, 1.5, origin)
    cpu = replace(one.resources[CPU], unpinned=column(0, 0, 0, 0, 1.75))
    one = replace(one, resources={**one.resources, CPU: cpu})
    answer = explain(one, "web", now_s=one.taken_at_s)
    assert answer is not None
    first = f"web (platinum) is pinned: cpu to 1.50 cores by {by} for another 90s"
    assert answer.summary.startswith(f"{first} (1.75 cores without). It may use 2.00 cores and")
    other = explain(one, "batch", now_s=one.taken_at_s)
    assert other is not None
    assert "pinned" not in other.summary


def test_a_pin_of_who_is_only_observed_says_that_it_waits() -> None:
    one = replace(pinned(Control.CPU_MAX, 1.5, Origin.OPERATOR), is_observing=True)
    (said,) = pin_sentences(one, (Control.CPU_MAX,), one.roster.names.index("web"))
    assert "within floor and ceiling, once limits of it are written; `tidegate" in said.text


@pytest.mark.parametrize(
    ("control", "value", "said", "words"),
    [
        (DiskControl("sda", "riops"), 64.0, "64", "64 operations/s"),
        (DiskControl("sda", "wbps"), 8.0 * (1 << 20), "8388608", "8.00M/s"),
        (ClassControl("up0", "in", "rate"), 2.0 * (1 << 20), "2097152", "2.00M/s"),
        (DiskWeight("sda"), 250.0, "250", "250"),
        (DiskControl("sda", "wbps"), math.inf, "max", "no limit"),
    ],
)
def test_a_pin_of_a_device_is_shown_in_its_unit(
    control: AnyControl, value: float, said: str, words: str
) -> None:
    one = pinned(control, value, Origin.ANOTHER)
    answer = status(one, AgentFacts(), now_s=one.taken_at_s)
    (web,) = [tenant for tenant in answer.tenants if tenant.name == "web"]
    assert [(pin.control, pin.value) for pin in web.pins] == [(str(control), said)]
    (sentence,) = pin_sentences(one, (control,), one.roster.names.index("web"))
    assert f"set {control} to {words}: left so" in sentence.text


def test_where_nothing_is_pinned_nothing_is_said() -> None:
    for one in (record(), replace(record(), drift=DriftTick(Pins.none(5)))):
        answer = status(one, AgentFacts(), now_s=one.taken_at_s)
        assert all("pinned" not in tenant.states for tenant in answer.tenants)
        assert answer.host.drift_total == 0


def test_what_another_changed_is_logged_with_both_values_and_very_many_only_in_part() -> None:
    change = Drift(Control.CPU_MAX, record().roster.names.index("web"), 0.5, math.inf)
    one = pinned(Control.CPU_MAX, math.inf, Origin.ANOTHER, change)
    with structlog.testing.capture_logs() as lines:
        log_drift(one)
    (line,) = lines
    assert (line["tenant"], line["control"], line["becomes"]) == ("web", "cpu.max", "a pin")
    assert (line["before"], line["after"]) == ("50000 100000", "max 100000")
    many = pinned(Control.CPU_MAX, math.inf, Origin.ANOTHER, *[change] * 1000)
    with structlog.testing.capture_logs() as lines:
        log_drift(many)
    assert len(lines) == 51
    assert lines[-1]["changes"] == 950
