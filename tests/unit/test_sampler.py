"""The sampler on plain directories: what it does when the kernel's files are not as expected."""

import errno
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from enforce.columns import COUNTERS, LIMITED_BY, Control
from enforce.elsewhere import Elsewhere
from enforce.places import Places
from enforce.sampler import LIMITS_EVERY, Sampler

CPU = "usage_usec {0}\nuser_usec 1\nsystem_usec 1\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n"
FILES = {
    "cpu.stat": CPU.format(1000),
    "memory.current": "4096\n",
    "io.stat": "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n",
    "cpu.max": "max 100000\n",
    "memory.high": "max\n",
    "memory.events": "low 0\nhigh 7\noom 0\noom_kill 1\n",
    "memory.events.local": "low 0\nhigh 4\noom 0\noom_kill 0\n",
    "cpu.weight": "100\n",
    "memory.low": "0\n",
    "memory.max": "max\n",
    "cgroup.events": "populated 1\nfrozen 0\n",
    "memory.stat": "anon 100\nshmem 0\ninactive_anon 100\nactive_anon 0\nunevictable 0\n",
}


STALLS = (
    *(f"{what}_stalled{of}_us" for what in ("cpu", "memory", "io") for of in ("", "_at")),
    "cpu_waited_us",
)
UNCOUNTED = ("net_out_bytes", "net_in_bytes", "requests", *STALLS)  # no file says


def make(root: Path, *names: str, **changed: str) -> None:
    for name in names:
        (root / name).mkdir(exist_ok=True)
        for file, text in (FILES | changed).items():
            (root / name / file).write_text(text)


def test_all_columns_are_filled_from_their_files(tmp_path: Path) -> None:
    make(tmp_path, "a")
    sampler = Sampler(tmp_path, ["a"])
    sample = sampler.read(5.0)
    sampler.close()
    assert sample.taken_at_s == 5.0
    assert sample.vitals.memory_total_bytes == psutil.virtual_memory().total
    assert sample.cgroup_id[0] == (tmp_path / "a").stat().st_ino
    assert sample.cpu_usage_us[0] == 1000
    assert (sample.cpu_periods[0], sample.cpu_throttled_periods[0]) == (5, 2)
    assert sample.cpu_throttled_us[0] == 9
    assert sample.memory_current_bytes[0] == 4096
    assert (sample.memory_high_events[0], sample.memory_oom_kills[0]) == (4, 1)
    assert sample.memory_unreclaimable_bytes[0] == 100
    assert sample.populated[0] == 1
    assert (sample.io_read_bytes[0], sample.io_write_bytes[0]) == (1, 2)
    assert (sample.io_read_ops[0], sample.io_write_ops[0]) == (3, 4)
    assert sample.in_force.cpu_max_cores[0] == np.inf
    assert sample.in_force.cpu_weight[0] == 100
    assert sample.in_force.memory_high_bytes[0] == np.inf
    assert sample.in_force.memory_low_bytes[0] == 0
    for name in UNCOUNTED:
        assert np.isnan(getattr(sample, name)[0]), name


def test_disks_are_told_apart_and_one_that_is_not_there_is_unknown(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / "a" / "io.max").write_text("254:0 rbps=7 wbps=max riops=max wiops=50\n")
    (tmp_path / "b" / "io.max").write_text("8:16 rbps=9 wbps=9 riops=9 wiops=9\n")
    (tmp_path / "b" / "io.stat").write_text("8:0 rbytes=9 wbytes=9 rios=9 wios=9 dbytes=0 dios=0\n")
    numbers = {"vda": (254, 0)}
    disks = ("vdb", "vda")
    sampler = Sampler(tmp_path, ["a", "b", "absent"], disks=disks)
    sampler.disks.number_of = numbers.get
    sample = sampler.read(5.0)
    numbers["vdb"] = (8, 0)  # comes
    after = sampler.read(6.0)
    sampler.close()
    counted, limited = sample.disks, sample.disk_limits
    assert counted.names == limited.names == disks
    limits = (7, np.inf, np.inf, 50)
    for place, name in enumerate(LIMITED_BY.values()):
        assert np.isnan(getattr(counted, name)[0]).all()
        assert np.isnan(getattr(limited, name)[0]).all()
        np.testing.assert_array_equal(getattr(counted, name)[1], [place + 1, 0, np.nan])
        np.testing.assert_array_equal(getattr(limited, name)[1], [limits[place], np.inf, np.nan])
    np.testing.assert_array_equal(after.disks.read_bytes[0], [0, 9, np.nan])
    np.testing.assert_array_equal(after.disk_limits.write_ops[0], [np.inf, np.inf, np.nan])


