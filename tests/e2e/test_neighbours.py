"""Tenants beside the rest of the host: nothing is taken while they are only observed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tenants import SPIN, cpu_used_s, living_in, wait_until

from enforce.neighbours import standing

pytestmark = pytest.mark.e2e
ETC = Path("/etc/tidegate")
SLICE = Path("/sys/fs/cgroup/tidegate.slice")
TENANT = SLICE / "tidegate-tenants.service/watched"
NEIGHBOUR = Path("/sys/fs/cgroup/system.slice/neighbour.service")
TENANT_FILE = 'observe = true\nqos = "gold"\n[cpu]\nfloor_cores = 0.5\n'
MEASURED_S = 4.0


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, timeout=60)


def weight() -> int:
    return int((SLICE / "cpu.weight").read_text())


def rest() -> None:
    """Let neither run: everything else would wait behind them."""
    for each in (TENANT, NEIGHBOUR):
        (each / "cgroup.freeze").write_text("1")


def tenants_fraction() -> float:
    """Let both run for a while; return the tenant's part of the CPU time that they get."""
    for each in (TENANT, NEIGHBOUR):
        (each / "cgroup.freeze").write_text("0")
    before_s = used_s()
    time.sleep(MEASURED_S)
    tenant_s, neighbour_s = used_s() - before_s
    rest()
    return float(tenant_s / (tenant_s + neighbour_s))


def used_s() -> np.ndarray:
    """Return what both have used by one instant, also where looking is held up half-way."""
    looks = [cpu_used_s(each) for each in (TENANT, NEIGHBOUR, TENANT)]
    return np.array([(looks[0] + looks[2]) / 2, looks[1]])


def weights() -> str:
    beside = standing(TENANT.parent)
    return "" if beside is None else beside.text()


@pytest.fixture
def contest(installed: Path) -> Iterator[None]:
    """A tenant that is only observed and a service that is none, both of which never rest."""
    assert installed.is_dir()
    for other in (ETC / "tenants.d").glob("*.toml"):
        other.unlink()
    (ETC / "tidegate.toml").write_text("[periods]\ntick_s = 0.5\n")
    (ETC / "tenants.d/watched.toml").write_text(TENANT_FILE)
    systemctl("start", "tidegate.service")
    spin = ["systemd-run", "--quiet", "--unit", NEIGHBOUR.name, sys.executable, "-I", "-S", "-c"]
    subprocess.run([*spin, "while True: pass"], check=True)
    with living_in(TENANT, SPIN):
        rest()
        yield
    systemctl("stop", NEIGHBOUR.name, "tidegate.service")
    subprocess.run(["tidegate", "release"], check=True)
    (ETC / "tenants.d/watched.toml").unlink()
    assert weight() == 100


@pytest.mark.usefixtures("contest")
def test_a_tenant_takes_from_its_neighbours_only_while_it_is_limited() -> None:
    assert tenants_fraction() == pytest.approx(0.5, abs=0.05)
    assert "tidegate.slice 100, system.slice 100" in weights()
    (ETC / "tenants.d/watched.toml").write_text(TENANT_FILE.replace("observe = true\n", ""))
    systemctl("reload", "tidegate.service")
    wait_until(lambda: weight() == 1000, limit_s=30, pause_s=0.2)
    systemctl("daemon-reload")
    assert tenants_fraction() > 0.8
    assert "tidegate.slice 1000, system.slice 100" in weights()
    (ETC / "tenants.d/watched.toml").write_text(TENANT_FILE)
    systemctl("reload", "tidegate.service")
    wait_until(lambda: weight() == 100, limit_s=30, pause_s=0.2)
    assert tenants_fraction() == pytest.approx(0.5, abs=0.05)
