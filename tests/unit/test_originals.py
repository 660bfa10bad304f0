"""enforce.originals: what files held before the first write, kept on disk."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from enforce.columns import Result
from enforce.originals import Original, Originals

ONE = Original("a", 7, "cpu.max", "max 100000")
DISK = Original("a", 7, "io.max 8:0", "rbps=max wbps=9 riops=max wiops=max")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "originals.json"


def test_what_is_recorded_is_there_after_a_restart(path: Path) -> None:
    Originals(path).record([ONE])
    again = Originals(path)
    assert again.problem is None
    assert again.holds("a", 7, "cpu.max")
    assert not again.holds("a", 7, "cpu.weight")
    assert not again.holds("a", 8, "cpu.max"), "another incarnation"


def test_what_a_disk_was_limited_to_is_recorded_by_its_number(path: Path) -> None:
    Originals(path).record([DISK])
    again = Originals(path)
    assert again.problem is None
    assert again.holds("a", 7, "io.max 8:0")
    assert not again.holds("a", 7, "io.max 8:16")


@pytest.mark.parametrize("text", ["rbps=max", "5", "rbps=1 wbps=9 riops=max wiops=-1", ""])
def test_what_no_disk_was_limited_to_is_not_put_back_one_day(path: Path, text: str) -> None:
    Originals(path).record([replace(DISK, text=text)])
    assert "io.max 8:0" in (Originals(path).problem or "")


@pytest.mark.parametrize(("unit", "cgroup_id"), [("acme.service", 0), ("acme.scope", 7)])
def test_a_unit_has_limits_of_disks_to_be_put_back_by_systemd_but_no_weights(
    path: Path, unit: str, cgroup_id: int
) -> None:
    ours = replace(DISK, cgroup=f"/sys/fs/cgroup/{unit}", cgroup_id=cgroup_id)
    Originals(path).record([ours])
    assert Originals(path).problem is None
    Originals(path).record([replace(ours, file="io.weight 8:0", text="200")])
    assert "io.weight 8:0" in (Originals(path).problem or "")


def test_the_first_value_stays(path: Path) -> None:
    originals = Originals(path)
    originals.record([ONE])
    originals.record([Original("a", 7, "cpu.max", "5000 100000")])
    assert json.loads(path.read_text())["cgroups"]["a"]["files"]["cpu.max"] == "max 100000"


def test_a_new_incarnation_replaces_the_former_ones_values(path: Path) -> None:
    originals = Originals(path)
    originals.record([ONE, Original("b", 9, "cpu.weight", "100")])
    originals.record([Original("a", 8, "cpu.weight", "50")])
    said = json.loads(path.read_text())["cgroups"]
    assert said["a"] == {"id": 8, "files": {"cpu.weight": "50"}}
    assert said["b"] == {"id": 9, "files": {"cpu.weight": "100"}}


def changed(**changes: object) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "\0" * 64,
        lambda _: "[" * 200_000,
        lambda text: text.replace("max 100000", "most 100000"),
        lambda text: text.replace("max 100000", "5 0"),
        lambda text: text.replace('"cpu.max"', '"cgroup.procs"'),
        lambda text: text.replace('"a"', '"../a"'),
        changed(version=99),
        changed(cgroups=None),
        changed(cgroups={"a": {"id": "7", "files": {}}}),
    ],
)
def test_a_damaged_file_is_set_aside_whole_and_said(
    path: Path, damage: Callable[[str], str]
) -> None:
    Originals(path).record([ONE])
    damaged = damage(path.read_text())
    path.write_text(damaged)
    originals = Originals(path)
    assert originals.problem is not None
    assert "damaged-1" in originals.problem
    assert path.with_name("originals.json.damaged-1").read_text() == damaged
    originals.record([ONE])
    assert Originals(path).problem is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_set_aside_and_not_waited_for(
    path: Path, make: Callable[[Path], None]
) -> None:
    path.parent.mkdir()
    make(path)
    assert "damaged-1" in (Originals(path).problem or "")
    assert path.with_name("originals.json.damaged-1").exists()
    assert not path.exists()


def test_a_second_damage_does_not_overwrite_the_first(path: Path) -> None:
    path.parent.mkdir()
    for text in ("first", "second"):
        path.write_text(text)
        Originals(path)
    kept = [path.with_name(f"originals.json.damaged-{n}").read_text() for n in (1, 2)]
    assert kept == ["first", "second"]


def test_a_file_that_cannot_be_read_now_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        Originals(path)
    assert path.is_symlink()
    assert not list(path.parent.glob("*damaged*"))


def test_a_damaged_file_that_cannot_be_moved_is_never_overwritten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_text("damaged")

    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refused)
        originals = Originals(path)
    with pytest.raises(FileExistsError, match="nor moved"):
        originals.record([ONE])
    assert path.read_text() == "damaged"


def test_values_of_another_boot_are_dropped_without_a_fuss(path: Path) -> None:
    Originals(path).record([ONE])
    path.write_text(changed(boot_id="before")(path.read_text()))
    originals = Originals(path)
    assert originals.problem is None
    assert not originals.holds("a", 7, "cpu.max")


def test_a_record_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    originals = Originals(path)
    originals.record([ONE])
    (path.parent / "originals.json.new").mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="directory"):
        originals.record([Original("b", 9, "cpu.max", "max 100000")])
    assert not originals.holds("b", 9, "cpu.max")
    assert Originals(path).holds("a", 7, "cpu.max")


def test_a_kill_while_recording_leaves_the_former_file(path: Path) -> None:
    Originals(path).record([ONE])
    path.with_name("originals.json.new").write_text('{"version": 1, "cgr')
    originals = Originals(path)
    assert originals.problem is None
    assert originals.holds("a", 7, "cpu.max")


def test_the_file_is_on_disk_before_it_takes_the_formers_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(fd: int) -> None:
        done.append("fsync")
        sync(fd)

    def noted_replace(self: Path, target: Path) -> Path:
        done.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    Originals(path).record([ONE])
    assert done == ["fsync", "replace", "fsync"]


def test_releasing_where_nothing_was_recorded_does_nothing(path: Path, tmp_path: Path) -> None:
    assert Originals(path).release(tmp_path) == []


def test_a_cgroup_that_cannot_be_opened_keeps_its_record(path: Path, tmp_path: Path) -> None:
    name = "x" * 300  # longer than any file system takes: not the same as gone
    originals = Originals(path)
    originals.record([Original(name, 7, "cpu.max", "max 100000")])
    released = originals.release(tmp_path)
    assert [one.result for one in released] == [Result.REFUSED]
    assert "too long" in released[0].why
    assert originals.holds(name, 7, "cpu.max")


@pytest.mark.parametrize(("before", "now_mib"), [(50, 116), (200, 200)])
def test_memory_max_is_not_put_back_to_where_the_kernel_would_kill(
    tmp_path: Path, path: Path, before: int, now_mib: int
) -> None:
    tenant = tmp_path / "root" / "a"
    tenant.mkdir(parents=True)
    (tenant / "memory.max").write_text(f"{300 << 20}\n")
    (tenant / "memory.current").write_text(f"{100 << 20}\n")
    originals = Originals(path)
    originals.record([Original("a", tenant.stat().st_ino, "memory.max", str(before << 20))])
    (released,) = originals.release(tenant.parent, memory_margin_bytes=16 << 20)
    assert int((tenant / "memory.max").read_text()) == now_mib << 20
    assert (released.result == Result.HELD_BACK) == (now_mib > before)


def test_one_file_is_put_back_and_the_others_stay_as_they_are(tmp_path: Path, path: Path) -> None:
    """A setting that is taken out of a tenant's file lets go of what it had set, and no more."""
    root, files = tmp_path / "root", ("memory.max", "cpu.weight")
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_text("7\n")
    originals = Originals(path)
    ids = {name: (root / name).stat().st_ino for name in ("a", "b")}
    originals.record(
        Original(name, ids[name], file, "max" if file == "memory.max" else "100")
        for name in ids
        for file in files
    )
    (released,) = originals.release_file(root, "memory.max", ["a", "nobody"], memory_margin_bytes=0)
    assert (released.cgroup, released.file, released.result) == ("a", "memory.max", Result.APPLIED)
    texts = [(root / name / file).read_text().strip() for name in ids for file in files]
    assert texts == ["max", "7", "7", "7"]
    assert not originals.knows("a", "memory.max")
    assert originals.knows("a", "cpu.weight")
    assert originals.release_file(root, "memory.max", ["a"], memory_margin_bytes=0) == []