def test_files_that_come_to_a_cgroup_elsewhere_with_their_controller_are_read(
    tmp_path: Path,
) -> None:
    make(tmp_path, "acme.service", "pod")
    names = ["acme.service", "pod"]
    elsewhere = {name: Elsewhere(cgroup=name) for name in names}
    places = Places(tmp_path / "root", names, elsewhere, mount=tmp_path)
    text = "254:0 rbps=7 wbps=max riops=max wiops=50\n"
    (tmp_path / "pod" / "io.max").write_text(text)
    sampler = Sampler(places.root, names, disks=("vda",), places=places)
    sampler.disks.number_of = {"vda": (254, 0)}.get
    limits = sampler.read(0.0).disk_limits
    (tmp_path / "acme.service" / "io.max").write_text(text)
    again = sampler.read(1.0)
    after = sampler.read(2.0)
    sampler.close()
    np.testing.assert_array_equal(limits.read_bytes, [[np.nan, 7]])
    np.testing.assert_array_equal(again.disk_limits.read_bytes, [[7, 7]])
    assert (set(again.anew), set(after.anew)) == ({0}, set())


@pytest.mark.parametrize("file", sorted(FILES))
def test_one_missing_file_makes_its_own_columns_unknowable_for_one_tenant(
    tmp_path: Path, file: str
) -> None:
    make(tmp_path, "a", "b", "c")
    (tmp_path / "b" / file).unlink()
    sampler = Sampler(tmp_path, ["a", "b", "c"])
    sample = sampler.read(0.0)
    sampler.close()
    counters = [getattr(sample, name) for name in COUNTERS if name not in UNCOUNTED]
    columns = [*counters, *(sample.in_force.of(control) for control in Control)]
    unknowable = np.isnan(np.stack(columns))
    assert unknowable[:, 1].any()
    assert not unknowable[:, [0, 2]].any()
    assert (unknowable[:, 1].sum() == 4) == (file in ("cpu.stat", "io.stat"))


@pytest.mark.parametrize("text", ["", "garbage\n", "usage_usec\n", "usage_usec -5\n", "\0\0"])
def test_a_damaged_file_is_unknowable_and_stops_no_other(tmp_path: Path, text: str) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / "b" / "cpu.stat").write_text(text)
    (tmp_path / "b" / "memory.current").write_text(text)
    sampler = Sampler(tmp_path, ["a", "b"])
    sample = sampler.read(0.0)
    sampler.close()
    np.testing.assert_array_equal(sample.cpu_usage_us, [1000, np.nan])
    np.testing.assert_array_equal(sample.memory_current_bytes, [4096, np.nan])


def test_names_that_lead_out_of_the_root_are_never_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(tmp_path, "outside")
    make(root, "inside")
    (root / "link").symlink_to(tmp_path / "outside")
    names = ["../outside", "..", ".", "", "link", "in\0side", "inside/../../outside", "inside"]
    sampler = Sampler(root, names)
    sample = sampler.read(0.0)
    sampler.close()
    assert np.flatnonzero(sample.cgroup_id).tolist() == [len(names) - 1]


def test_a_root_that_is_not_there_yet_is_looked_for_again(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path / "root", ["a"])
    assert sampler.read(0.0).cgroup_id.tolist() == [0]
    (tmp_path / "root").mkdir()
    make(tmp_path / "root", "a")
    assert sampler.read(1.0).cpu_usage_us.tolist() == [1000]
    sampler.close()


