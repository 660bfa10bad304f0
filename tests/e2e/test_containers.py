"""Containers that a real engine runs, Podman: their whole life as tenants, and their network."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from agents import Agent, quota_cores, until
from elapsed import rested, undisturbed
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
from traffic import LINK, NETNS, SERVER, THEIRS, lay_link, sh

from agent.doctor import _sought_veths, _whose, examined
from agent.release import release
from enforce.links.netlink import ClassSocket
from enforce.links.programs import BPFFS, is_bpffs
from enforce.links.uplink import ifindex_of

pytestmark = pytest.mark.e2e
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


def podman(*arguments: str) -> str:
    return told([*PODMAN, *arguments], env=SHELL)


def started(*command: str, network: str = "none") -> Path:
    """Run a container that takes all the CPU it gets, or a command; return its scope."""
    place = (f"--network={network}", "--rootfs", str(HOME / "fs"))
    container = podman("run", "--detach", "--name=shop", *place, *(command or SPIN))
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
    (HOME / "fs/bin").mkdir(parents=True, exist_ok=True)
    for program in ("sh", "nc", "sleep"):
        shutil.copy(busybox, HOME / "fs/bin" / program)
    subprocess.run(["systemctl", "start", ROOT.name], check=True, timeout=60)
    yield
    podman("rm", "--force", "--time=0", "--all")


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


NETWORK = """
veth = "auto"
[network]
out_ceiling_bytes_per_s = 1000000
"""
UPLINK = f"""
[network.{LINK}]
out_capacity_bytes_per_s = 10000000
"""
STRICT = 'net_out = "strict"\n'  # of the table that the agent's file ends with
OUT_BYTES_PER_S, OUT_MEASURED_S, OUT_TOLERANCE = 1e6, 3.0, 0.05
SEND = f"while :; do nc {THEIRS} 5000 < /dev/zero; sleep 1; done"


@pytest.fixture
def peer(engine: None, tmp_path: Path) -> Iterator["Peer"]:
    """Lay a link to a peer, where the engine's bridge is routed."""
    sh("update-alternatives --set iptables /usr/sbin/iptables-legacy")  # what this kernel has
    if not is_bpffs(BPFFS):
        sh(f"mount -t bpf bpf {BPFFS}")
    lay_link(tmp_path)
    peer = Peer()
    peer.listen()
    yield peer
    peer.end()
    sh(f"ip netns del {NETNS}")


class Peer:
    """Who takes all that one sender sends; one that is gone without a word keeps others waiting."""

    server: "subprocess.Popen[bytes] | None" = None

    def listen(self) -> None:
        self.end()
        argv = ["ip", "netns", "exec", NETNS, sys.executable, "-c", SERVER, "", THEIRS, "5000"]
        self.server = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"

    def end(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.communicate()


def sent_bytes() -> int:
    """Return what has left the second tenant's class on the link: `calm` is the first."""
    shown = sh(f"tc -s class show dev {LINK} classid 7d6e:11")
    return int((shown.partition("Sent ")[2].split() or ["0"])[0])


def is_sending() -> bool:
    before = sent_bytes()
    time.sleep(0.2)
    return sent_bytes() > before


def sent_bytes_per_s() -> float:
    with closing(ClassSocket()) as netlink:

        def sent_by() -> tuple[float, float]:
            began_s = time.monotonic()
            sent = netlink.classes(ifindex_of(LINK)).of(np.array([0x11])).bytes[0]
            return float(sent), (began_s + time.monotonic()) / 2

        def measured() -> tuple[float, bool]:
            before, began_s = sent_by()
            is_calm = rested(OUT_MEASURED_S)
            after, ended_s = sent_by()
            return (after - before) / (ended_s - began_s), is_calm

        return undisturbed(measured)


def test_a_containers_bytes_out_are_held_behind_the_engines_bridge_under_each_of_its_veths(
    peer: Peer, tmp_path: Path
) -> None:
    started("/bin/sh", "-c", SEND, network="podman")
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d/shop.toml").write_text(TENANT.replace("[cpu]", f"{NETWORK}[cpu]"))
    more = STRICT + AT_ONCE + UPLINK
    with closing(Agent(tmp_path, ROOT, learning_s=0, tick_s=TICK_S, more=more)) as agent:
        until(agent, lambda: "ceil 8Mbit" in sh(f"tc class show dev {LINK}") and is_sending())
        veth = sh("ip -brief link show type veth")
        assert sent_bytes_per_s() == pytest.approx(OUT_BYTES_PER_S, rel=OUT_TOLERANCE)
        _, found = _sought_veths(agent.daemon.config)
        states = {one.name: one.state for one in found}
        assert states["veth of shop"] == "ok"
        sh(f"tc filter add dev {LINK} egress prio 7 matchall action pass")
        host = (tmp_path / "tidegate.toml", tmp_path / "tenants.d", tmp_path / "none.sock")
        assert f"filters of {LINK}" in {one.name for one in examined(*host)}
        sh(f"tc filter del dev {LINK} egress prio 7")
        podman("restart", "--time=0", "shop")
        peer.listen()
        assert sh("ip -brief link show type veth") != veth
        agent.tick(5)
        until(agent, is_sending)
        assert sent_bytes_per_s() == pytest.approx(OUT_BYTES_PER_S, rel=OUT_TOLERANCE)
    released, problem = release(agent.daemon.config.host)
    assert problem is None
    assert "htb" not in sh("tc qdisc show")
    assert {one.result for one in released if one.cgroup == LINK} == {"restored"}
