"""The units: systemd accepts them, and tenants outlive whatever systemd does to theirs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tenants import wait_until

pytestmark = pytest.mark.e2e
UNITS = ("tidegate.service", "tidegate-tenants.service", "tidegate.slice")
TENANTS = "tidegate-tenants.service"
CGROUP = Path("/sys/fs/cgroup/tidegate.slice") / TENANTS
LIMITS = {"cpu.max": "20000 100000", "memory.high": "67108864", "memory.low": "33554432"}


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, timeout=60)


def state(cgroup: Path) -> dict[str, str]:
    """Return who is in a tenant's cgroup, under which limits, and which cgroup it is."""
    files = {name: (cgroup / name).read_text().strip() for name in (*LIMITS, "cgroup.procs")}
    return files | {"inode": str(cgroup.stat().st_ino)}


@pytest.fixture
def tenant(installed: Path) -> Iterator[Path]:
    """A limited tenant with one process, in the delegated cgroup."""
    assert (installed / TENANTS).exists()
    systemctl("start", TENANTS)
    for controller in ("cpu", "memory"):
        (CGROUP / "cgroup.subtree_control").write_text(f"+{controller}")
    cgroup = CGROUP / "shop"
    cgroup.mkdir(exist_ok=True)
    for name, value in LIMITS.items():
        (cgroup / name).write_text(value)
    process = subprocess.Popen(["sleep", "600"])
    (cgroup / "cgroup.procs").write_text(str(process.pid))
    yield cgroup
    process.kill()
    process.wait()


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_fault_in_a_unit(installed: Path, unit: str) -> None:
    verify = ["systemd-analyze", "verify", str(installed / unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    "steps",
    [
        ["daemon-reload"],
        ["daemon-reexec"],
        [f"restart {TENANTS}"],
        ["restart tidegate.slice"],
        [f"stop {TENANTS}", f"start {TENANTS}"],
        [f"stop {TENANTS}", "daemon-reload", f"start {TENANTS}"],
        [f"stop {TENANTS}", "daemon-reexec", f"start {TENANTS}"],
    ],
    ids=", then ".join,
)
def test_a_tenant_and_its_limits_outlive(tenant: Path, steps: list[str]) -> None:
    before = state(tenant)
    for step in steps:
        systemctl(*step.split())
        assert state(tenant) == before
    assert os.access(f"/proc/{before['cgroup.procs']}", os.F_OK)


def test_controllers_stay_enabled_over_a_restart(tenant: Path) -> None:
    systemctl("restart", TENANTS)
    handed_down = (tenant.parent / "cgroup.subtree_control").read_text().split()
    assert {"cpu", "memory"} <= set(handed_down)


def test_without_tenants_a_stop_leaves_no_cgroup(tenant: Path) -> None:
    pid = int((tenant / "cgroup.procs").read_text())
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    systemctl("stop", TENANTS)
    wait_until(lambda: not CGROUP.exists())
