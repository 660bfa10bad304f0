"""The worker that lowers memory.high, against a control file that takes its time: a FIFO.

Each open of a FIFO waits for its other end, so the test decides when the "kernel" answers.
"""

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs
from tenants import wait_until

from enforce.cgroup import LimitRejectedError
from enforce.counters import stalled_us
from enforce.lowering import MIN_PAUSE_S, STEP_BYTES, Lowering

MIB = 1 << 20
LONGEST_STOP_S = 3.0
WORK_S = 0.5
STAT = "anon 0\nshmem 0\ninactive_anon 0\nactive_anon 0\nunevictable 0\n"


@pytest.fixture(autouse=True)
def _lasting_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is offered once outlast a busy machine: no tick here repeats it."""
    monkeypatch.setattr("enforce.lowering.LIFETIME_S", 60.0)


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.mkdir()
    for file, text in {"cgroup.procs": "", "memory.stat": STAT}.items():
        (path / file).write_text(text)
    (path / "memory.current").write_text(f"{100 * MIB}\n")
    os.mkfifo(path / "memory.high")
    return path


@pytest.fixture
def lowering() -> Iterator[Lowering]:
    lowering = Lowering(margin_bytes=16 * MIB)
    yield lowering
    lowering.close()


def answer(cgroup: Path, value: str) -> None:
    """Let the worker read `value` from memory.high; waits until it asks."""
    (cgroup / "memory.high").write_text(value)


def has_asked(cgroup: Path) -> bool:
    """Say whether the worker has all of its last answer, and let go of the FIFO."""
    try:
        os.close(os.open(cgroup / "memory.high", os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.ENXIO  # nobody reads
    return False


def written(cgroup: Path) -> str:
    """Return what the worker writes to memory.high; waits until it does."""
    return (cgroup / "memory.high").read_text()


def test_one_write_goes_at_most_one_step_below_usage(cgroup: Path, lowering: Lowering) -> None:
    lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB)
    answer(cgroup, "max")
    step = written(cgroup)
    assert int(step) == 100 * MIB - STEP_BYTES
    (cgroup / "memory.current").write_text(f"{40 * MIB}\n")
    lowering.withdraw(cgroup, 0.0)
    answer(cgroup, step)
    assert written(cgroup) == "0"
    answer(cgroup, "0")


def test_a_raise_during_a_step_is_written_once_more_after_it(
    cgroup: Path, lowering: Lowering
) -> None:
    lowering.offer(cgroup, cgroup.stat().st_ino, 40 * MIB)
    answer(cgroup, "max")
    lowering.withdraw(cgroup, 200 * MIB)  # the worker is at its write now
    step = written(cgroup)
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    answer(cgroup, step)
    assert written(cgroup) == str(200 * MIB)
    answer(cgroup, str(200 * MIB))


def test_what_reclaim_cannot_lower_gets_back_the_limit_that_it_had(
    cgroup: Path, lowering: Lowering
) -> None:
    lowering.offer(cgroup, cgroup.stat().st_ino, 40 * MIB)
    answer(cgroup, "max")
    answer(cgroup, written(cgroup))  # kept, but usage stays where it was
    assert written(cgroup) == "max"
    answer(cgroup, "max")
    lowering.close()
    assert lowering.is_resting(cgroup)


def test_an_offer_for_a_former_cgroup_of_that_name_is_dropped(
    cgroup: Path, lowering: Lowering
) -> None:
    successor = cgroup.with_name("b")
    shutil.copytree(cgroup, successor, ignore=shutil.ignore_patterns("memory.high"))
    (successor / "memory.high").write_text("max")
    lowering.offer(successor, successor.stat().st_ino + 1, 98 * MIB)
    lowering.offer(cgroup, cgroup.stat().st_ino, 90 * MIB)
    answer(cgroup, "max")  # the worker has come to the second offer
    step = written(cgroup)
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    answer(cgroup, step)
    assert (successor / "memory.high").read_text() == "max"


def test_a_file_that_makes_no_sense_ends_its_offer_and_not_the_worker(
    cgroup: Path, lowering: Lowering
) -> None:
    broken = cgroup.with_name("b")
    shutil.copytree(cgroup, broken, ignore=shutil.ignore_patterns("memory.high"))
    (broken / "memory.high").write_text("max")
    (broken / "memory.current").write_text("?\n")
    lowering.offer(broken, broken.stat().st_ino, 90 * MIB)
    lowering.offer(cgroup, cgroup.stat().st_ino, 90 * MIB)
    answer(cgroup, "max")  # the worker has come to the second offer
    step = written(cgroup)
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    answer(cgroup, step)
    assert (broken / "memory.high").read_text() == "max"


def test_a_fault_that_ends_the_worker_is_told_with_the_next_offer_which_begins_another(
    cgroup: Path, lowering: Lowering, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, capture_logs() as logged:
        patch.setattr("enforce.lowering.STEP_BYTES", None)  # a fault of ours: no OSError
        lowering.offer(cgroup, cgroup.stat().st_ino, 90 * MIB)
        answer(cgroup, "max")
        wait_until(lambda: len(logged) > 0)
        wait_until(lambda: "lowering" not in {thread.name for thread in threading.enumerate()})
    assert logged[0]["log_level"] == "error"
    with pytest.raises(LimitRejectedError, match=r"ended by TypeError.*begun anew"):
        lowering.offer(cgroup, cgroup.stat().st_ino, 90 * MIB)
    answer(cgroup, "max")
    step = written(cgroup)
    assert int(step) == 90 * MIB
    (cgroup / "memory.current").write_text(step)
    answer(cgroup, step)
    lowering.offer(cgroup, 0, 80 * MIB)  # of a cgroup that is gone: nothing is told twice


def test_closing_does_not_wait_for_a_step_that_hangs_in_the_kernel(cgroup: Path) -> None:
    lowering = Lowering(margin_bytes=16 * MIB)
    lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB)
    answer(cgroup, "max")
    began_s = time.monotonic()
    lowering.close()  # while the worker is at its write
    assert time.monotonic() - began_s < LONGEST_STOP_S
    step = written(cgroup)  # or the thread would outlive the test
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    answer(cgroup, step)


def test_offers_do_not_cut_the_pause_short_that_others_need(
    cgroup: Path, lowering: Lowering
) -> None:
    """A step that took a moment is followed by as long a pause, however often ticks offer."""
    lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB)
    time.sleep(WORK_S)
    answer(cgroup, "max")
    step = written(cgroup)
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    ended_s = time.monotonic()  # not after the answer, which may be held up until the pause is over
    answer(cgroup, step)
    wait_until(lambda: has_asked(cgroup))  # or the next answer would go to who reads this one
    busy = threading.Event()

    def offers() -> None:
        while not busy.wait(0.01):
            lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB)

    offering = threading.Thread(target=offers)
    offering.start()
    answer(cgroup, step)  # the worker is at its next step
    waited_s = time.monotonic() - ended_s
    busy.set()
    offering.join()
    lowering.withdraw(cgroup, 0.0)
    step = written(cgroup)
    (cgroup / "memory.current").write_text(f"{int(step)}\n")
    answer(cgroup, step)
    assert written(cgroup) == "0"
    answer(cgroup, "0")
    assert waited_s >= WORK_S / 2


@pytest.mark.parametrize("is_storm", [True, False])
def test_a_tenant_whose_tasks_only_wait_for_memory_is_let_go(
    cgroup: Path, lowering: Lowering, monkeypatch: pytest.MonkeyPatch, *, is_storm: bool
) -> None:
    """Reclaim gets somewhere, and takes what the tenant needs back at once: a pressure storm."""
    high = cgroup / "memory.high"
    for file in (high, cgroup / "memory.current"):
        file.unlink()
    high.write_text(f"{100 * MIB}\n")
    (cgroup / "memory.current").symlink_to(high)  # as a kernel that reclaims all that it is told to
    (cgroup / "memory.pressure").write_text("full total=7\n")

    def stalled_by_now_us(rows: list[bytes], line: bytes) -> np.ndarray:
        return stalled_us(rows, line) + is_storm * time.monotonic() * 1e6

    monkeypatch.setattr("enforce.lowering.stalled_us", stalled_by_now_us)
    lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB, found_bytes=100 * MIB)
    wait_until(lambda: lowering.is_resting(cgroup) or high.read_text() == str(20 * MIB))
    assert lowering.is_resting(cgroup) == is_storm
    if is_storm:  # a tick may have offered it again before it was known to rest
        lowering.written()
        found_bytes = float(high.read_text())
        lowering.offer(cgroup, cgroup.stat().st_ino, 20 * MIB, found_bytes=found_bytes)
        time.sleep(20 * MIN_PAUSE_S)
        assert lowering.written() == {}
