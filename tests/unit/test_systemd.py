"""What is asked of systemd, where it cannot be asked."""

from pathlib import Path

import pytest
from scarcity import few_descriptors

from enforce import systemd
from enforce.systemd import UnitProtection, unprotect

MIB = 1 << 20
# Enough to read a control file, too few to start a process as well.
DESCRIPTORS = 3


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
        problem = protection.settle(128 * MIB)
        assert problem == protection.settle(128 * MIB), "it stands until the next try"
    protection.close()
    assert problem is not None
    assert problem.startswith("tidegate.slice: systemd cannot be asked")
    assert "Too many open files" in problem


def test_release_says_which_unit_keeps_its_protection(slice_path: Path) -> None:
    with few_descriptors(left=DESCRIPTORS):
        (path, problem), *others = unprotect(slice_path)
    assert (path, others) == (slice_path, [])
    assert problem is not None
    assert "Too many open files" in problem