def test_slow_columns_follow_in_turn_and_all_come_with_the_first_read(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    make(tmp_path, *names)
    sampler = Sampler(tmp_path, names, slow_every=2)
    assert sampler.read(0.0).in_force.cpu_weight.tolist() == [100] * 4
    stat = FILES["memory.stat"].replace("anon 100", "anon 200")
    make(tmp_path, *names, **{"memory.stat": stat, "memory.high": "8192\n"})
    second, third = sampler.read(1.0), sampler.read(2.0)
    sampler.close()
    assert second.in_force.memory_high_bytes.tolist() == [8192] * 4, "read each time"
    assert second.memory_unreclaimable_bytes.tolist() == [100, 200, 100, 200]
    assert third.memory_unreclaimable_bytes.tolist() == [200] * 4


@pytest.mark.parametrize("file", ["cpu.weight", "memory.low"])
@pytest.mark.parametrize("is_watched", [True, False])
def test_a_limit_that_anybody_wrote_is_read_with_the_next_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, is_watched: bool
) -> None:
    """Also where the kernel has no watch left: then these files are read each time."""
    if not is_watched:
        monkeypatch.setattr("enforce.writes._IN_ONLYDIR", -1)  # the kernel refuses such a watch
    names = ["a", "b", "c", "d"]
    make(tmp_path, *names)
    sampler = Sampler(tmp_path, names, slow_every=4)
    for number in range(6):
        place = (number + 2) % len(names)  # not whose turn it is
        (tmp_path / names[place] / file).write_text(f"{200 + number}\n")
        assert sampler.read(float(number)).in_force.of(Control(file))[place] == 200 + number
    sampler.close()


def test_a_limit_of_whose_change_the_kernel_did_not_tell_is_read_in_its_turn(
    tmp_path: Path,
) -> None:
    names = ["a", "b"]
    make(tmp_path, *names)
    with closing(Sampler(tmp_path, names, slow_every=2)) as sampler:
        sampler.read(0.0)
        for name in names:
            (tmp_path / "new").write_text("7\n")
            (tmp_path / "new").replace(tmp_path / name / "cpu.weight")  # which is no write to it
        reads = 2 * LIMITS_EVERY
        found = [sampler.read(float(n)).in_force.cpu_weight.tolist() for n in range(1, reads + 1)]
    assert found == [[100, 7]] * (reads - 1) + [[7, 7]]


