"""A container that a real engine runs, Podman: its whole life as a tenant."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from agents import Agent, quota_cores
from tenants import wait_until

from agent.doctor import _whose
from agent.release import release

pytestmark = pytest.mark.e2e
MOUNT = Path("/sys/fs/cgroup")
ROOT = MOUNT / "tidegate.slice/tidegate-tenants.service"
SLICE = MOUNT / "machine.slice"
HOME = Path("/run/tidegate-containers")
PLACES = (f"--{name}={HOME / name}" for name in ("root", "runroot", "tmpdir"))
PODMAN = ("podman", *PLACES, "--storage-driver=vfs", "--runtime=crun", "--cgroup-manager=systemd")
# As in a person's shell: in a unit's processes Podman makes no scope for the container's watcher.
SHELL = {name: value for name, value in os.environ.items() if name != "INVOCATION_ID"}
SPIN = ("/bin/sh", "-c", "while :; do :; done")
TENANT = """
qos = "silver"
cgroup = "machine.slice/libpod-*.scope"
[cpu]
floor_cores = 0.1
ceiling_cores = 0.4
"""
AT_ONCE = "[pace]\nramp_down_fraction_per_s = 1.0\n"
CEILING_CORES, TICK_S, PATIENCE_TICKS = 0.4, 0.2, 100
MEASURED_S, TOLERANCE = 4.0, 0.03
FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low", "memory.max")


def podman(*arguments: str) -> str:
    done = subprocess.run(
        [*PODMAN, *arguments], check=False, timeout=60, capture_output=True, text=True, env=SHELL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def started() -> Path:
    """Run a container that takes all the CPU it gets, and return its scope."""
    place = ("--network=none", "--rootfs", str(HOME / "fs"))
    container = podman("run", "--detach", "--name=shop", *place, *SPIN)
    assert (SLICE / f"libpod-conmon-{container}.scope").is_dir()
    return SLICE / f"libpod-{container}.scope"


@pytest.fixture
def engine(installed: Path) -> Iterator[None]:
    """Podman with a root of one program, and no container."""
    assert installed.is_dir()
    if shutil.which("podman") is None:
        pytest.skip("needs Podman: scripts/lab-deps containers")
    busybox = shutil.which("busybox")
    assert busybox is not None
    (HOME / "fs/bin").mkdir(parents=True)
    shutil.copy(busybox, HOME / "fs/bin/sh")
    subprocess.run(["systemctl", "start", ROOT.name], check=True, timeout=60)
    yield
    podman("rm", "--force", "--time=0", "--all")


def files(scope: Path) -> dict[str, str]:
    return {name: (scope / name).read_text().strip() for name in FILES}


def until(agent: Agent, is_true: Callable[[], object]) -> None:
    for _ in range(PATIENCE_TICKS):
        if is_true():
            return
        agent.tick()
    raise AssertionError(agent.daemon.facts().places_problem)


def is_at_its_ceiling(scope: Path) -> bool:
    return quota_cores(scope) == pytest.approx(CEILING_CORES)


def used_cores(scope: Path) -> float:
    """Return what a container that is held uses of the CPU, over whole periods of its quota."""
    before_s, began_at_s = used_at_a_period(scope)
    time.sleep(MEASURED_S)
    after_s, ended_at_s = used_at_a_period(scope)
    return (after_s - before_s) / (ended_at_s - began_at_s)


def used_at_a_period(scope: Path) -> tuple[float, float]:
    """Return what it has used by the start of a period, and when that was."""

    def counters() -> dict[str, str]:
        return dict(map(str.split, (scope / "cpu.stat").read_text().splitlines()))

    periods = counters()["nr_periods"]
    wait_until(lambda: counters()["nr_periods"] != periods)
    return int(counters()["usage_usec"]) / 1e6, time.monotonic()


@pytest.mark.usefixtures("engine")
def test_a_container_is_held_at_its_limit_under_each_of_its_ids_and_is_as_it_was_once_released(
    tmp_path: Path,
) -> None:
    first = started()
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d/shop.toml").write_text(TENANT)
    with closing(Agent(tmp_path, ROOT, learning_s=0, tick_s=TICK_S, more=AT_ONCE)) as agent:
        until(agent, lambda: is_at_its_ceiling(first))
        podman("exec", "--detach", "shop", *SPIN)
        assert used_cores(first) == pytest.approx(CEILING_CORES, rel=TOLERANCE)
        found = {one.name: one.meaning for one in _whose(agent.daemon.config)}
        assert f"a container of Podman's, systemd's unit {first.name}" in found["owner of shop"]
        podman("pause", "shop")
        podman("unpause", "shop")
        podman("restart", "--time=0", "shop")
        assert quota_cores(first) > 1, "the engine has made its scope anew"
        until(agent, lambda: is_at_its_ceiling(first))
        podman("rm", "--force", "--time=0", "shop")
        wait_until(lambda: not first.exists())
        second = started()
        before = files(second)
        until(agent, lambda: is_at_its_ceiling(second))
        assert used_cores(second) == pytest.approx(CEILING_CORES, rel=TOLERANCE)
        drift = agent.tick().drift
        assert drift is not None
        assert drift.total == 0, "nobody else changed anything"
    released, problem = release(agent.daemon.config.host)
    assert problem is None
    results = {(one.cgroup, str(one.result)) for one in released if "libpod-" in one.cgroup}
    assert results == {(str(first), "gone"), (str(second), "restored")}
    assert files(second) == before
