"""agent.usage: rates between two samples, and what is unknowable."""

from dataclasses import replace

import numpy as np
import pytest
from samples import NAN, column, limits, sample

from agent.tenant import Kind, Resource
from agent.usage import is_queued, measured, rearranged, usage_between
from enforce.columns import DiskColumns, NetColumns


def test_rates_are_differences_over_the_time_between() -> None:
    earlier = sample(10.0, cpu_usage_us=[1e6], cpu_throttled_us=[0], memory_current_bytes=[5])
    later = sample(12.0, cpu_usage_us=[4e6], cpu_throttled_us=[1e6], memory_current_bytes=[7])
    usage = usage_between(earlier, later)
    assert usage.elapsed_s == 2.0
    assert usage.cpu_cores == pytest.approx([1.5])
    assert usage.cpu_throttled_cores == pytest.approx([0.5])
    assert usage.memory_bytes == pytest.approx([7])


def test_throttling_is_a_share_of_the_periods_that_passed() -> None:
    earlier = sample(0.0, cgroup_id=(1, 2), cpu_periods=[10, 10], cpu_throttled_periods=[0, 0])
    later = sample(1.0, cgroup_id=(1, 2), cpu_periods=[20, 10], cpu_throttled_periods=[4, 0])
    fraction = usage_between(earlier, later).cpu_throttled_fraction
    assert fraction == pytest.approx([0.4, NAN], nan_ok=True)


@pytest.mark.parametrize(
    ("ids", "counters"),
    [
        pytest.param((1, 2), (5e6, 9e6), id="recreated"),
        pytest.param((1, 1), (5e6, 4e6), id="backwards"),
        pytest.param((0, 1), (NAN, 9e6), id="new"),
        pytest.param((1, 1), (NAN, 9e6), id="unread before"),
        pytest.param((1, 1), (5e6, NAN), id="unread now"),
        pytest.param((0, 0), (5e6, 9e6), id="absent"),
    ],
)
def test_what_two_samples_cannot_tell_is_a_gap_and_never_a_spike(
    ids: tuple[int, int], counters: tuple[float, float]
) -> None:
    earlier = sample(0.0, cgroup_id=ids[:1], cpu_usage_us=counters[:1])
    later = sample(1.0, cgroup_id=ids[1:], cpu_usage_us=counters[1:])
    usage = usage_between(earlier, later)
    assert np.isnan(usage.cpu_cores).all()
    assert usage.is_present.tolist() == [ids[1] != 0]


@pytest.mark.parametrize("elapsed_s", [0.0, -1.0])
def test_without_time_between_there_are_no_rates(elapsed_s: float) -> None:
    earlier = sample(5.0, cpu_usage_us=[1.0])
    later = replace(earlier, taken_at_s=5.0 + elapsed_s)
    assert np.isnan(usage_between(earlier, later).cpu_cores).all()


def disks(*read_bytes: tuple[float, ...], names: tuple[str, ...] = ("sda", "sdb")) -> DiskColumns:
    """Return counters of which all four are alike: a row a disk, a number a tenant."""
    table = np.array(read_bytes, dtype=np.float64)
    return DiskColumns(names, table, table, table, table)


def test_each_disk_and_all_together_have_rates_of_their_own() -> None:
    ids = (1, 2)
    earlier = sample(0.0, cgroup_id=ids, io_write_ops=[0, 5], disks=disks((1, 2), (3, 4)))
    later = sample(2.0, cgroup_id=ids, io_write_ops=[8, 1], disks=disks((5, 2), (3, NAN)))
    usage = usage_between(earlier, later)
    assert usage.io_write_ops_per_s == pytest.approx([4.0, NAN], nan_ok=True)
    rates = [[2.0, 0.0], [0.0, NAN]]
    each = usage.disks_per_s
    for quantity in (each.read_bytes, each.write_bytes, each.read_ops, each.write_ops):
        np.testing.assert_array_equal(quantity, rates)
    assert np.isnan(usage.net_out_bytes_per_s).all()
    assert np.isnan(usage.requests_per_s).all()


def test_disks_that_were_not_told_apart_before_have_no_rates_yet() -> None:
    earlier = sample(0.0, disks=disks((1,), (2,), names=("sdb", "sda")))
    later = sample(1.0, disks=disks((1,), (2,)))
    assert np.isnan(usage_between(earlier, later).disks_per_s.read_bytes).all()


def test_disks_follow_their_tenants_into_a_new_roster() -> None:
    before = sample(0.0, cgroup_id=(1, 2), disks=disks((1, 2), (3, 4)))
    after = rearranged(before, np.array([1, -1]))
    np.testing.assert_array_equal(after.disks.write_ops, [[2, NAN], [4, NAN]])


def test_a_sample_follows_its_tenants_into_a_new_roster() -> None:
    before = sample(
        3.0,
        cgroup_id=(11, 12),
        cpu_usage_us=[1.0, 2.0],
        in_force=limits(2, cpu_max_cores=[0.5, 1.0]),
    )
    after = rearranged(before, np.array([1, -1, 0]))
    assert after.taken_at_s == 3.0
    assert after.cgroup_id.tolist() == [12, 0, 11]
    assert after.cpu_usage_us == pytest.approx(column(2.0, NAN, 1.0), nan_ok=True)
    assert after.in_force.cpu_max_cores == pytest.approx(column(1.0, NAN, 0.5), nan_ok=True)


def network(*names: str, sent: float, waiting: float, dropped: float) -> NetColumns:
    """Return the columns of uplinks with the same counts, of two tenants."""
    columns = NetColumns.unknown(names, 2)
    columns.out_bytes[:] = sent
    columns.out_backlog_bytes[:, 0] = waiting
    columns.out_dropped_packets[:] = dropped
    return columns


def test_of_each_uplink_counters_become_rates_and_what_waits_stays_as_it_is() -> None:
    earlier = replace(
        sample(0.0, cgroup_id=(1, 2)), network=network("a", "b", sent=1e3, waiting=9, dropped=3)
    )
    later = replace(
        sample(2.0, cgroup_id=(1, 5)), network=network("a", "b", sent=5e3, waiting=7, dropped=3)
    )
    seen = usage_between(earlier, later)
    out, unnamed = Resource(Kind.NET_OUT, "b"), Resource(Kind.NET_OUT, "c")
    assert measured(out, seen) == pytest.approx([2e3, NAN], nan_ok=True)  # one was made anew
    assert np.isnan(measured(unnamed, seen)).all()
    assert is_queued(out, seen).tolist() == [True, False]
    assert not is_queued(Resource(Kind.NET_OUT), seen).any()
    moved = replace(later, network=network("b", sent=9e3, waiting=0, dropped=3))
    assert np.isnan(measured(out, usage_between(later, moved))).all()  # others were told apart
    swapped = rearranged(later, np.array([1, 0, -1])).network
    assert swapped.out_backlog_bytes == pytest.approx(
        np.array([[NAN, 7, NAN], [NAN, 7, NAN]]), nan_ok=True
    )


def test_the_part_of_the_time_that_a_tenant_waited_is_known_between_two_answers_only() -> None:
    before = sample(
        1.0, cgroup_id=[1] * 3, io_stalled_us=[0, 5, NAN], io_stalled_at_us=[10, 10, NAN]
    )
    after = sample(9.0, cgroup_id=[1] * 3, io_stalled_us=[3, 5, 5], io_stalled_at_us=[20, 10, 20])
    found = usage_between(before, after).io_stalled_fraction
    assert found == pytest.approx(column(0.3, NAN, NAN), nan_ok=True)
    assert np.isnan(usage_between(before, after).memory_stalled_fraction).all()