def test_files_that_were_opened_anew_are_told(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    sampler = Sampler(tmp_path, ["a", "b"])
    assert sampler.read(0.0).anew == {0, 1}
    assert sampler.read(1.0).anew == frozenset()
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    make(tmp_path, "b")
    assert sampler.read(2.0).anew == {0, 1}
    sampler.close()


def test_who_has_a_process_is_asked_in_turn_where_no_cpu_was_used_since(tmp_path: Path) -> None:
    names = ["busy", "idle", "empty", "later"]
    make(tmp_path, *names)
    make(tmp_path, "empty", **{"cgroup.events": "populated 0\nfrozen 0\n"})
    sampler = Sampler(tmp_path, names, slow_every=4)
    assert sampler.read(0.0).populated.tolist() == [1, 1, 0, 1]
    nobody = {"cgroup.events": "populated 0\nfrozen 0\n"}
    make(tmp_path, "busy", **{"cpu.stat": CPU.format(2000)}, **nobody)
    make(tmp_path, "empty")
    make(tmp_path, "later", **nobody)
    found = [sampler.read(float(tick)).populated.tolist() for tick in (1, 2, 3)]
    assert found == [[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert sampler.read(4.0).populated[0] == 1, "it used cpu before its turn"
    for tick in range(5, 8):
        sampler.read(float(tick))
    assert sampler.read(8.0).populated.tolist() == [0, 1, 1, 0]
    sampler.close()


@pytest.mark.parametrize(
    ("missing", "is_read"),
    [
        pytest.param({4: 0.04, 9: 0.2}, [1, 4], id="who is close to it"),
        pytest.param(
            {number: -number for number in range(100)}, [1, *range(36, 100)], id="not too many"
        ),
    ],
)
def test_what_is_unreclaimable_is_read_each_time_of_who_may_be_held_up_by_memory_high(
    tmp_path: Path, missing: dict[int, float], is_read: Sequence[int]
) -> None:
    """All hold 4096 bytes; `missing` is to memory.high, as a part of it.  It is t001's turn."""
    names = [f"t{number:03}" for number in range(100)]
    make(tmp_path, *names)
    sampler = Sampler(tmp_path, names, slow_every=1000)
    sampler.read(0.0)
    stat = FILES["memory.stat"].replace("100", "300")
    for number, name in enumerate(names):
        high = f"{round(4096 / (1 - missing[number]))}\n" if number in missing else "max\n"
        make(tmp_path, name, **{"memory.stat": stat, "memory.high": high})
    found = sampler.read(1.0).memory_unreclaimable_bytes == 300
    sampler.close()
    assert np.flatnonzero(found).tolist() == list(is_read)


def test_tenants_beyond_the_limit_of_open_files_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number:02}" for number in range(40)]
    make(tmp_path, *names)
    monkeypatch.setattr("enforce.sampler.raise_open_files_limit", lambda _: 368 + 3 * 7)
    before = len(list(Path("/proc/self/fd").iterdir()))
    sampler = Sampler(tmp_path, names, slow_every=1)
    first = sampler.read(0.0)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 3 * 7 + 3
    make(tmp_path, "t39", **{"cpu.stat": CPU.format(2000), "cpu.weight": "7\n"})
    shutil.rmtree(tmp_path / "t38")
    second = sampler.read(1.0)
    make(tmp_path, "t38")
    (tmp_path / "t37").rename(tmp_path / "former")
    make(tmp_path, "t37")
    third = sampler.read(2.0)
    sampler.close()
    assert (first.cpu_usage_us == 1000).all()
    assert (first.memory_oom_kills == 1).all()
    assert second.cpu_usage_us[39] == 2000
    assert second.in_force.cpu_weight[39] == 7
    assert np.isnan(second.cpu_usage_us[38])
    assert np.isnan(second.memory_oom_kills[38])
    assert (second.cgroup_id[37], second.cgroup_id[38]) == (first.cgroup_id[37], 0)
    assert third.cpu_usage_us[38] == 1000
    assert third.cgroup_id[37] == (tmp_path / "t37").stat().st_ino != first.cgroup_id[37]
    assert third.cgroup_id[38] == (tmp_path / "t38").stat().st_ino


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_who_got_no_descriptor_for_a_file_is_not_taken_for_one_without_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Its limit could not be read, and so not be raised, for as long as its cgroup is there."""
    make(tmp_path, "a", "b")
    opened, failing = os.open, iter(["memory.high"])

    def once(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if path == "memory.high" and next(failing, None):
            raise OSError(code, os.strerror(code))
        return opened(path, flags, *args, **more)

    monkeypatch.setattr("enforce.descriptors.os.open", once)
    with closing(Sampler(tmp_path, ["a", "b"])) as sampler:
        before = len(list(Path("/proc/self/fd").iterdir()))
        first, second = sampler.read(0.0), sampler.read(1.0)
        kept = len(list(Path("/proc/self/fd").iterdir())) - before
    assert sorted(first.cgroup_id > 0) == [False, True]
    assert (np.isnan(first.in_force.memory_high_bytes) == (first.cgroup_id == 0)).all()
    assert (second.in_force.memory_high_bytes == np.inf).all()
    assert (second.memory_high_events == 4).all()
    assert kept == 2 * 8


def test_a_limit_that_cannot_be_read_for_once_stands_and_is_read_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown until its turn it would count as no promise, and all others' would be cut."""
    make(tmp_path, "a", "b", **{"memory.low": "4096\n"})
    opened = os.open

    def fails(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if path == "memory.low":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(path, flags, *args, **more)

    with closing(Sampler(tmp_path, ["a", "b"], slow_every=1)) as sampler:
        sampler.read(0.0)
        make(tmp_path, "a", **{"memory.low": "8192\n"})  # which the kernel tells of
        monkeypatch.setattr("enforce.descriptors.os.open", fails)
        while_failing = [sampler.read(1.0 + tick).in_force.memory_low_bytes for tick in range(3)]
        monkeypatch.undo()
        after = sampler.read(9.0).in_force.memory_low_bytes
    assert [row.tolist() for row in while_failing] == [[4096, 4096]] * 3
    assert after.tolist() == [8192, 4096]


def test_a_sample_is_not_changed_by_the_next_one(tmp_path: Path) -> None:
    make(tmp_path, "a")
    sampler = Sampler(tmp_path, ["a"], slow_every=1)
    first = sampler.read(0.0)
    make(tmp_path, "a", **{"cpu.stat": CPU.format(2000), "cpu.weight": "7\n"})
    second = sampler.read(1.0)
    sampler.close()
    assert (first.cpu_usage_us[0], second.cpu_usage_us[0]) == (1000, 2000)
    assert (first.in_force.cpu_weight[0], second.in_force.cpu_weight[0]) == (100, 7)


def test_closing_lets_go_of_every_descriptor(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are wanted
    sampler = Sampler(tmp_path, ["a", "b", "absent"])
    sampler.read(0.0)
    sampler.close()
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_how_long_tenants_wait_is_read_of_those_close_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says when that was: who is not asked each time has no rate."""
    monkeypatch.setattr("enforce.sampler._PRESSURE", tmp_path)
    pressure = "some avg10=0.00 total=50\nfull avg10=0.00 total={}\n"
    make(tmp_path, "a", "b", **{"memory.pressure": pressure.format(9), "io.pressure": pressure})
    (tmp_path / "a" / "memory.high").write_text("4096\n")
    (tmp_path / "b" / "io.max").write_text("254:0 rbps=300000 wbps=max riops=max wiops=max\n")
    with closing(Sampler(tmp_path, ["a", "b"], disks=("vda",), slow_every=1)) as sampler:
        sampler.disks.number_of = {"vda": (254, 0)}.get
        began_us = time.monotonic() * 1e6
        sample = sampler.read(1.0)
    np.testing.assert_array_equal(sample.memory_stalled_us, [9, np.nan])
    np.testing.assert_array_equal(sample.io_stalled_us, [np.nan, 50])
    assert began_us <= sample.memory_stalled_at_us[0] <= sample.io_stalled_at_us[1]
    assert np.isnan(sample.memory_stalled_at_us[1])


def test_how_long_tenants_wait_for_a_cpu_is_read_of_those_who_use_some_while_it_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, text = tmp_path / "host", "some avg10=0.00 total={}\nfull avg10=0.00 total={}\n"
    monkeypatch.setattr("enforce.sampler._PRESSURE", tmp_path)
    monkeypatch.setattr("enforce.waiting._HOST", str(host))
    make(tmp_path, "busy", "idle")
    names, found = ["busy", "idle"], []
    with closing(Sampler(tmp_path, names)) as sampler:
        for tick, waited_us in enumerate((0, 10_000, 100_000, 400_000)):
            host.write_text(text.format(waited_us, 0))
            for name in names:
                (tmp_path / name / "cpu.pressure").write_text(text.format(70 + tick, 30 + tick))
            used = {"busy": 500_000 * tick, "idle": 9_000 * tick}
            for name, used_us in used.items():
                (tmp_path / name / "cpu.stat").write_text(CPU.format(used_us))
            found.append(sampler.read(float(tick)))
    waited = np.array([one.cpu_waited_us for one in found])
    stalled = np.array([one.cpu_stalled_us for one in found])
    np.testing.assert_array_equal(waited[:, 0], [np.nan, np.nan, 72, 73])
    np.testing.assert_array_equal(stalled[:, 0], [np.nan, np.nan, 32, 33])
    assert np.isnan([waited[:, 1], stalled[:, 1]]).all(), "who is idle costs no read"
    assert np.isfinite(found[3].cpu_stalled_at_us[0])
