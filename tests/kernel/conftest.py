"""A cgroup of their own for kernel tests, with controllers, in a subtree that is theirs to use.

In the lab that is any directory of the guest's hierarchy.  On a host it is the delegated cgroup
that the tests run in (`scripts/check --native` makes one); nothing else is ever written.
"""

import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from shaping import Bench, started
from traffic import BOX, NETNS, Traffic, lay_link, sh

from enforce.links.programs import BPFFS, PINS, is_bpffs
from enforce.links.saved import give_back

MOUNT = Path("/sys/fs/cgroup")
NEEDED = {"cpu", "memory"}
REMOVAL_LIMIT_S = 20.0
numbers = itertools.count()


@pytest.fixture(scope="session")
def delegated() -> Path:
    """Return the cgroup whose children are ours, its controllers enabled for them."""
    if os.geteuid() != 0:
        _unusable("needs root")
    if not (MOUNT / "cgroup.controllers").exists():
        _unusable("no cgroup v2 at /sys/fs/cgroup")
    home = MOUNT / _own_cgroup().lstrip("/")
    if home != MOUNT:
        _leave_for_a_leaf(home)
    missing = NEEDED - _words(home / "cgroup.subtree_control")
    if missing:
        _unusable(f"{home} gives its children no controller {', '.join(sorted(missing))}")
    return home


@pytest.fixture
def cgroup_root(delegated: Path) -> Iterator[Path]:
    """Make a fresh cgroup with all controllers enabled for its children; remove it afterwards."""
    path = delegated / f"tidegate-test-{os.getpid()}-{next(numbers)}"
    path.mkdir()
    _enable_all(path)
    yield path
    _remove(path)


@pytest.fixture
def link(cgroup_root: Path) -> Iterator[Path]:
    """Lay a link to a peer, make two tenants' cgroups; return their parent."""
    if os.environ.get("TIDEGATE_LAB") != "1":
        pytest.skip("only in the lab: this sets up interfaces and mounts")
    if not is_bpffs(BPFFS):
        sh(f"mount -t bpf bpf {BPFFS}")
    before = set(Path("/sys/class/net").iterdir())
    lay_link(cgroup_root)
    yield cgroup_root
    # Also of what a test that failed has left, or many more would fail.
    for left in set(Path("/sys/class/net").iterdir()) - before:
        subprocess.run(["ip", "link", "del", left.name], check=False, capture_output=True)
    for name in sh("ip netns list").split():
        if name in {NETNS, BOX}:
            sh(f"ip netns del {name}")


@pytest.fixture
def bench(link: Path, tmp_path: Path) -> Iterator[Bench]:
    """Return a shaper of two tenants on one uplink, which is put back afterwards."""
    bench = started(link, tmp_path / "uplinks.json")
    yield bench
    bench.shaper.close()
    assert [one.why for one in give_back(bench.record)] == [""]
    assert not PINS.exists()


@pytest.fixture
def traffic(link: Path) -> Iterator[Traffic]:
    """Return a maker of endless streams, which end with the test."""
    traffic = Traffic(link)
    yield traffic
    traffic.stop()


def _own_cgroup() -> str:
    """Return this process's cgroup v2 path, "/" at the root of its namespace."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line for line in lines if line.startswith("0::")).removeprefix("0::")


def _leave_for_a_leaf(home: Path) -> None:
    """Move every process of a delegated cgroup to a leaf, so that it may enable controllers."""
    if home.name == "tidegate-tests" or "trusted.delegate" not in os.listxattr(home):
        _unusable(f"{home} is not delegated: run scripts/check --native")
    leaf = home / "tidegate-tests"
    leaf.mkdir()
    for process in (home / "cgroup.procs").read_text().split():
        (leaf / "cgroup.procs").write_text(process)
    _enable_all(home)


def _enable_all(path: Path) -> None:
    for controller in sorted(_words(path / "cgroup.controllers")):
        (path / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove(path: Path) -> None:
    """Kill what is left in `path` and remove it, children first, waiting for the dying."""
    (path / "cgroup.kill").write_text("1")
    deadline_s = time.monotonic() + REMOVAL_LIMIT_S
    while "populated 1" in (path / "cgroup.events").read_text():
        assert time.monotonic() < deadline_s, f"{path} still has processes"
        time.sleep(0.02)
    for directory, _, _ in os.walk(path, topdown=False):
        Path(directory).rmdir()


def _words(path: Path) -> set[str]:
    return set(path.read_text().split())


def _unusable(reason: str) -> NoReturn:
    if os.environ.get("TIDEGATE_LAB") == "1":
        pytest.fail(f"the lab must give a usable cgroup: {reason}")
    pytest.skip(reason)
