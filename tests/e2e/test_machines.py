"""Virtual machines that a real manager runs, libvirt with QEMU: their whole life as tenants."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from agents import Agent, quota_cores, until
from scopes import (
    AT_ONCE,
    CEILING_CORES,
    ROOT,
    SLICE,
    TICK_S,
    TOLERANCE,
    files,
    is_at_its_ceiling,
    told,
    used_cores,
)
from tenants import wait_until

from agent.doctor import _whose
from agent.release import release

pytestmark = pytest.mark.e2e
HOME = Path("/run/tidegate-machines")
# Boot sectors: one jumps to itself, one halts for good.
SPINS, HALTS = bytes((0xEB, 0xFE)), bytes((0xFA, 0xF4, 0xEB, 0xFD))
DOMAIN = """
<domain type="qemu">
  <name>{name}</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64" machine="pc">hvm</type><boot dev="fd"/></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file" device="floppy">
      <driver name="qemu" type="raw"/><source file="{disk}"/><target dev="fda"/><readonly/>
    </disk>
  </devices>
</domain>
"""
LIBVIRT = "tidegate-test-libvirt.service"
SETTINGS = """
user = "root"
group = "root"
security_driver = "none"
namespaces = []
stdio_handler = "file"
"""
TENANT = r"""
qos = "silver"
cgroup = 'machine.slice/machine-qemu\x2d*\x2dweb.scope'
[cpu]
floor_cores = 0.1
ceiling_cores = 0.4
"""


def virsh(*arguments: str) -> str:
    return told(["virsh", "--connect=qemu:///system", *arguments])


def started(name: str, sector: bytes) -> Path:
    """Start a machine that runs one boot sector; return its scope."""
    disk, domain = HOME / f"{name}.disk", HOME / f"{name}.xml"
    disk.write_bytes((sector.ljust(510, b"\0") + b"\x55\xaa").ljust(1440 << 10, b"\0"))
    domain.write_text(DOMAIN.format(name=name, disk=disk))
    virsh("create", str(domain))
    escaped = name.replace("-", r"\x2d")
    return SLICE / rf"machine-qemu\x2d{virsh('domid', name)}\x2d{escaped}.scope"


@pytest.fixture
def manager(installed: Path) -> Iterator[None]:
    """A libvirt of this guest's own, whose machines are root's."""
    assert installed.is_dir()
    if shutil.which("libvirtd") is None:
        pytest.skip("needs libvirt: scripts/lab-deps machines")
    HOME.mkdir()
    # It looks for its usual user even where its settings name another.
    subprocess.run(["useradd", "--system", "--user-group", "libvirt-qemu"], check=False)
    Path("/etc/libvirt/libvirtd.conf").touch()
    Path("/etc/libvirt/qemu.conf").write_text(SETTINGS)
    subprocess.run(["systemctl", "start", ROOT.name], check=True, timeout=60)
    unit = [f"--unit={LIBVIRT}", "--property=Delegate=yes", "--property=KillMode=process"]
    subprocess.run(["systemd-run", *unit, "/usr/sbin/libvirtd"], check=True, timeout=60)
    connected = ("virsh", "--connect=qemu:///system", "version")
    wait_until(lambda: subprocess.run(connected, check=False).returncode == 0, limit_s=60)
    yield
    for name in virsh("list", "--name").split():
        virsh("destroy", name)
    subprocess.run(["systemctl", "stop", LIBVIRT], check=True, timeout=60)


@pytest.mark.usefixtures("manager")
def test_a_machine_is_held_at_its_limit_under_each_of_its_numbers_and_is_as_it_was_once_released(
    tmp_path: Path,
) -> None:
    other, first = started("x-web", HALTS), started("web", SPINS)
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d/web.toml").write_text(TENANT)
    with closing(Agent(tmp_path, ROOT, learning_s=0, tick_s=TICK_S, more=AT_ONCE)) as agent:
        until(agent, lambda: is_at_its_ceiling(first))
        assert used_cores(first) == pytest.approx(CEILING_CORES, rel=TOLERANCE)
        see_both_named(agent, first, other)
        see_own_settings_stand(agent, first)
        virsh("destroy", "web")
        wait_until(lambda: not first.exists())
        second = started("web", SPINS)
        assert second != first
        before = files(second)
        until(agent, lambda: is_at_its_ceiling(second))
        assert used_cores(second) == pytest.approx(CEILING_CORES, rel=TOLERANCE)
        assert files(other)["cpu.max"].startswith("max")
    released, problem = release(agent.daemon.config.host)
    assert problem is None
    results = {(one.cgroup, str(one.result)) for one in released if "machine-" in one.cgroup}
    assert results == {(str(first), "gone"), (str(second), "restored")}
    assert files(second) == before


def see_both_named(agent: Agent, web: Path, other: Path) -> None:
    """See that doctor knows whose the tenant's scope is, and that the other is no tenant's."""
    found = {one.name: one.meaning for one in _whose(agent.daemon.config)}
    whose = f"a virtual machine of libvirt's (web), systemd's unit {web.name}"
    assert whose in found["owner of web"]
    assert (
        f"{other.name} (a virtual machine of libvirt's (x-web))"
        in (found["containers and virtual machines"])
    )


def see_own_settings_stand(agent: Agent, web: Path) -> None:
    """See that what libvirt sets of a machine meanwhile is left alone, and is no change of ours."""
    virsh("suspend", "web")
    virsh("resume", "web")
    virsh("schedinfo", "web", "--live", "--set", "vcpu_quota=30000")  # of threads, below
    virsh("memtune", "web", "--live", "--soft-limit", "200MiB")  # below, too
    virsh("schedinfo", "web", "--live", "--set", "cpu_shares=300")  # compares it with others
    drift = agent.tick(5).drift
    assert drift is not None
    assert drift.total == 0
    assert quota_cores(web / "libvirt/vcpu0") == pytest.approx(0.3)
    assert files(web)["cpu.weight"] == "300"
    assert quota_cores(web) <= CEILING_CORES  # less, once its thread's quota has it use less
