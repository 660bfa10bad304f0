"""Limits written to plain directories: descriptors, and what becomes of a change that fails."""

import fcntl
import math
import os
import shutil
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scarcity import few_descriptors, no_more_threads
from tenants import wait_until

from enforce.apply import Applier
from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Changes, Control, Outcomes, Result
from enforce.made import ensure
from enforce.originals import Originals
from enforce.sampler import Sampler

MIB = 1 << 20
MARGIN_BYTES = 16 * MIB
STAT = "anon 0\nshmem 0\ninactive_anon 0\nactive_anon 0\nunevictable 0\n"


def make(root: Path, count: int, **files: str) -> list[str]:
    names = [f"t{n}" for n in range(count)]
    for name in names:
        (root / name).mkdir(parents=True)
        for file, text in ({"cgroup.procs": ""} | files).items():
            (root / name / file).write_text(text)
    return names


@pytest.fixture(autouse=True)
def _lasting_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is offered once outlast a busy machine: no tick here repeats it."""
    monkeypatch.setattr("enforce.lowering.LIFETIME_S", 60.0)


@contextmanager
def applier(root: Path, names: list[str], originals: Originals) -> Iterator[Applier]:
    applier = Applier(root, names, originals, memory_margin_bytes=MARGIN_BYTES)
    yield applier
    applier.close()


def apply(applier: Applier, count: int, control: Control, value: float) -> Outcomes:
    before, after = np.full(count, math.inf), np.full(count, value)
    return applier.apply(Changes(control, np.arange(count), before, after))


def test_more_changes_than_descriptors_are_all_written_and_recorded(tmp_path: Path) -> None:
    root = tmp_path / "root"
    names = make(root, 400, **{"cpu.weight": "100\n"})
    originals = Originals(tmp_path / "originals.json")
    with applier(root, names, originals) as writer, few_descriptors():
        outcomes = apply(writer, len(names), Control.CPU_WEIGHT, 7.0)
    assert set(outcomes.result.tolist()) == {Result.APPLIED}
    assert set(outcomes.kept.tolist()) == {7.0}
    assert {(root / name / "cpu.weight").read_text() for name in names} == {"7"}
    for name in names:
        assert originals.holds(name, (root / name).stat().st_ino, Control.CPU_WEIGHT)


def test_each_outcome_is_its_own_tenants_across_batches(tmp_path: Path) -> None:
    root = tmp_path / "root"
    names = make(root, 130, **{"cpu.weight": "100\n"})
    for place in (3, 64, 129):
        (root / names[place]).rename(tmp_path / names[place])
    (root / names[100] / "cpu.weight").unlink()
    with applier(root, names, Originals(tmp_path / "originals.json")) as writer:
        outcomes = apply(writer, len(names), Control.CPU_WEIGHT, 7.0)
    expected = [Result.APPLIED] * 130
    for place in (3, 64, 129):
        expected[place] = Result.GONE
    expected[100] = Result.REFUSED
    assert outcomes.result.tolist() == expected
    assert outcomes.why.keys() == {3, 64, 100, 129}


def test_a_cgroup_that_cannot_be_opened_for_lack_of_descriptors_is_not_gone(
    tmp_path: Path,
) -> None:
    names = make(tmp_path, 1, **{"cpu.weight": "100\n"})
    originals = Originals(tmp_path / "originals.json")
    with applier(tmp_path, names, originals) as writer, few_descriptors(left=0):
        outcomes = apply(writer, 1, Control.CPU_WEIGHT, 7.0)
        with pytest.raises(LimitRejectedError, match="Too many open files"):
            TenantCgroup(tmp_path / "t0")
        assert "Too many open files" in ensure(tmp_path, [])[str(tmp_path)]
    assert outcomes.result.tolist() == [Result.REFUSED]
    assert "Too many open files" in outcomes.why[0]


def test_what_was_sampled_is_written_and_not_what_is_at_its_path_by_now(tmp_path: Path) -> None:
    files = {"cpu.weight": "100\n"}
    names = make(tmp_path, 2, **files)
    sampler = Sampler(tmp_path, names)
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        sampler.read(0.0)
        writer.opened = sampler.opened
        shutil.rmtree(tmp_path / "t1")
        make(tmp_path / "anew", 2, **files)
        (tmp_path / "anew" / "t1").rename(tmp_path / "t1")
        outcomes = apply(writer, 2, Control.CPU_WEIGHT, 7.0)
    sampler.close()
    assert outcomes.result.tolist() == [Result.APPLIED, Result.GONE]
    assert [(tmp_path / name / "cpu.weight").read_text() for name in names] == ["7", "100\n"]


def test_a_lowering_for_which_there_is_no_thread_is_refused_and_tried_again(tmp_path: Path) -> None:
    files = {"memory.current": f"{100 * MIB}\n", "memory.high": "max\n", "memory.stat": STAT}
    names = make(tmp_path, 2, **files)
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        with no_more_threads():
            outcomes = apply(writer, 2, Control.MEMORY_HIGH, 40.0 * MIB)
        assert outcomes.result.tolist() == [Result.REFUSED, Result.REFUSED]
        assert "thread" in outcomes.why[0]
        again = apply(writer, 2, Control.MEMORY_HIGH, 40.0 * MIB)
        assert again.result.tolist() == [Result.PENDING, Result.PENDING]


def test_a_raise_does_not_wait_until_reclaim_may_be_tried_again(tmp_path: Path) -> None:
    files = {"memory.current": f"{100 * MIB}\n", "memory.high": "max\n", "memory.stat": STAT}
    names = make(tmp_path, 1, **files)
    limit = tmp_path / "t0" / "memory.high"
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:

        def is_resting() -> bool:  # what is in use is a plain file: no reclaim lowers it
            outcomes = apply(writer, 1, Control.MEMORY_HIGH, 40.0 * MIB)
            return bool(outcomes.result[0] == Result.HELD_BACK)

        wait_until(is_resting)
        limit.write_text(f"{50 * MIB}\n")
        raised = apply(writer, 1, Control.MEMORY_HIGH, 80.0 * MIB)
        assert raised.result.tolist() == [Result.PENDING]
        assert "raised to that" in raised.why[0]
        # To what is in use, which stays above the raised limit as well, and is left alone as yet.
        assert raised.kept.tolist() == [100 * MIB]
        assert limit.read_text() == str(100 * MIB)
        limit.write_text(f"{50 * MIB}\n")
        assert is_resting(), "a lower limit still waits"


def test_a_raise_does_not_wait_for_the_reclaim_of_another(tmp_path: Path) -> None:
    """A FIFO stands for what holds reclaim up: dirty pages of a slow disk."""
    names = make(tmp_path, 2, **{"memory.current": f"{100 * MIB}\n", "memory.stat": STAT})
    slow, quick = (tmp_path / name / "memory.high" for name in names)
    slow.write_text(f"{100 * MIB}\n")
    quick.write_text(f"{50 * MIB}\n")
    slow.with_name("memory.current").unlink()
    slow.with_name("memory.current").symlink_to(slow)  # reclaim gets somewhere
    os.mkfifo(slow.with_name("memory.pressure"))  # which is looked at after each step
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        apply(writer, 1, Control.MEMORY_HIGH, 40.0 * MIB)
        wait_until(lambda: slow.read_text() == str(68 * MIB))
        before, after = np.full(1, 50.0 * MIB), np.full(1, 80.0 * MIB)
        raised = writer.apply(Changes(Control.MEMORY_HIGH, np.array([1]), before, after))
        assert raised.kept.tolist() == [100 * MIB]
        assert quick.read_text() == str(100 * MIB)
        slow.with_name("memory.pressure").write_text("full total=0")


def test_a_first_write_of_many_is_recorded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, sync, synced = tmp_path / "root", os.fsync, []

    def counted(fd: int) -> None:
        synced.append(fd)
        sync(fd)

    names = make(root, 400, **{"cpu.weight": "100\n"})
    (root / names[70]).rename(tmp_path / "elsewhere")
    originals = Originals(tmp_path / "originals.json")
    monkeypatch.setattr(os, "fsync", counted)
    with applier(root, names, originals) as writer:
        outcomes = apply(writer, len(names), Control.CPU_WEIGHT, 7.0)
    assert len(synced) == 2  # the file, then its folder
    assert (outcomes.result == Result.APPLIED).sum() == 399


@pytest.mark.parametrize(
    ("control", "file"),
    [
        (Control.CPU_MAX, "cpu.max"),
        (Control.CPU_WEIGHT, "cpu.weight"),
        (Control.CPU_WEIGHT, "cpu.weight.nice"),
        (Control.MEMORY_LOW, "memory.low"),
        (Control.MEMORY_MAX, "memory.max"),
    ],
)
def test_what_somebody_wrote_since_it_was_sampled_is_not_overwritten(
    tmp_path: Path, control: Control, file: str
) -> None:
    """The next sample shows it, and only then is it decided what becomes of it."""
    root, others = tmp_path / "root", {"cpu.max": "max 100000", "cpu.weight.nice": "0"}
    others |= {"memory.low": "0", "memory.max": "max", "memory.current": "0"}
    unit = MIB * 16 if control is Control.MEMORY_MAX else 1  # not below what is in use
    names = make(root, 3, **{"cpu.weight": "100\n", **others})
    sampler = Sampler(root, names)
    with applier(root, names, Originals(tmp_path / "originals.json")) as writer:
        writer.touched = sampler.touched
        sampler.read(0.0)
        writer.written_beside()
        first = apply(writer, 3, control, 7.0 * unit)
        assert first.result.tolist() == [Result.APPLIED] * 3
        sampler.read(1.0)
        writer.written_beside()
        (root / "t1" / file).write_text("5 100000" if file == "cpu.max" else "5")
        second = apply(writer, 3, control, 9.0 * unit)
        assert second.result.tolist() == [Result.APPLIED, Result.HELD_BACK, Result.APPLIED]
        assert np.isnan(second.kept[1])
        assert (root / "t1" / file).read_text().startswith("5")
        third = apply(writer, 3, control, 8.0 * unit)  # ours are told apart from theirs
        assert third.result.tolist() == [Result.APPLIED, Result.HELD_BACK, Result.APPLIED]
        sampler.read(2.0)
        writer.written_beside()
        assert apply(writer, 3, control, 8.0 * unit).result.tolist() == [Result.APPLIED] * 3
    sampler.close()


def test_who_writes_in_each_tick_holds_us_off_for_one_only(tmp_path: Path) -> None:
    names = make(tmp_path, 1, **{"cpu.max": "max 100000", "cpu.weight": "100"})
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        writer.touched = lambda: {"cpu.max": {0}}
        for expected in (Result.HELD_BACK, Result.APPLIED, Result.HELD_BACK, Result.APPLIED):
            writer.written_beside()
            assert apply(writer, 1, Control.CPU_MAX, 2.0).result.tolist() == [expected]


@pytest.mark.parametrize(
    ("in_force", "wanted", "kept", "result"),
    [
        pytest.param("max", 200, 200, Result.APPLIED, id="beyond what is in use"),
        pytest.param("max", 100, 116, Result.HELD_BACK, id="below that, and the margin"),
        pytest.param(f"{110 * MIB}", 100, 110, Result.HELD_BACK, id="not raised for it either"),
        pytest.param(f"{119 * MIB}", 100, 119, Result.HELD_BACK, id="nor lowered by little"),
        pytest.param(f"{121 * MIB}", 100, 116, Result.HELD_BACK, id="lowered as usage falls"),
        pytest.param(f"{110 * MIB}", 400, 400, Result.APPLIED, id="a raise"),
        pytest.param(f"{110 * MIB}", np.inf, np.inf, Result.APPLIED, id="no limit any more"),
    ],
)
def test_memory_max_is_never_lowered_below_what_is_in_use(
    tmp_path: Path, in_force: str, wanted: float, kept: float, result: Result
) -> None:
    files = {"memory.current": f"{100 * MIB}\n", "memory.max": f"{in_force}\n"}
    names = make(tmp_path, 1, **files)
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        outcomes = apply(writer, 1, Control.MEMORY_MAX, wanted * MIB)
    assert outcomes.result.tolist() == [result]
    assert (outcomes.kept / MIB).tolist() == [kept]
    assert bool(outcomes.why) == (result == Result.HELD_BACK)


def feed(fd: int, text: bytes) -> None:
    """Have one reading of a FIFO find `text`, and no other."""
    os.write(fd, text)
    while struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]:
        time.sleep(0.01)


@pytest.mark.parametrize(("after_mib", "kept"), [(101, 116 * MIB), (115, np.inf)])
def test_a_memory_max_that_its_tenant_outran_is_undone(
    tmp_path: Path, after_mib: int, kept: float
) -> None:
    """The kernel tells of usage twice, before the write and after it."""
    names = make(tmp_path, 1, **{"memory.max": "max\n"})
    current = tmp_path / names[0] / "memory.current"
    os.mkfifo(current)

    kept_open = os.open(current, os.O_RDWR)  # so that no reading finds an end

    def tell() -> None:
        for mib in (100, after_mib):
            feed(kept_open, f"{mib * MIB}\n".encode())

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    with applier(tmp_path, names, Originals(tmp_path / "originals.json")) as writer:
        outcomes = apply(writer, 1, Control.MEMORY_MAX, 50.0 * MIB)
    telling.join(timeout=5.0)
    os.close(kept_open)
    assert outcomes.kept.tolist() == [kept]
    assert outcomes.result.tolist() == [Result.HELD_BACK]
