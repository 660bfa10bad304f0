"""Tenants that live elsewhere: systemd's own units, set over D-Bus, and another's cgroups."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, quota_cores, until
from tenants import wait_until

from agent.doctor import _whose
from agent.release import release
from enforce.bus import Bus
from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Control, Result
from enforce.elsewhere import Elsewhere
from enforce.places import Places, unit_cgroups
from enforce.units import UnitWriter
from enforce.value_writer import ValueWriter

pytestmark = pytest.mark.e2e
MOUNT = Path("/sys/fs/cgroup")
ROOT = MOUNT / "tidegate.slice/tidegate-tenants.service"
ACME = MOUNT / "cust.slice/acme.service"
BOX = MOUNT / "boxes/box"
TICK_S, MIB = 0.2, 1 << 20
UNIT = "[Service]\nExecStart=/bin/sleep 10000\nSlice=cust.slice\n"
TENANT = 'qos = "silver"\n{place}\n[cpu]\nfloor_cores = 0.1\nceiling_cores = 0.6\n'
FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low")
PROGRAM = Path(sys.executable).with_name("tidegate")
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
AT_ONCE = "[pace]\nramp_down_fraction_per_s = 1.0\n"


def systemctl(*arguments: str) -> str:
    return subprocess.run(
        ["systemctl", *arguments], check=True, timeout=60, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def acme(installed: Path) -> Iterator[Path]:
    """A unit of systemd's, which is no business of tidegate's, and a cgroup of nobody's."""
    assert installed.is_dir()
    systemctl("start", ROOT.name)
    Path("/etc/systemd/system/acme.service").write_text(UNIT)
    systemctl("daemon-reload")
    systemctl("start", "acme.service")
    BOX.mkdir(parents=True)
    for folder in (BOX.parents[1], BOX.parent):
        for name in ("cpu", "memory"):
            (folder / "cgroup.subtree_control").write_text(f"+{name}")
    yield ACME
    systemctl("stop", "acme.service")


def files(cgroup: Path) -> dict[str, str]:
    """Return what is in force; a controller that nobody needs has no files, and limits nothing."""
    unlimited = dict(zip(FILES, ("max 100000", "100", "max", "0"), strict=True))
    there = [name for name in FILES if (cgroup / name).exists()]
    return unlimited | {name: (cgroup / name).read_text().strip() for name in there}


def unit_agent(folder: Path, **places: str) -> Agent:
    """Return an agent over the two tenants of `Agent`, and these elsewhere."""
    (folder / "tenants.d").mkdir()
    for name, place in places.items():
        (folder / "tenants.d" / f"{name}.toml").write_text(TENANT.format(place=place))
    return Agent(folder, ROOT, learning_s=0, tick_s=TICK_S, more=AT_ONCE)


def limit(cgroup: Path) -> float:
    return quota_cores(cgroup) if (cgroup / "cpu.max").exists() else float("inf")


def is_told_of(cgroup: Path) -> bool:
    """Say whether systemd's books have what the kernel has: it is told beside the ticks."""
    shown = systemctl("show", "-p", "CPUQuotaPerSecUSec,MemoryHigh", cgroup.name).splitlines()
    return {
        f"CPUQuotaPerSecUSec={1000 * quota_cores(cgroup):.0f}ms",
        f"MemoryHigh={files(cgroup)['memory.high']}",
    } <= set(shown)


def total(agent: Agent) -> int:
    record = agent.tick()
    assert record.drift is not None
    return record.drift.total


