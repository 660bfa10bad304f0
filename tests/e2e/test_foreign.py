"""Containers and virtual machines, as their runtimes make them: taken where a file says so."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from agents import Agent, quota_cores, until
from tenants import wait_until

from agent.doctor import _whose
from agent.release import release

pytestmark = pytest.mark.e2e
MOUNT = Path("/sys/fs/cgroup")
ROOT = MOUNT / "tidegate.slice/tidegate-tenants.service"
TICK_S = 0.2
ONE, OTHER = ("0123456789ab" * 5 + end for end in ("cdef", "fedc"))
DOCKERS, ANOTHERS = (MOUNT / f"system.slice/docker-{of}.scope" for of in (ONE, OTHER))
KUBE = MOUNT / f"kubepods/burstable/pod1a2b3c4d-0000-4000-8000-00000000000f/{ONE}"
PLACES = {
    "shop": f'cgroup = "system.slice/docker-{ONE}.scope"',
    "pod": f'cgroup = "{KUBE.relative_to(MOUNT)}"',
    "vm": r"cgroup = 'machine.slice/machine-qemu\x2d*\x2dvm.scope'",
}
TENANT = 'qos = "silver"\n{place}\n[cpu]\nfloor_cores = 0.1\nceiling_cores = 0.5\n'
AT_ONCE = "[pace]\nramp_down_fraction_per_s = 1.0\n"
SLEEP = ("/bin/sleep", "1000")


class Host:
    """What runtimes start, each in the cgroup that it would make."""

    def __init__(self, ends: ExitStack) -> None:
        self._ends = ends

    def scope(self, path: Path, *properties: str) -> int:
        """Start a process in a scope with a delegated cgroup, as runtimes have systemd do."""
        run = ["systemd-run", "--scope", "--quiet", "-p", "Delegate=yes", "--collect"]
        run += [f"--property={each}" for each in properties]
        place = [f"--slice={path.parent.name}", f"--unit={path.name}"]
        process = self._started(*run, *place, "--", *SLEEP)
        wait_until(lambda: path.is_dir() and (path / "cgroup.procs").read_text())
        return process.pid

    def container(self, path: Path) -> None:
        """Start one without systemd: the runtime makes the folders and hands controllers down."""
        path.mkdir(parents=True, exist_ok=True)
        for folder in reversed(path.relative_to(MOUNT).parents):
            for name in ("cpu", "memory"):
                (MOUNT / folder / "cgroup.subtree_control").write_text(f"+{name}")
        (path / "cgroup.procs").write_text(str(self._started(*SLEEP).pid))

    def machine(self, number: int) -> Path:
        """Start a virtual machine: libvirt divides its scope, a group a thread."""
        scope = MOUNT / rf"machine.slice/machine-qemu\x2d{number}\x2dvm.scope"
        pid = self.scope(scope)
        inner = scope / "libvirt"
        inner.mkdir()
        (inner / "cgroup.procs").write_text(str(pid))
        for name in ("cpu", "memory", "io"):
            with suppress(OSError):
                (scope / "cgroup.subtree_control").write_text(f"+{name}")
        for name in ("emulator", "vcpu0"):
            (inner / name).mkdir()
            (inner / name / "cgroup.type").write_text("threaded")
        with suppress(OSError):
            (inner / "cgroup.subtree_control").write_text("+cpu")
        (inner / "vcpu0" / "cgroup.threads").write_text(str(pid))
        return scope

    def _started(self, *argv: str) -> "subprocess.Popen[bytes]":
        process = self._ends.enter_context(subprocess.Popen(argv))
        self._ends.callback(process.kill)
        return process


def ended(path: Path) -> None:
    """Kill all in a cgroup, and see it go: systemd removes a scope, a runtime its folders."""
    (path / "cgroup.kill").write_text("1")

    def is_gone() -> bool:
        if path.suffix != ".scope":
            with suppress(OSError):  # still busy
                path.rmdir()
        return not path.exists()

    wait_until(is_gone)


@pytest.fixture
def host(installed: Path) -> Iterator[Host]:
    assert installed.is_dir()
    subprocess.run(["systemctl", "start", ROOT.name], check=True, timeout=60)
    with ExitStack() as ends:
        yield Host(ends)


def files(cgroup: Path) -> dict[str, str]:
    unlimited = {"cpu.max": "max 100000", "memory.high": "max", "memory.low": "0"}
    there = [name for name in unlimited if (cgroup / name).exists()]
    return unlimited | {name: (cgroup / name).read_text().strip() for name in there}


def is_limited(cgroup: Path) -> bool:
    return (cgroup / "cpu.max").exists() and 0.1 <= quota_cores(cgroup) <= 0.5 + 1e-9


def foreign_agent(folder: Path) -> Agent:
    (folder / "tenants.d").mkdir()
    for name, place in PLACES.items():
        (folder / "tenants.d" / f"{name}.toml").write_text(TENANT.format(place=place))
    return Agent(folder, ROOT, learning_s=0, tick_s=TICK_S, more=AT_ONCE)


def problem(agent: Agent) -> str:
    return agent.daemon.facts().places_problem or ""


def test_containers_and_machines_are_limited_where_a_file_says_so_and_named_as_whose_they_are(
    host: Host, tmp_path: Path
) -> None:
    for path in (DOCKERS, ANOTHERS):
        host.scope(path)
    host.container(KUBE)
    vm = host.machine(1)
    before = {path: files(path) for path in (DOCKERS, KUBE, vm, ANOTHERS)}
    with closing(foreign_agent(tmp_path)) as agent:
        until(agent, lambda: all(map(is_limited, (DOCKERS, KUBE, vm))))
        assert files(ANOTHERS) == before[ANOTHERS]
        assert (vm / "libvirt/vcpu0/cgroup.type").read_text() == "threaded\n"
        assert (vm / "libvirt/vcpu0/cpu.max").read_text() == "max 100000\n"
        *found, others = _whose(agent.daemon.config)
        owners = {one.name.split()[-1]: one.meaning for one in found}
        assert "a container of Docker's, systemd's unit docker-" in owners["shop"]
        assert "a container of Kubernetes', written directly" in owners["pod"]
        assert "a virtual machine of libvirt's (vm), systemd's unit machine-qemu" in owners["vm"]
        assert others.name == "containers and virtual machines"
        assert f"1 left alone, since they are no tenants: system.slice/{ANOTHERS.name}" in (
            others.meaning
        )
    released, left = release(agent.daemon.config.host)
    assert left is None
    assert {one.result for one in released if one.file and "/" in one.cgroup} == {"restored"}
    assert {path: files(path) for path in before} == before


def test_who_is_started_again_under_its_name_or_its_next_number_is_limited_and_who_is_gone_named(
    host: Host, tmp_path: Path
) -> None:
    host.scope(DOCKERS)
    host.container(KUBE)
    first = host.machine(1)
    before = files(DOCKERS)
    with closing(foreign_agent(tmp_path)) as agent:
        until(agent, lambda: all(map(is_limited, (DOCKERS, KUBE, first))))
        for path in (DOCKERS, KUBE, first):
            ended(path)
        until(agent, lambda: all(f"{name}: " in problem(agent) for name in PLACES))
        host.scope(DOCKERS)
        second = host.machine(2)
        until(agent, lambda: is_limited(DOCKERS) and is_limited(second))
        until(agent, lambda: "shop: " not in problem(agent))
        assert ("pod: " in problem(agent), "vm: " in problem(agent)) == (True, False)
        drift = agent.tick().drift
        assert drift is not None
        assert drift.total == 0, "nobody else changed anything"
    released, left = release(agent.daemon.config.host)
    assert left is None
    results = {one.cgroup: one.result for one in released}
    assert {results[str(path)] for path in (DOCKERS, second)} == {"restored"}
    assert {results[str(path)] for path in (KUBE, first)} == {"gone"}
    assert files(DOCKERS) == files(second) == before


def test_what_a_runtime_sets_of_a_container_at_its_next_start_is_put_back_then(
    host: Host, tmp_path: Path
) -> None:
    """`docker update` while it is a tenant, then a restart: its scope has the name of the last."""
    host.scope(DOCKERS, "CPUQuota=90%")
    with closing(foreign_agent(tmp_path)) as agent:
        until(agent, lambda: is_limited(DOCKERS))
        ended(DOCKERS)
        agent.tick()
        host.scope(DOCKERS, "CPUQuota=80%", "MemoryHigh=64M")
        before = files(DOCKERS)
        until(agent, lambda: is_limited(DOCKERS))
        remedies = [one.remedy for one in _whose(agent.daemon.config)]
        assert "to keep that, memory.ceiling_bytes = 67108864 in shop.toml" in remedies
    release(agent.daemon.config.host)
    assert files(DOCKERS) == before
    assert before["cpu.max"] == "80000 100000"
