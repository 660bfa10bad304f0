"""enforce.capability: what a host lacks is named, with what it means and how to get it."""

from pathlib import Path

from enforce.capability import probe


def test_a_directory_that_is_no_cgroup_is_said_to_be_none(tmp_path: Path) -> None:
    found = {capability.name: capability for capability in probe(tmp_path)}
    assert found["cgroup v2"].state == "missing"
    assert all(c.remedy for c in found.values() if c.state != "ok")


def test_a_root_that_is_still_to_be_made_is_judged_by_its_parent(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory io")
    (tmp_path / "cgroup.subtree_control").write_text("cpu")
    found = {c.name: c for c in probe(tmp_path / "tidegate")}
    assert found["cgroup v2"].state == "ok"
    assert "made at start" in found["cgroup v2"].meaning
    assert "io.weight" not in found, "tidegate does not write it yet"
    assert {found[f"{name} controller"].state for name in ("cpu", "memory", "io")} == {"ok"}
