"""agent.demand: throttled usage is a lower bound, and what is made of it."""

import numpy as np
import pytest
from samples import INF, MIB, NAN, column, usage

from agent.demand import Demand, cpu_demand, memory_demand, rate_demand, reached, waited
from agent.tenant import Kind


def cores(used: float, throttled: float = 0.0, *, ceiling: float = 8.0) -> Demand:
    """Return the demand of one tenant on a host of 8 cores that is otherwise idle."""
    seen = usage(cores=[used], cpu_throttled_cores=[throttled])
    return cpu_demand(seen, ceiling=column(ceiling), fair=column(2.0), capacity=8.0)


def test_two_spinners_held_to_a_fifth_of_a_core_demand_two() -> None:
    """Measured on two CPUs under cpu.max 20 %: 0.2 cores used, 1.78 core-seconds throttled."""
    demand = cores(0.2, 1.78)
    assert demand.value == pytest.approx([1.98])
    assert demand.is_censored.all()


def test_demand_is_estimated_up_to_the_ceiling_only() -> None:
    assert cores(0.2, 5.0, ceiling=1.5).value == pytest.approx([1.5])


def test_usage_above_a_lowered_ceiling_is_still_what_was_used() -> None:
    assert cores(3.0, 0.0, ceiling=1.5).value == pytest.approx([3.0])


def test_demand_of_one_that_is_not_held_is_its_usage() -> None:
    demand = cores(1.25, 0.0)
    assert demand.value == pytest.approx([1.25])
    assert not demand.is_censored.any()


def test_on_a_saturated_host_those_at_their_fair_share_may_be_waiting() -> None:
    seen = usage(cores=[6.0, 1.9, 0.1], cpu_throttled_cores=[0, 0, 0])
    demand = cpu_demand(seen, ceiling=column(8, 8, 8), fair=column(4.0, 2.0, 2.0), capacity=8.0)
    assert demand.is_censored.tolist() == [True, True, False]
    assert demand.value == pytest.approx([7.5, 2.375, 0.1])


@pytest.mark.parametrize(
    ("used", "some", "full", "idle", "expected", "is_censored"),
    [
        pytest.param(1.0, 0.51, 0.51, 0.0, 2.04, True, id="two spinners beside another's two"),
        pytest.param(0.49, 0.73, 0.72, 0.0, 1.75, True, id="the same at a third of their weight"),
        pytest.param(1.0, 1.0, 0.9, 0.0, 4.0, True, id="at most four times what was used"),
        pytest.param(1.0, 1.0, 0.01, 0.0, 1.25, True, id="both on one CPU, the other's on one"),
        pytest.param(1.0, 1.0, 0.01, 0.5, 1.0, False, id="both tied to one CPU of an idle host"),
        pytest.param(8.0, 1.0, 0.01, 0.0, 8.0, False, id="many, for which all CPUs do not do"),
        pytest.param(0.7, 0.17, 0.17, 0.0, 0.7, False, id="keeps pace: that is latency"),
        pytest.param(1.0, NAN, NAN, 0.0, 1.0, False, id="not known"),
        pytest.param(1.0, 0.51, 0.51, NAN, 1.0, False, id="the host is not known"),
    ],
)
def test_who_waits_for_a_cpu_behind_others_would_use_more_whoever_these_are(
    used: float, some: float, full: float, idle: float, expected: float, is_censored: bool
) -> None:
    """As measured on two CPUs; what tenants use together does not tell that all are in use."""
    seen = usage(
        cores=[used],
        host_idle_fraction=idle,
        cpu_throttled_cores=[0.0],
        cpu_waited_fraction=[some],
        cpu_stalled_fraction=[full],
    )
    demand = cpu_demand(seen, ceiling=column(8), fair=column(2), capacity=100.0)
    assert demand.value == pytest.approx([expected], rel=0.01)
    assert demand.is_censored.tolist() == [is_censored]


