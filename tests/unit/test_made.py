"""enforce.made on plain directories: which names are taken, and what is made of them."""

from pathlib import Path

import pytest
from plain_cgroups import make

from enforce.made import ensure, name_problem


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