def test_a_unit_is_limited_by_systemd_itself_and_is_as_it_was_once_released(
    acme: Path, tmp_path: Path
) -> None:
    before = files(acme)
    with closing(unit_agent(tmp_path, acme='unit = "acme.service"')) as agent:
        until(agent, lambda: limit(acme) < 0.6 + 1e-9 and agent.tick().totals.written > 4)
        agent.tick(15)
        until(agent, lambda: files(acme)["memory.high"] != "max" and is_told_of(acme))
        now = files(acme)
        assert 0.1 <= quota_cores(acme) <= 0.6
        # Weights compare siblings: acme's are none of tidegate's tenants.
        assert now["cpu.weight"] == before["cpu.weight"]
        systemctl("daemon-reload")
        assert files(acme) == now, "what systemd keeps outlives a daemon-reload"
        findings = _whose(agent.daemon.config)
        (found,) = [one for one in findings if one.name == "owner of acme"]
        assert "systemd's unit acme.service" in found.meaning
        assert "cust.slice protects 0 bytes" in found.meaning
        systemctl("restart", "acme.service")
        assert files(acme)["cpu.max"] == now["cpu.max"]
        agent.tick(3)  # which may see what the start took
        assert total(agent) == 0, "nobody else changed anything"
    host = agent.daemon.config.host
    released, problem = release(host)
    assert problem is None
    assert {one.result for one in released if one.cgroup == str(acme)} == {"restored"}
    assert files(acme) == before
    shown = systemctl("show", "-p", "CPUWeight,CPUQuotaPerSecUSec,MemoryHigh", "acme.service")
    unset = ["CPUWeight=[not set]", "CPUQuotaPerSecUSec=infinity", "MemoryHigh=infinity"]
    assert sorted(shown.splitlines()) == sorted(unset)


def test_what_an_operator_sets_of_a_unit_is_a_pin_and_what_outranks_ours_is_named(
    acme: Path, tmp_path: Path
) -> None:
    with closing(unit_agent(tmp_path, acme='unit = "acme.service"')) as agent:
        until(agent, lambda: limit(acme) < 0.6 + 1e-9)
        agent.tick(10)
        systemctl("set-property", "--runtime", "acme.service", "CPUQuota=23%")
        wait_until(lambda: quota_cores(acme) == pytest.approx(0.23))  # it says yes before that
        assert total(agent) == 1
        agent.tick(10)
        assert quota_cores(acme) == pytest.approx(0.23)
        systemctl("set-property", "acme.service", "CPUQuota=31%")
        try:
            until(agent, lambda: "system.control" in (agent.daemon.facts().places_problem or ""))
            assert "CPUQuota=" in (agent.daemon.facts().places_problem or "")
            assert quota_cores(acme) == pytest.approx(0.31)
        finally:
            systemctl("revert", "acme.service")
            systemctl("daemon-reload")
    release(agent.daemon.config.host)


def test_an_ancestors_limit_is_a_ceiling_and_a_floor_above_it_is_named(
    acme: Path, tmp_path: Path
) -> None:
    with closing(unit_agent(tmp_path, acme='unit = "acme.service"')) as agent:
        until(agent, lambda: limit(acme) < 0.6 + 1e-9)
        systemctl("set-property", "--runtime", "cust.slice", "CPUQuota=5%")
        try:
            until(agent, lambda: limit(acme) <= 0.05 + 1e-9)
            assert "floor of cpu is cut" in (agent.daemon.facts().places_problem or "")
        finally:
            systemctl("set-property", "--runtime", "cust.slice", "CPUQuota=")
        until(agent, lambda: quota_cores(acme) >= 0.1 - 1e-9)
    release(agent.daemon.config.host)


def test_another_s_cgroup_is_written_directly_and_nested_tenants_are_not(
    acme: Path, tmp_path: Path
) -> None:
    before = files(BOX)
    places = {"box": 'cgroup = "boxes/box"', "inner": 'unit = "acme.service"', "outer": ""}
    places["outer"] = 'unit = "cust.slice"'
    with closing(unit_agent(tmp_path, **places)) as agent:
        until(agent, lambda: quota_cores(BOX) < 0.6 + 1e-9)
        agent.tick(12)
        problem = agent.daemon.facts().places_problem or ""
        assert "outer: cust.slice" in problem
        assert f"one with, in, or around {acme}" in problem
        assert (acme.parent / "cpu.max").read_text() == "max 100000\n"
    release(agent.daemon.config.host)
    assert files(BOX) == before


