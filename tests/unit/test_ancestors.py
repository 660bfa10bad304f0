"""enforce.ancestors over plain folders: which of them protects least."""

from pathlib import Path

from enforce.ancestors import Ancestors, weakest

MIB = 1 << 20


def made(path: Path, low: str) -> Path:
    """Make a folder that reads as a cgroup."""
    path.mkdir()
    (path / "cgroup.procs").touch()
    (path / "memory.low").write_text(f"{low}\n")
    return path


def test_the_ancestor_that_protects_least_counts(tmp_path: Path) -> None:
    outer = made(tmp_path / "outer", str(64 * MIB))
    inner = made(outer / "inner", "max")
    root = made(inner / "root", "0")
    assert weakest(root) == (outer, 64 * MIB)
    watch = Ancestors(root)
    assert watch.problem(64 * MIB) is None
    problem = watch.problem(80 * MIB)
    assert problem is not None
    assert problem.startswith(f"{outer} protects 64 MiB of the 80 MiB")


def test_without_ancestors_that_have_the_file_nothing_undoes_protection(tmp_path: Path) -> None:
    root = made(tmp_path / "root", "0")
    assert weakest(root) is None
    assert Ancestors(root).problem(80 * MIB) is None
