"""Disks of a tenant that is a unit: systemd itself sets their limits, which hold and go back."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from agents import Agent, until
from blocks import lab_disk, rate, stacked_on
from tenants import MIB, wait_until

from agent.release import release
from enforce.bus import Bus
from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import DiskControl
from enforce.units import UnitWriter

pytestmark = pytest.mark.e2e
MOUNT = Path("/sys/fs/cgroup")
ROOT = MOUNT / "tidegate.slice/tidegate-tenants.service"
CGROUP, UNIT = MOUNT / "cust.slice/filler.service", "filler.service"
TICK_S = 0.2
WRITE = "while true; do dd if=/dev/zero of={} bs=128k count=400 oflag=direct 2>/dev/null; done"
SERVICE = "[Service]\nExecStart=/bin/sh -c '{}'\nSlice=cust.slice\n"
TENANT = 'qos = "silver"\nunit = "filler.service"\n[disk]\nwrite_floor_bytes_per_s = "2M"\n'
MOST = 6 * MIB
HOST = "[pace]\nramp_down_fraction_per_s = 1.0\n[disk.{}]\nwrite_capacity_bytes_per_s = {}\n"


def systemctl(*arguments: str) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], check=False, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def disk() -> Path:
    return lab_disk()


@pytest.fixture
def filler(installed: Path, disk: Path) -> Iterator[Path]:
    """A unit that writes to the disk as fast as it may."""
    assert installed.is_dir()
    systemctl("start", ROOT.name)
    service = Path("/run/systemd/system") / UNIT
    service.write_text(SERVICE.format(WRITE.format(disk)))
    systemctl("daemon-reload")
    systemctl("start", UNIT)
    yield CGROUP
    systemctl("stop", UNIT)
    systemctl("revert", UNIT)


def unit_agent(folder: Path, disk: Path) -> Agent:
    """Return an agent over the two tenants of `Agent`, and over the unit, that divides the disk."""
    (folder / "tenants.d").mkdir()
    tenant = TENANT + f"write_ceiling_bytes_per_s = {MOST}\n"
    (folder / "tenants.d" / "filler.toml").write_text(tenant)
    more = HOST.format(disk.name, 16 * MIB)
    return Agent(folder, ROOT, learning_s=0, tick_s=TICK_S, more=more)


def limit(disk: Path) -> float:
    """Return the filler's limit of bytes written, as the kernel has it."""
    file = CGROUP / "io.max"
    lines = file.read_text().splitlines() if file.exists() else []
    number = (Path("/sys/class/block") / disk.name / "dev").read_text().strip()
    said = next((line for line in lines if line.startswith(f"{number} ")), "wbps=max")
    word = next(word for word in said.split() if word.startswith("wbps="))
    return float(word.removeprefix("wbps=").replace("max", "inf"))


def drifted(agent: Agent) -> int:
    record = agent.tick()
    assert record.drift is not None
    return record.drift.total


def told(disk: Path) -> str:
    return (
        systemctl("show", "-p", "IOWriteBandwidthMax", "--value", UNIT)
        .strip()
        .removeprefix(f"{disk} ")
    )


def test_systemd_limits_the_disk_of_a_unit_and_it_is_as_it_was_once_released(
    filler: Path, tmp_path: Path, disk: Path
) -> None:
    assert not (filler / "io.max").exists(), "the io controller comes with the limit"
    with closing(unit_agent(tmp_path, disk)) as agent:
        until(agent, lambda: limit(disk) <= MOST)
        agent.tick(10)
        most = limit(disk)
        assert 2 * MIB <= most <= MOST
        assert rate(filler, disk, "wbytes", over_s=2.0) == pytest.approx(most, rel=0.1)
        assert told(disk) == str(int(most))
        assert not any("disk" in problem for problem in agent.tick().problems)
        # What is only in the kernel's file systemd overwrites: here it has what it was asked for.
        now = limit(disk)
        systemctl("daemon-reload")
        assert limit(disk) == now
        systemctl("restart", UNIT)
        assert limit(disk) == now
        agent.tick(3)
        assert drifted(agent) == 0, "nobody else changed anything"
        systemctl("set-property", "--runtime", UNIT, f"IOWriteBandwidthMax={disk} 3M")
        wait_until(lambda: limit(disk) == 3e6)  # systemd says yes before that
        assert drifted(agent) == 1
        agent.tick(5)
        assert limit(disk) == 3e6, "what an operator sets is a pin"
    released, problem = release(agent.daemon.config.host)
    assert problem is None
    assert {one.result for one in released if one.cgroup == str(filler)} == {"restored"}
    assert (filler / "io.max").read_text() == ""
    assert told(disk) == ""


def test_a_disk_whose_limits_systemd_would_set_on_the_one_below_is_refused(
    filler: Path, disk: Path
) -> None:
    """It follows a stacked device down to the one disk that it is on."""
    bus = Bus()
    with stacked_on(disk, "tide-unit") as stacked, closing(bus), closing(UnitWriter(bus)) as writer:
        control, refusal = DiskControl("tide-unit", "wbps"), f"the disk below it, {disk.name}"
        with TenantCgroup(filler) as cgroup:
            with pytest.raises(LimitRejectedError, match=refusal):
                writer.offer(cgroup, control, float(MIB), found=None)
            with pytest.raises(LimitRejectedError, match=refusal):
                writer.put(cgroup, {control: float(MIB)})
        assert limit(disk) == float("inf")
        systemctl("set-property", "--runtime", UNIT, f"IOWriteBandwidthMax={stacked} 3M")
        # As long as it does so, it must not be asked to.
        wait_until(lambda: limit(disk) == 3e6)
