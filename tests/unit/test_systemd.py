"""What is asked of systemd, where it cannot be asked."""

import os
import signal
import time
from pathlib import Path

import pytest
from scarcity import few_descriptors

from enforce import systemd
from enforce.systemd import UnitProtection, give_back

MIB = 1 << 20
# Enough to read a control file, too few to start a process as well.
DESCRIPTORS = 3
LONGEST_S = 5.0  # the watchdog bites after 30


@pytest.fixture
def slice_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a slice of ours, as on a host with systemd."""
    monkeypatch.setattr(systemd, "_SYSTEMD", tmp_path)
    path = tmp_path / "tidegate.slice"
    path.mkdir()
    (path / "cgroup.procs").write_text("")
    (path / "memory.low").write_text(f"{64 * MIB}\n")
    return path


def test_a_process_that_cannot_be_started_is_a_problem_and_no_error(slice_path: Path) -> None:
    protection = UnitProtection(slice_path)
    assert protection.paths == [slice_path]
    with few_descriptors(left=DESCRIPTORS):
        problem = protection.settle(128 * MIB, is_enforcing=True)
        assert problem == protection.settle(128 * MIB, is_enforcing=True), (
            "it stands until the next try"
        )
    protection.close()
    assert problem is not None
    assert problem.startswith("tidegate.slice: systemd cannot be asked")
    assert "Too many open files" in problem


def test_closing_waits_for_a_slow_systemd_no_longer_than_a_tick_may(
    slice_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "systemctl"
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $$ $! >{tmp_path}/pids\nwait\n")
    slow.chmod(0o755)
    monkeypatch.setattr(systemd, "_SYSTEMCTL", str(slow))
    protection = UnitProtection(slice_path)
    assert protection.settle(128 * MIB, is_enforcing=True) is None
    pids = tmp_path / "pids"
    while not (pids.exists() and pids.read_text().endswith("\n")):
        time.sleep(0.01)
    caller, helper = pids.read_text().split()
    began_s = time.monotonic()
    protection.close()
    took_s = time.monotonic() - began_s
    os.kill(int(helper), signal.SIGKILL)  # it holds the caller's output open
    assert took_s < LONGEST_S
    assert not Path("/proc", caller).exists(), "nor does it leave a zombie"


def test_release_says_which_unit_keeps_its_protection(slice_path: Path) -> None:
    with few_descriptors(left=DESCRIPTORS):
        (kept,) = give_back(slice_path)
    assert (kept.unit, kept.file) == ("tidegate.slice", "memory.low")
    assert kept.why is not None
    assert "Too many open files" in kept.why
