"""Cgroups on plain directories: names, links, and errors that say what happened."""

from pathlib import Path

import pytest

from enforce.cgroup import (
    CgroupGoneError,
    LimitRejectedError,
    TenantCgroup,
    ensure,
    name_problem,
)


def make(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for file, text in ({"cgroup.procs": ""} | files).items():
        (path / file).write_text(text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "../a",
        "a\0",
        "a\n",
        "x" * 256,
        "ä" * 128,
        "cgroup.procs",
        "cpu.x",
    ],
)
def test_names_that_could_lead_astray_are_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("name", ["a", "web-1", "web.service", "...", "-", "io", "cpu", "x" * 255])
def test_ordinary_names_are_taken(name: str) -> None:
    assert name_problem(name) is None


def test_ensure_makes_nothing_outside_the_root(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    problems = ensure(root, ["../out", "good", "a/b"])
    assert {"../out", "a/b"} < problems.keys()
    assert "good" not in problems
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root"]
    assert (root / "good").is_dir()


def test_ensure_does_not_take_a_link_or_a_file_for_a_cgroup(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    (root / "link").symlink_to(tmp_path)
    (root / "file").write_text("")
    assert {"link", "file"} < ensure(root, ["link", "file"]).keys()


def test_ensure_enables_what_is_missing_and_names_what_is_not_there(tmp_path: Path) -> None:
    root = make(
        tmp_path / "root", **{"cgroup.controllers": "cpu memory", "cgroup.subtree_control": "cpu"}
    )
    problems = ensure(root, [])
    assert (root / "cgroup.subtree_control").read_text() == "+memory"
    assert problems == {str(root): "no io controller here"}


def test_ensure_says_why_a_root_cannot_be_made(tmp_path: Path) -> None:
    root = tmp_path / "missing" / "root"
    problems = ensure(root, ["a"])
    assert problems.keys() == {str(root), "a"}


def test_ensure_lets_no_error_of_the_root_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problems = ensure(tmp_path / "file" / "root", [])
    assert problems == {str(tmp_path / "file" / "root"): "Not a directory"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CgroupGoneError):
        TenantCgroup(tmp_path / "link")


def test_a_missing_control_is_told_from_a_missing_cgroup(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    with TenantCgroup(path) as cgroup:
        with pytest.raises(LimitRejectedError, match="not enabled"):
            cgroup.cpu_max = 0.5
        with pytest.raises(LimitRejectedError, match="not enabled"):
            _ = cgroup.memory_current
        (path / "cgroup.procs").unlink()
        with pytest.raises(CgroupGoneError):
            cgroup.cpu_max = 0.5
        with pytest.raises(CgroupGoneError):
            _ = cgroup.memory_high


def test_controls_are_attributes_in_base_units(tmp_path: Path) -> None:
    files = {
        "cpu.max": "25000 100000\n",
        "cpu.weight": "100\n",
        "memory.high": "max\n",
        "memory.events": "low 0\nhigh 5\n",
        "memory.current": "8192\n",
    }
    with TenantCgroup(make(tmp_path / "a", **files)) as cgroup:
        assert cgroup.cpu_max == 0.25
        assert cgroup.memory_high == float("inf")
        assert cgroup.text("memory.events") == "low 0\nhigh 5"
        assert cgroup.memory_current == 8192
        cgroup.cpu_max = 1.5
        assert cgroup.text("cpu.max") == "150000 100000"


def test_a_counter_cannot_be_written(tmp_path: Path) -> None:
    with TenantCgroup(make(tmp_path / "a")) as cgroup, pytest.raises(RuntimeError):
        cgroup.memory_current = 0


def test_what_the_kernel_did_not_keep_is_a_rejection(tmp_path: Path) -> None:
    path = make(tmp_path / "a")
    (path / "cpu.weight").symlink_to("/dev/null")  # takes everything, keeps nothing
    with TenantCgroup(path) as cgroup, pytest.raises(LimitRejectedError, match="not understood"):
        cgroup.cpu_weight = 5


def test_writes_reach_the_cgroup_that_was_opened_not_its_successor(tmp_path: Path) -> None:
    path = make(tmp_path / "a", **{"cpu.weight": "100\n"})
    with TenantCgroup(path) as cgroup:
        path.rename(tmp_path / "former")
        successor = make(tmp_path / "a", **{"cpu.weight": "100\n"})
        cgroup.cpu_weight = 7
    assert (successor / "cpu.weight").read_text() == "100\n"
    assert (tmp_path / "former" / "cpu.weight").read_text() == "7"
