"""The demo's pure parts: what it reads of the kernel, sums up and judges; its configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isnan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.settings import Config
from scripts.demo_scene import disk, network, rate_play, rates, regimes, scene, service, verdict
from scripts.demo_scene.rates import Limit
from scripts.demo_scene.record import Answer, Waits
from scripts.demo_scene.verdict import Measure

ACTS = (network.ACT, disk.act(Path("/dev/ubda")))


@dataclass(frozen=True)
class Result:
    """One regime's only figure."""

    regime: str
    value: float


figures = st.floats(0, 1e6)
measures = st.builds(
    Measure[Result],
    st.just("speed"),
    st.just(" ms"),
    st.just(lambda one: one.value),
    least=st.floats(0, 100),
    is_more_better=st.booleans(),
    noise=st.floats(0, 0.5),
)


def word(measure: Measure[Result], own: float, theirs: float) -> str:
    """Return how the first of two regimes is judged."""
    played = (Result("ours", own), Result("theirs", theirs))
    (line,) = verdict.lines([measure], played, judged="ours")
    return line.removeprefix("ours against theirs: ").partition(": ")[0]


@given(measures, figures, figures)
def test_what_is_better_on_one_side_is_worse_on_the_other(
    measure: Measure[Result], one: float, other: float
) -> None:
    opposite = {"better": "WORSE", "WORSE": "better", "as good": "as good"}
    assert word(measure, other, one) == opposite[word(measure, one, other)]


@given(measures, figures, st.floats(0, 1))
def test_within_the_noise_two_figures_are_as_good(
    measure: Measure[Result], value: float, part: float
) -> None:
    near = value + part * max(measure.least, measure.noise * value) * 0.999
    assert word(measure, value, near) == "as good"


@pytest.mark.parametrize(
    ("is_more_better", "own", "theirs", "expected"),
    [(True, 97.0, 100.0, "as good"), (True, 96.6, 100.0, "WORSE"), (False, 96.6, 100.0, "better")],
)
def test_the_noise_of_a_measure_decides_what_counts(
    is_more_better: bool, own: float, theirs: float, expected: str
) -> None:
    measure = Measure[Result]("got", "", lambda one: one.value, 0, is_more_better, noise=0.035)
    assert word(measure, own, theirs) == expected


@given(st.lists(st.one_of(st.floats(0, 9), st.just(inf))))
def test_who_gave_up_waited_longest(latencies_s: Sequence[float]) -> None:
    waits = Waits.of([Answer(0.0, latency_s) for latency_s in latencies_s])
    assert waits.requests == len(latencies_s)
    assert waits.given_up == sum(one == inf for one in latencies_s)
    if not latencies_s:
        assert isnan(waits.p50_s)
    else:
        assert waits.p50_s <= waits.p99_s <= max(latencies_s)
        assert sum(one <= waits.p50_s for one in latencies_s) * 2 >= len(latencies_s)


def test_a_number_of_a_disk_is_read_beside_those_of_others() -> None:
    limits = "8:0 rbps=7 wbps=max riops=max wiops=max\n98:0 rbps=5000000 wbps=max\n"
    assert disk.of_device(limits, "98:0", "rbps", inf) == 5e6
    assert disk.of_device(limits, "98:0", "wbps", inf) == inf
    assert disk.of_device("", "98:0", "rbytes", 0.0) == 0.0


def test_a_limit_is_shown_in_its_unit() -> None:
    assert Limit(inf).text(2.0) == "max"
    assert Limit(100.0, 10.0).text(2.0) == "5..50"


@given(st.integers(0, 1 << 32))
def test_requests_of_a_seed_are_due_in_order_and_within_the_scene(seed: int) -> None:
    due_s = rates.arrivals_s(seed=seed)
    assert due_s == rates.arrivals_s(seed=seed)
    assert all(one < other for one, other in pairwise((0.0, *due_s, rates.END_S)))
    expected = rates.REQUESTS_PER_S * rates.END_S
    assert abs(len(due_s) - expected) < 7 * expected**0.5


@given(st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_visitors_come_with_the_tide(seed: int) -> None:
    """As many more in a surge as are asked for, within six standard deviations."""
    due_s = scene.arrivals_s(0.001, seed=seed)
    quiet = sum(one % scene.TIDE_S < 5.0 for one in due_s)
    surge = sum(6.0 <= one % scene.TIDE_S < 11.0 for one in due_s)
    assert surge / quiet == pytest.approx(scene.SURGE_CORES / scene.QUIET_CORES, rel=0.13)


def test_what_was_sold_fits_the_host_and_the_agent_takes_the_files(
    load: Callable[..., Config],
) -> None:
    """Floors fit what is divided, else the agent refuses them; caps fit what there is."""
    cpu = load(service.HOST_FILE, **regimes.tenant_files())
    assert [tenant.name for tenant in cpu.tenants] == sorted(scene.NAMES)
    host = service.HOST_FILE + rate_play.divided(ACTS)
    config = load(host, **rate_play.tenant_files(ACTS))
    divided = {str(resource) for resource in config.capacity}
    assert {act.scene.resource for act in ACTS} <= divided
    for act in ACTS:
        sold = sum(part.share_bytes_per_s for part in act.scene.parts)
        assert sold <= act.scene.carries_bytes_per_s
    assert sum(role.share_cores for role in scene.ROLES) == pytest.approx(scene.HOST_CORES)