def test_on_a_saturated_host_who_never_waits_is_not_guessed_to() -> None:
    """And who waits for a part that tells nothing, its threads sharing CPUs, still is."""
    seen = usage(
        cores=[3.0, 3.0, 1.9],
        cpu_throttled_cores=[0, 0, 0.5],
        cpu_waited_fraction=[0.01, 1.0, 0.9],
        cpu_stalled_fraction=[0.0, 0.0, 0.9],
    )
    demand = cpu_demand(seen, ceiling=column(8, 8, 8), fair=column(2, 2, 2), capacity=8.0)
    assert demand.is_censored.tolist() == [False, True, True]
    assert demand.value == pytest.approx([3.0, 3.75, 2.4]), "of a limit its throttling tells"


def test_unknowable_usage_is_unknowable_demand_and_no_sign_of_saturation() -> None:
    seen = usage(cores=[NAN, 1.0], cpu_throttled_cores=[NAN, NAN])
    demand = cpu_demand(seen, ceiling=column(8, 8), fair=column(1, 1), capacity=8.0)
    assert demand.value == pytest.approx([NAN, 1.0], nan_ok=True)
    assert not demand.is_censored.any()


@pytest.mark.parametrize(
    ("held_mib", "high_mib", "events", "expected_mib", "is_censored"),
    [
        pytest.param(100, 100, 3, 110, True, id="held back: probe upwards"),
        pytest.param(100, 100, 0, 100, False, id="full, but never held back"),
        pytest.param(50, 100, 3, 50, False, id="an event long before it shrank"),
        pytest.param(100, INF, 3, 100, False, id="no limit"),
        pytest.param(100, NAN, NAN, 100, False, id="unread"),
        pytest.param(1000, 1000, 1, 1024, True, id="up to the ceiling"),
    ],
)
def test_memory_demand(
    held_mib: float, high_mib: float, events: float, expected_mib: float, is_censored: bool
) -> None:
    seen = usage(cores=[0.0], memory_bytes=[held_mib * MIB], memory_high_events=[events])
    demand = memory_demand(seen, ceiling=column(1024 * MIB), high=column(high_mib * MIB))
    assert demand.value == pytest.approx([expected_mib * MIB])
    assert demand.is_censored.tolist() == [is_censored]


def test_unknowable_memory_is_unknowable_demand() -> None:
    seen = usage(cores=[0.0])
    assert np.isnan(memory_demand(seen, ceiling=column(MIB), high=column(INF)).value).all()


def rates(*used: float, limit: float = INF, ceiling: float = INF) -> Demand:
    """Return the demand of tenants of a disk that can do 100, of which each may have 25."""
    size = len(used)
    return rate_demand(
        column(*used),
        limit=np.full(size, limit),
        ceiling=np.full(size, ceiling),
        fair=np.full(size, 25.0),
        capacity=100.0,
    )


def test_what_a_disk_gives_below_any_limit_is_what_was_wanted() -> None:
    demand = rates(20.0, 40.0, 0.0, NAN)
    assert demand.value == pytest.approx([20, 40, 0, NAN], nan_ok=True)
    assert not demand.is_censored.any()


def test_usage_at_its_limit_is_a_lower_bound_and_demand_probes_upwards() -> None:
    demand = rates(38.0, 37.9, 0.0, limit=40.0)
    assert demand.is_censored.tolist() == [True, False, False]
    assert demand.value == pytest.approx([47.5, 37.9, 0.0])
    assert rates(40.0, limit=40.0, ceiling=42.0).value == pytest.approx([42.0])


def test_on_a_disk_that_gives_all_it_has_those_at_their_share_may_be_waiting() -> None:
    demand = rates(60.0, 24.0, 14.0)
    assert demand.is_censored.tolist() == [True, True, False]
    assert demand.value == pytest.approx([75.0, 30.0, 14.0])


def test_with_no_limit_and_nothing_used_nobody_is_held() -> None:
    assert not rates(0.0, 0.0, limit=0.0).is_censored.any()


