"""Cgroups on plain directories: files, links, and errors that say what happened."""

from pathlib import Path

import pytest
from plain_cgroups import make

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup


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
