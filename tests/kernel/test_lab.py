"""What kernel tests count on: the guests of scripts/lab have it."""

import os
from pathlib import Path

import pytest


def _given(cgroup: Path) -> set[str]:
    return set((cgroup / "cgroup.controllers").read_text().split())


@pytest.mark.kernel
def test_a_tenant_below_the_root_has_every_controller(cgroup_root: Path) -> None:
    tenant = cgroup_root / "tenant"
    tenant.mkdir()
    assert {"cpu", "memory", "io", "pids"} <= _given(tenant)


@pytest.mark.systemd
def test_under_systemd_the_tests_own_a_delegated_cgroup(cgroup_root: Path) -> None:
    assert cgroup_root.parent.name.endswith(".service")
    assert {"cpu", "memory", "io", "pids"} <= _given(cgroup_root)


@pytest.mark.qemu
def test_qemu_has_two_cpus_and_pressure_files(cgroup_root: Path) -> None:
    assert len(os.sched_getaffinity(0)) == 2
    assert "some avg10=" in (cgroup_root / "cpu.pressure").read_text()
