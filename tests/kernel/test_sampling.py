"""What the sampler says of cgroups that work, vanish, come back or lack a controller."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tenants import (
    HOLD_ANON,
    MIB,
    READ_DISK,
    SPIN,
    cpu_used_s,
    living_in,
    order,
    scratch_disk,
    tell,
    wait_until,
)

from enforce.columns import HostSample
from enforce.made import ensure
from enforce.sampler import Sampler

pytestmark = pytest.mark.kernel

NAMES = ("a", "b", "c")


@pytest.fixture
def sampler(cgroup_root: Path) -> Iterator[Sampler]:
    assert ensure(cgroup_root, NAMES) == {}
    sampler = Sampler(cgroup_root, NAMES, slow_every=1)
    yield sampler
    sampler.close()


def read(sampler: Sampler) -> HostSample:
    return sampler.read(time.monotonic())


def was_throttled(tenant: Path) -> bool:
    return "\nthrottled_usec 0\n" not in (tenant / "cpu.stat").read_text()


def test_counters_and_limits_are_those_in_the_files(sampler: Sampler, cgroup_root: Path) -> None:
    tenant = cgroup_root / "b"
    (tenant / "cpu.max").write_text("20000 100000")
    (tenant / "cpu.weight").write_text("250")
    (tenant / "memory.high").write_text(str(900 * MIB))
    (tenant / "memory.low").write_text(str(30 * MIB))
    with living_in(tenant, SPIN):
        wait_until(lambda: cpu_used_s(tenant) > 0.1 and was_throttled(tenant))
        sample = read(sampler)
    assert sample.cgroup_id[1] == tenant.stat().st_ino
    assert sample.cpu_usage_us[1] > 100_000
    assert sample.cpu_throttled_periods[1] > 0
    assert sample.cpu_throttled_us[1] > 0
    assert sample.memory_current_bytes[1] > 0
    assert sample.in_force.cpu_max_cores.tolist() == [np.inf, 0.2, np.inf]
    assert sample.in_force.cpu_weight.tolist() == [100, 250, 100]
    assert sample.in_force.memory_high_bytes.tolist() == [np.inf, 900 * MIB, np.inf]
    assert sample.in_force.memory_low_bytes.tolist() == [0, 30 * MIB, 0]
    assert sample.cpu_usage_us[0] == sample.cpu_usage_us[2] == 0
    assert sample.io_read_bytes.tolist()[::2] == [0, 0]


def test_bytes_read_from_disk_are_counted(
    sampler: Sampler, cgroup_root: Path, tmp_path: Path
) -> None:
    with living_in(cgroup_root / "c", READ_DISK, scratch_disk(tmp_path)) as process:
        before = read(sampler)
        order(process, 32)
        after = read(sampler)
    assert after.io_read_bytes[2] - before.io_read_bytes[2] >= 32 * MIB
    assert after.io_read_ops[2] > before.io_read_ops[2]


def test_bytes_read_are_counted_for_the_disk_that_they_came_from(cgroup_root: Path) -> None:
    device = os.environ.get("LAB_DISK")
    if not device:
        pytest.skip("LAB_DISK names no disk that nobody else reads")
    assert ensure(cgroup_root, NAMES) == {}
    sampler = Sampler(cgroup_root, NAMES, disks=(Path(device).name, "no-such-disk"))
    with living_in(cgroup_root / "c", READ_DISK, device) as process:
        before = read(sampler)
        order(process, 32)
        after = read(sampler)
    sampler.close()
    read_bytes = after.disks.read_bytes - before.disks.read_bytes
    assert read_bytes[0].tolist()[:2] == [0, 0]
    assert read_bytes[0, 2] == after.io_read_bytes[2] - before.io_read_bytes[2] >= 32 * MIB
    assert np.isnan(read_bytes[1]).all()


def test_unreclaimable_memory_follows_what_is_held(sampler: Sampler, cgroup_root: Path) -> None:
    with living_in(cgroup_root / "a", HOLD_ANON) as process:
        order(process, 64)
        held = read(sampler).memory_unreclaimable_bytes[0]
    assert 64 * MIB <= held <= 76 * MIB


def test_events_are_counted_when_the_kernel_signals_them(
    sampler: Sampler, cgroup_root: Path, tmp_path: Path
) -> None:
    assert read(sampler).memory_high_events.tolist() == [0, 0, 0]
    (cgroup_root / "a" / "memory.high").write_text(str(32 * MIB))
    with living_in(cgroup_root / "a", READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, 64)
        wait_until(lambda: read(sampler).memory_high_events[0] > 0)
    # Nothing happens from here on: the last count stays.
    assert read(sampler).memory_high_events[0] > 0
    assert read(sampler).memory_high_events.tolist()[1:] == [0, 0]


@pytest.fixture
def no_watches() -> Iterator[None]:
    """Have the kernel give out no more watches of files, nor of folders."""
    limits = [Path(f"/proc/sys/fs/{of}/max_user_watches") for of in ("epoll", "inotify")]
    before = [limit.read_text() for limit in limits]
    for limit in limits:
        limit.write_text("0")
    yield
    for limit, text in zip(limits, before, strict=True):
        limit.write_text(text)


@pytest.mark.usefixtures("no_watches")
def test_where_no_watch_is_left_what_it_would_tell_is_read_each_time(
    cgroup_root: Path, tmp_path: Path
) -> None:
    assert ensure(cgroup_root, NAMES) == {}
    with closing(Sampler(cgroup_root, NAMES, slow_every=1000)) as sampler:
        assert read(sampler).memory_high_events.tolist() == [0, 0, 0]
        (cgroup_root / "b" / "cpu.weight").write_text("7")
        (cgroup_root / "a" / "memory.high").write_text(str(32 * MIB))
        with living_in(cgroup_root / "a", READ_DISK, scratch_disk(tmp_path)) as process:
            order(process, 64)
            wait_until(lambda: read(sampler).memory_high_events[0] > 0)
        assert read(sampler).in_force.cpu_weight.tolist() == [100, 7, 100]


def test_a_limit_further_down_is_not_mistaken_for_the_tenants_own(
    sampler: Sampler, cgroup_root: Path, tmp_path: Path
) -> None:
    (cgroup_root / "a" / "cgroup.subtree_control").write_text("+memory")
    child = cgroup_root / "a" / "child"
    child.mkdir()
    (child / "memory.high").write_text(str(32 * MIB))
    with living_in(child, READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, 64)
        assert "high 0" not in (child / "memory.events").read_text()
        assert read(sampler).memory_high_events[0] == 0


def test_kills_are_counted_wherever_the_process_lived(sampler: Sampler, cgroup_root: Path) -> None:
    (cgroup_root / "b" / "cgroup.subtree_control").write_text("+memory")
    child = cgroup_root / "b" / "child"
    child.mkdir()
    (cgroup_root / "b" / "memory.max").write_text(str(48 * MIB))
    with living_in(child, HOLD_ANON) as process:
        tell(process, 64)
        wait_until(lambda: read(sampler).memory_oom_kills[1] == 1)


def test_a_vanished_cgroup_is_unknowable_and_stops_no_other(
    sampler: Sampler, cgroup_root: Path
) -> None:
    read(sampler)
    (cgroup_root / "b").rmdir()
    sample = read(sampler)
    assert (sample.cgroup_id != 0).tolist() == [True, False, True]
    assert np.isnan(sample.cpu_usage_us).tolist() == [False, True, False]
    assert np.isnan(sample.in_force.memory_high_bytes).tolist() == [False, True, False]
    assert np.isnan(sample.memory_unreclaimable_bytes).tolist() == [False, True, False]
    assert np.isnan(sample.memory_high_events).tolist() == [False, True, False]
    assert np.isnan(sample.memory_oom_kills).tolist() == [False, True, False]


def test_a_recreated_cgroup_is_another_one_with_counters_from_zero(
    sampler: Sampler, cgroup_root: Path
) -> None:
    tenant = cgroup_root / "b"
    with living_in(tenant, SPIN):
        time.sleep(1.0)
        before = read(sampler)
    tenant.rmdir()
    tenant.mkdir()
    after = read(sampler)
    assert before.cpu_usage_us[1] > 0
    assert after.cgroup_id[1] == tenant.stat().st_ino != before.cgroup_id[1]
    assert after.cpu_usage_us[1] == 0
    assert after.in_force.cpu_weight[1] == 100
    assert after.memory_high_events[1] == 0


def test_a_cgroup_that_comes_back_later_is_found(sampler: Sampler, cgroup_root: Path) -> None:
    (cgroup_root / "b").rmdir()
    assert read(sampler).cgroup_id[1] == 0
    assert read(sampler).cgroup_id[1] == 0
    (cgroup_root / "b").mkdir()
    sample = read(sampler)
    assert sample.cgroup_id[1] == (cgroup_root / "b").stat().st_ino
    assert sample.cpu_usage_us[1] == 0


def test_a_missing_controller_is_unknowable_until_it_is_there(
    sampler: Sampler, cgroup_root: Path
) -> None:
    control = cgroup_root / "cgroup.subtree_control"
    read(sampler)
    control.write_text("-memory -cpu")
    without = read(sampler)
    assert (without.cgroup_id != 0).all()
    assert np.isnan(without.memory_current_bytes).all()
    assert np.isnan(without.in_force.cpu_max_cores).all()
    assert np.isnan(without.cpu_throttled_us).all()
    assert (without.cpu_usage_us == 0).all(), "usage is counted without the controller too"
    control.write_text("+memory +cpu")
    back = read(sampler)
    assert (back.memory_current_bytes == 0).all()
    assert np.isinf(back.in_force.cpu_max_cores).all()
    assert (back.cpu_throttled_us == 0).all()


def test_no_descriptor_is_lost_when_cgroups_come_and_go(
    sampler: Sampler, cgroup_root: Path
) -> None:
    read(sampler)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        (cgroup_root / "b").rmdir()
        read(sampler)
        (cgroup_root / "b").mkdir()
        read(sampler)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_has_a_process_is_what_the_kernel_says(sampler: Sampler, cgroup_root: Path) -> None:
    assert read(sampler).populated.tolist() == [0, 0, 0]
    inner = cgroup_root / "c" / "further-down"
    inner.mkdir()
    with living_in(cgroup_root / "a", HOLD_ANON), living_in(inner, HOLD_ANON):
        read(sampler)  # what they used to start counts as a sign of life
        assert read(sampler).populated.tolist() == [1, 0, 1]
    read(sampler)  # and so does what they used to end
    assert read(sampler).populated.tolist() == [0, 0, 0]