def test_memory_high_below_what_is_in_use_is_told_to_systemd_once_it_costs_no_reclaim(
    acme: Path,
) -> None:
    writer = ValueWriter(memory_margin_bytes=MIB, record_burst=lambda _: None)
    files = sorted(Path(sys.prefix).rglob("*.so*"), key=lambda path: path.stat().st_size)[-6:]
    read = f"echo $$ > {acme}/cgroup.procs; cat {' '.join(map(str, files))} > /dev/null"
    with closing(writer), TenantCgroup(acme) as cgroup:
        writer.open_up(cgroup, Control.CPU_MAX)
        wait_until(lambda: cgroup.has("memory.high"))
        subprocess.run(["/bin/sh", "-c", read], check=True)
        assert cgroup.memory_current > 50 * MIB

        def asked() -> Result:
            return writer.write(cgroup, Control.MEMORY_HIGH, "memory.high", 16.0 * MIB).result

        assert asked() == Result.PENDING

        def said() -> str:
            return systemctl("show", "-p", "MemoryHigh", "--value", "acme.service").strip()

        def told() -> str:
            shown = said()
            assert shown == "infinity" or int(shown) >= cgroup.memory_high, "it is never ahead"
            return shown

        def is_told() -> bool:
            asked()  # again, as by every tick: what is not repeated for a second is dropped
            return told() == str(16 * MIB)

        wait_until(is_told, limit_s=80, pause_s=0.2)
        assert cgroup.memory_high == 16 * MIB
        writer.write(cgroup, Control.MEMORY_HIGH, "memory.high", float("inf"))
        wait_until(lambda: said() == "infinity")  # a raise is in force before it is told


def test_what_systemd_takes_and_the_kernel_does_not_is_told(acme: Path) -> None:
    """It says yes, and its file says so; the kernel refuses a quota below the burst."""
    bus = Bus()
    writer = UnitWriter(bus)
    with closing(bus), TenantCgroup(acme) as cgroup:
        writer.put(cgroup, {Control.CPU_MAX: 0.5})
        cgroup.cpu_max_burst_us = 40_000
        try:
            with pytest.raises(LimitRejectedError, match="systemd took CPUQuotaPerSecUSec, but"):
                writer.put(cgroup, {Control.CPU_MAX: 0.2})
        finally:
            cgroup.cpu_max_burst_us = 0
            writer.put(cgroup, {Control.CPU_MAX: float("inf")})
    writer.close()


def test_a_unit_is_found_in_whatever_slice_it_runs(acme: Path) -> None:
    assert unit_cgroups({"acme.service", "no-such.service"}) == {"acme.service": acme}
    places = Places(ROOT, ["acme"], {"acme": Elsewhere(unit="acme.service")})
    assert (places.path(0), places.key(str(acme))) == (acme, str(acme))


def test_a_command_in_a_tenant_that_is_a_slice_has_a_scope_that_outlives_tidegates_units(
    acme: Path, tmp_path: Path
) -> None:
    web = acme.parent / "cust-web.slice"
    with closing(unit_agent(tmp_path, web='unit = "cust-web.slice"')) as agent, ExitStack() as ends:
        agent.tick(2)
        assert not web.exists()
        options = ["--config", str(tmp_path / "tidegate.toml"), "web"]
        program = ["/bin/sh", "-c", "echo started; read line; exit 7"]
        command = subprocess.Popen([PROGRAM, "exec", *options, "--", *program], **PIPES)
        sleeper = subprocess.Popen(["/bin/sleep", "1000"])
        for one in (command, sleeper):
            ends.enter_context(one)  # waits for it once it is killed
            ends.callback(one.kill)
        assert command.stdin is not None
        assert command.stdout is not None
        assert command.stdout.readline() == "started\n"
        subprocess.run([PROGRAM, "attach", *options, str(sleeper.pid)], check=True)
        scopes = {pid: scope_of(pid) for pid in (command.pid, sleeper.pid)}
        assert [scope.parent for scope in scopes.values()] == [web] * 2
        assert scopes[command.pid] != scopes[sleeper.pid]
        until(agent, lambda: limit(web) < 0.6 + 1e-9)
        for unit in (ROOT.name, "tidegate.slice"):
            systemctl("restart", unit)
            assert {pid: scope_of(pid) for pid in scopes} == scopes
        command.communicate("on\n", timeout=20)
        assert command.returncode == 7
        until(agent, lambda: not scopes[command.pid].exists())
    release(agent.daemon.config.host)


def scope_of(pid: int) -> Path:
    """Return the cgroup of a process."""
    return MOUNT / Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")