def test_packets_that_wait_show_that_a_tenant_is_held_from_half_of_its_limit_on() -> None:
    demand = rate_demand(
        column(60.0, 60.0, 40.0),
        limit=column(100.0, 100.0, 100.0),
        ceiling=column(1e3, 1e3, 1e3),
        fair=column(1e3, 1e3, 1e3),
        capacity=1e4,
        is_queued=np.array([True, False, True]),
    )
    assert demand.is_censored.tolist() == [True, False, False]
    assert demand.value == pytest.approx([75.0, 60.0, 40.0])


DISK_WRITE, DISK_READ_OPS = Kind.DISK_WRITE, Kind.DISK_READ_OPS


def of_disk(
    used_mib: float, stalled: float, *, limit_mib: float = 8.0, elapsed_s: float = 1.0
) -> Demand:
    """Return the demand of one tenant for a disk of 100 MiB/s that is otherwise idle."""
    used, limit, ceiling = (column(one * MIB) for one in (used_mib, limit_mib, 100.0))
    least = reached(DISK_WRITE, limit, elapsed_s=elapsed_s)
    seen = rate_demand(used, limit=least, ceiling=ceiling, fair=ceiling, capacity=1e12)
    return waited(seen, used, column(stalled), limit=limit, ceiling=ceiling)


@pytest.mark.parametrize(
    ("used_mib", "stalled", "expected_mib", "is_held"),
    [
        pytest.param(8.0, NAN, 10.0, True, id="at the limit: probe upwards"),
        pytest.param(6.9, NAN, 8.625, True, id="a slice and a request may be missing"),
        pytest.param(6.0, NAN, 6.0, False, id="below that"),
        pytest.param(8.0, 0.9, 32.0, True, id="waited nearly all the time: four times at most"),
        pytest.param(8.0, 0.5, 16.0, True, id="waited half of the time"),
        pytest.param(8.0, 0.05, 8.0, False, id="at the limit, and hardly waited"),
        pytest.param(4.0, 0.9, 4.0, False, id="waited for something else"),
        pytest.param(0.0, NAN, 0.0, False, id="idle"),
        pytest.param(0.0, 0.0, 0.0, False, id="idle, and known to be"),
        pytest.param(NAN, 0.9, NAN, False, id="unknowable"),
    ],
)
def test_who_is_held_at_a_disks_limit_demands_more_by_how_long_it_waited(
    used_mib: float, stalled: float, expected_mib: float, *, is_held: bool
) -> None:
    demand = of_disk(used_mib, stalled)
    assert demand.value / MIB == pytest.approx([expected_mib], nan_ok=True)
    assert demand.is_censored.tolist() == [is_held]


def test_who_only_waits_at_a_small_limit_waits_for_one_large_request() -> None:
    """Its request is not counted before it is through, which takes longer than a tick."""
    demand = of_disk(0.0, 1.0, limit_mib=0.25)
    assert demand.is_censored.all()
    assert demand.value / MIB == pytest.approx([0.3125])
    assert of_disk(0.0, 1.0, limit_mib=64.0).value / MIB == pytest.approx([2.0])
    assert not of_disk(0.0, 1.0, limit_mib=INF).is_censored.any()


def test_only_a_disks_limit_may_be_reached_with_less() -> None:
    limit = column(100.0, INF)
    assert reached(Kind.NET_OUT, limit, elapsed_s=1.0).tolist() == [100, INF]
    assert reached(DISK_READ_OPS, limit, elapsed_s=0.5).tolist() == [78, INF]
    assert reached(DISK_READ_OPS, limit, elapsed_s=0.0).tolist() == [100, INF]


def test_memory_for_which_all_tasks_stand_still_is_too_little() -> None:
    seen = usage(
        cores=[0] * 3,
        memory_bytes=[100 * MIB, 100 * MIB, 50 * MIB],
        memory_high_events=[0, 0, 0],
        memory_stalled_fraction=[0.5, 0.05, 0.5],
    )
    demand = memory_demand(seen, ceiling=column(1, 1, 1) * 1e12, high=column(100, 100, 100) * MIB)
    assert demand.is_censored.tolist() == [True, False, False]
