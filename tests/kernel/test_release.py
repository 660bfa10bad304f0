"""What was in force before tidegate is put back exactly, whatever happened in between."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tenants import HOLD_ANON, MIB, living_in, order

from enforce.apply import Applier
from enforce.columns import Changes, Control, Result
from enforce.made import ensure
from enforce.originals import Original, Originals

pytestmark = pytest.mark.kernel

FOUND = {
    "cpu.max": "31000 50000",  # a period that tidegate itself never writes
    "cpu.weight": "77",
    "memory.high": str(700 * MIB),
    "memory.low": str(5 * MIB),
}
OURS = {
    Control.CPU_MAX: 0.2,
    Control.CPU_WEIGHT: 500.0,
    Control.MEMORY_HIGH: 300.0 * MIB,
    Control.MEMORY_LOW: 50.0 * MIB,
}
KILLED_BEFORE_THE_WRITE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from enforce.apply import Applier
from enforce.cgroup import TenantCgroup
from enforce.columns import Changes, Control
from enforce.originals import Originals
root, state = Path(sys.argv[1]), Path(sys.argv[2])
applier = Applier(root, ["a"], Originals(state), memory_margin_bytes=0)
# The first thing after the record is the write: the process dies in its place.
TenantCgroup.exchanged = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
applier.apply(Changes(Control.CPU_MAX, np.array([0]), np.array([np.inf]), np.array([0.5])))
"""


@pytest.fixture
def tenant(cgroup_root: Path) -> Path:
    """A cgroup that someone else made and limited."""
    assert ensure(cgroup_root, []) == {}
    path = cgroup_root / "a"
    path.mkdir()
    for file, text in FOUND.items():
        (path / file).write_text(text)
    return path


def texts(cgroup: Path) -> dict[str, str]:
    return {file: (cgroup / file).read_text().strip() for file in FOUND}


def write_ours(root: Path, state: Path) -> None:
    applier = Applier(root, ["a"], Originals(state), memory_margin_bytes=0)
    for control, value in OURS.items():
        outcomes = applier.apply(
            Changes(control, np.array([0]), np.array([np.nan]), np.array([value]))
        )
        assert outcomes.result.tolist() == [Result.APPLIED]
    applier.close()


def test_release_puts_back_exactly_what_was_found(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    write_ours(cgroup_root, tmp_path / "originals.json")
    assert texts(tenant) != FOUND
    released = Originals(tmp_path / "originals.json").release(cgroup_root)
    assert {r.result for r in released} == {Result.APPLIED}
    assert texts(tenant) == FOUND
    assert tenant.exists(), "made by someone else: it stays"


def test_a_restart_does_not_take_our_own_values_for_the_original_ones(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    write_ours(cgroup_root, tmp_path / "originals.json")
    write_ours(cgroup_root, tmp_path / "originals.json")
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert texts(tenant) == FOUND


def test_after_a_release_the_next_start_records_anew(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    state = tmp_path / "originals.json"
    write_ours(cgroup_root, state)
    Originals(state).release(cgroup_root)
    (tenant / "cpu.weight").write_text("33")
    write_ours(cgroup_root, state)
    Originals(state).release(cgroup_root)
    assert texts(tenant) == FOUND | {"cpu.weight": "33"}


def test_a_kill_between_record_and_write_loses_nothing(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    state = tmp_path / "originals.json"
    argv = [sys.executable, "-c", KILLED_BEFORE_THE_WRITE, str(cgroup_root), str(state)]
    killed = subprocess.run(argv, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert texts(tenant) == FOUND
    assert json.loads(state.read_text())["cgroups"]["a"]["files"] == {"cpu.max": FOUND["cpu.max"]}
    write_ours(cgroup_root, state)
    Originals(state).release(cgroup_root)
    assert texts(tenant) == FOUND


def test_values_of_a_former_cgroup_are_not_given_to_its_successor(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    write_ours(cgroup_root, tmp_path / "originals.json")
    tenant.rmdir()
    tenant.mkdir()
    released = Originals(tmp_path / "originals.json").release(cgroup_root)
    assert {r.result for r in released} == {Result.GONE}
    assert (tenant / "cpu.weight").read_text() == "100\n"


def test_a_successor_is_recorded_by_itself(cgroup_root: Path, tenant: Path, tmp_path: Path) -> None:
    write_ours(cgroup_root, tmp_path / "originals.json")
    tenant.rmdir()
    tenant.mkdir()
    (tenant / "cpu.weight").write_text("61")
    write_ours(cgroup_root, tmp_path / "originals.json")
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert (tenant / "cpu.weight").read_text() == "61\n"
    assert (tenant / "memory.high").read_text() == "max\n"


def test_values_of_another_boot_are_dropped(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    state = tmp_path / "originals.json"
    write_ours(cgroup_root, state)
    said = json.loads(state.read_text())
    state.write_text(json.dumps(said | {"boot_id": "another boot"}))
    before = texts(tenant)
    assert Originals(state).release(cgroup_root) == []
    assert texts(tenant) == before


def test_empty_cgroups_of_ours_are_removed_and_full_ones_stay(
    cgroup_root: Path, tmp_path: Path
) -> None:
    assert ensure(cgroup_root, ["empty", "full"]) == {}
    (cgroup_root / "theirs").mkdir()
    with living_in(cgroup_root / "full", HOLD_ANON):
        released = Originals(tmp_path / "originals.json").release(cgroup_root)
    assert {(r.cgroup, r.result) for r in released} == {
        ("empty", Result.APPLIED),
        ("full", Result.REFUSED),
    }
    assert sorted(p.name for p in cgroup_root.iterdir() if p.is_dir()) == ["full", "theirs"]


def test_release_does_not_freeze_a_tenant_that_has_grown(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    state = tmp_path / "originals.json"
    (tenant / "memory.high").write_text(str(16 * MIB))
    originals = Originals(state)
    originals.record([Original("a", tenant.stat().st_ino, "memory.high", str(16 * MIB))])
    (tenant / "memory.high").write_text("max")
    with living_in(tenant, HOLD_ANON) as process:
        order(process, 64)
        released = originals.release(cgroup_root)
        assert [r.result for r in released] == [Result.HELD_BACK]
        assert int((tenant / "memory.high").read_text()) >= 64 * MIB
    assert [r.result for r in Originals(state).release(cgroup_root)] == [Result.APPLIED]
    assert (tenant / "memory.high").read_text() == f"{16 * MIB}\n"


def test_a_full_disk_means_that_nothing_is_written(
    cgroup_root: Path, tenant: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "tmpfs", str(full)]
    subprocess.run(mount, check=True)
    try:
        (full / "filler").write_bytes(os.urandom(4096))
        applier = Applier(
            cgroup_root, ["a"], Originals(full / "originals.json"), memory_margin_bytes=0
        )
        outcomes = applier.apply(
            Changes(Control.CPU_MAX, np.array([0]), np.array([np.inf]), np.array([0.5]))
        )
        assert outcomes.result.tolist() == [Result.REFUSED]
        assert "No space left" in outcomes.why[0]
        assert texts(tenant) == FOUND
    finally:
        subprocess.run(["/bin/umount", str(full)], check=True)
