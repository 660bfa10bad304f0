"""Which tenants share a host, which steps count and how much there is."""

import numpy as np
import pytest
from cases import drawn, recorded

from agent.backtest.protocol import Case, ProtocolError, Recorded, case_of, usual_tenants
from agent.settings import DEFAULT_QOS

DAY_STEPS = 288


def host(
    seed: int, count: int = 20, *, is_mixed: bool = False, trace: Recorded | None = None
) -> Case:
    trace = trace or recorded(drawn(40, 60))
    return case_of(trace, seed, count, classes=DEFAULT_QOS, is_mixed=is_mixed)


def test_a_seed_draws_the_tenants_that_the_documented_generator_draws() -> None:
    chosen = sorted(np.random.default_rng(3).choice(60, 20, replace=False))
    assert host(3).tenants == tuple(f"t{place:03}" for place in chosen)
    np.testing.assert_array_equal(host(3).demand, drawn(40, 60)[:, chosen])


def test_the_same_seed_draws_the_same_host_and_another_another() -> None:
    assert host(1, is_mixed=True).tenants == host(1).tenants != host(2).tenants
    first, again, other = (host(seed, is_mixed=True).class_of.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_classes_are_shared_out_20_30_50() -> None:
    names = [qos.name for qos in DEFAULT_QOS]
    counts = dict(zip(names, np.bincount(host(0, is_mixed=True).class_of), strict=True))
    assert counts == {"platinum": 4, "gold": 6, "silver": 10}
    assert {qos.name for qos in host(0).classes} == {"gold"}
    assert host(0).weights.tolist() == [4.0] * 20


@pytest.mark.parametrize(
    ("days", "step_s", "warm_up"),
    [
        (28, 300.0, 864),
        (6, 300.0, 864),
        (5, 300.0, 720),
        (1, 300.0, 144),
        (6, 3600.0, 72),
        (70, 7 * 86400.0, 1),
    ],
)
def test_three_days_warm_up_or_half_of_what_there_is(
    days: int, step_s: float, warm_up: int
) -> None:
    steps = round(days * 86400 / step_s)
    assert recorded(np.ones((steps, 1)), step_s=step_s).warm_up == warm_up


def test_capacity_is_measured_where_it_counts() -> None:
    demand = np.array([[9.0, 9.0], [1.0, 1.0], [1.0, np.nan], [0.5, 2.0]])
    case = host(0, 2, trace=recorded(demand))
    assert (case.warm_up, case.peak) == (2, 2.5)


def test_who_has_no_ceiling_could_have_the_whole_host() -> None:
    case = host(0, 2, trace=recorded(np.full((8, 2), 1.5), ceiling=np.inf))
    assert case.ceiling.tolist() == [3.0, 3.0]


def test_hosts_are_as_large_as_the_archive_allows() -> None:
    assert [usual_tenants(count) for count in (1052, 100, 99, 50, 7)] == [100, 100, 25, 25, 7]


@pytest.mark.parametrize(
    ("demand", "count", "word"),
    [
        (np.ones((40, 5)), 6, "a host of 6 tenants, and the trace has 5"),
        (np.ones((3, 5)), 5, "too few"),
        (np.zeros((40, 5)), 5, "nobody on host 0 wants anything"),
    ],
)
def test_what_cannot_be_replayed_is_refused(demand: np.ndarray, count: int, word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        host(0, count, trace=recorded(demand))
