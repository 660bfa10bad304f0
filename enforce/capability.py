"""What this kernel can and cannot do for tidegate, found by looking; nothing is changed.

Every entry says what its state means for the operator, and what would better it.
"""

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from enforce.ancestors import weakest
from enforce.cgroup import TenantCgroup
from enforce.descriptors import FILES_PER_TENANT

State = Literal["ok", "degraded", "missing"]

_PSI = Path("/proc/pressure/memory")
_CONTROLLER_MEANS = {
    "cpu": "cpu.max and cpu.weight",
    "memory": "memory.high and memory.low",
    "io": "disk counters and io.max",
}
_FEW_TENANTS = 1000


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that tidegate builds on: its state, what that means, what to do about it."""

    name: str
    state: State
    meaning: str
    remedy: str = ""


def probe(root: Path) -> list[Capability]:
    """Look at what the kernel offers below `root`, the parent of the tenants' cgroups."""
    home = _nearest(root)
    version = _cgroup_v2(root, home)
    if version.state == "missing":
        return [version, _pressure(), _swap(), _open_files()]
    return [
        version,
        _writable(home),
        *(_controller(home, name) for name in _CONTROLLER_MEANS),
        _protection(root),
        _pressure(),
        _swap(),
        _open_files(),
    ]


def _nearest(path: Path) -> Path:
    """Return `path`, or the closest directory above it where it does not exist yet."""
    return next(level for level in (path, *path.parents) if level.is_dir())


def _cgroup_v2(root: Path, home: Path) -> Capability:
    name = "cgroup v2"
    if not (home / "cgroup.controllers").exists():
        return Capability(
            name,
            "missing",
            f"{root} is not in a cgroup v2 hierarchy: nothing can be measured or limited",
            "boot with systemd.unified_cgroup_hierarchy=1, or correct host.cgroup_root",
        )
    if home != root:
        return Capability(name, "ok", f"{root} does not exist yet; it is made at start")
    return Capability(name, "ok", f"{root} is there")


def _writable(home: Path) -> Capability:
    name = "own cgroups"
    if os.access(home, os.W_OK) and os.access(home / "cgroup.subtree_control", os.W_OK):
        return Capability(name, "ok", f"{home} may be written")
    return Capability(
        name,
        "missing",
        f"{home} may not be written by uid {os.geteuid()}: no limit can be set",
        "run as root, or delegate the cgroup (Delegate=yes)",
    )


def _controller(home: Path, name: str) -> Capability:
    with TenantCgroup(home) as cgroup:
        here, below = cgroup.controllers, cgroup.controllers_of_children
    means = _CONTROLLER_MEANS[name]
    if name in below:
        return Capability(f"{name} controller", "ok", f"tenants have {means}")
    if name in here:
        return Capability(f"{name} controller", "ok", f"enabled for tenants at start: {means}")
    return Capability(
        f"{name} controller",
        "missing",
        f"tenants have no {means}: configured, but not enforceable",
        f"enable {name} in cgroup.subtree_control of every cgroup above {home}, "
        f"and see that cgroup v1 does not hold it (cgroup_no_v1={name})",
    )


def _protection(root: Path) -> Capability:
    """Look for the ancestor that protects least: memory.low counts no further than that."""
    name, least = "memory.low", weakest(root)
    if least is None or least[1] > 0:
        return Capability(name, "ok", "no cgroup above the tenants' parent undoes protection")
    return Capability(
        name,
        "degraded",
        f"memory.low of tenants is configured but not effective: {least[0]} protects 0 bytes",
        f"set memory.low of {least[0]} (systemd: MemoryLow=) to what its children need, or max",
    )


def _pressure() -> Capability:
    """Look for pressure stall information, of the host and of tenants."""
    name = "pressure stall information"
    try:
        _PSI.read_text()
    except OSError:
        return Capability(
            name,
            "degraded",
            "stalls are not measured: the emergency pool is lent even while the host itself "
            "stalls, who is held at a limit of a disk is guessed from what it uses, and lowering "
            "memory.high goes by what reclaim gets done alone",
            "boot with psi=1 on a kernel with CONFIG_PSI",
        )
    return Capability(
        name, "ok", "how long the host and tenants at their limits wait is known within a tick"
    )


def _swap() -> Capability:
    total = psutil.swap_memory().total
    if total:
        return Capability("swap", "ok", f"{total / 2**20:.0f} MiB")
    return Capability(
        "swap",
        "degraded",
        "there is none: memory.high never goes below a tenant's anonymous memory and tmpfs, and "
        "stays further above than with swap (memory_margin_bytes)",
        "add swap (or zram), so that idle memory can be lent",
    )


def _open_files() -> Capability:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    tenants = float("inf") if hard == resource.RLIM_INFINITY else hard // FILES_PER_TENANT
    meaning = f"limit {soft}, can be raised to {hard}: enough for {tenants:.0f} tenants"
    if tenants >= _FEW_TENANTS:
        return Capability("open files", "ok", meaning)
    return Capability("open files", "degraded", meaning, "LimitNOFILE= of the unit, or ulimit -Hn")