def test_one_memory_max_that_is_put_back_leaves_a_margin(tmp_path: Path, path: Path) -> None:
    tenant = tmp_path / "root" / "a"
    tenant.mkdir(parents=True)
    (tenant / "memory.max").write_text("max\n")
    (tenant / "memory.current").write_text(f"{100 << 20}\n")
    originals = Originals(path)
    originals.record([Original("a", tenant.stat().st_ino, "memory.max", str(50 << 20))])
    (released,) = originals.release_file(
        tenant.parent, "memory.max", ["a"], memory_margin_bytes=16 << 20
    )
    assert int((tenant / "memory.max").read_text()) == 116 << 20
    assert released.result == Result.HELD_BACK
    assert originals.knows("a", "memory.max")


@pytest.mark.parametrize(("populated", "result"), [(1, Result.HELD_BACK), (0, Result.APPLIED)])
def test_a_margin_is_left_to_processes_not_to_an_empty_cgroup(
    tmp_path: Path, path: Path, populated: int, result: Result
) -> None:
    tenant = tmp_path / "root" / "a"
    tenant.mkdir(parents=True)
    (tenant / "memory.max").write_text("max\n")
    (tenant / "memory.current").write_text(f"{4 << 20}\n")
    (tenant / "cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
    originals = Originals(path)
    originals.record([Original("a", tenant.stat().st_ino, "memory.max", str(10 << 20))])
    (released,) = originals.release(tenant.parent, memory_margin_bytes=16 << 20)
    assert released.result == result
    assert originals.is_empty == (result == Result.APPLIED)
