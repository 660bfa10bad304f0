"""Settings of the kernel (sysctls, mount options) that undo or endanger what limits do."""

from collections.abc import Iterator
from pathlib import Path

from enforce.capability import Capability
from enforce.descriptors import FILES_PER_TENANT

_PROC_SYS, _MOUNTS = Path("/proc/sys"), Path("/proc/self/mounts")
_RECURSIVE = "memory_recursiveprot"


def probe_settings(
    *,
    tenants: int,
    has_disks: bool = False,
    has_maxima: bool = False,
    proc_sys: Path = _PROC_SYS,
    mounts: Path = _MOUNTS,
) -> list[Capability]:
    """Name what is set in the way of limits on `tenants`; one finding says that nothing is.

    `has_disks` says that disks are limited, `has_maxima` that a tenant has a memory.max.
    """
    found = [*_sysctls(proc_sys, tenants, has_disks, has_maxima), *_mount_options(mounts)]
    return found or [Capability("kernel settings", "ok", "none is in the way of limits")]


def _sysctls(
    proc_sys: Path, tenants: int, has_disks: bool, has_maxima: bool
) -> Iterator[Capability]:
    if _number(proc_sys / "vm" / "swappiness", 60) == 0 and _has_swap(proc_sys.parent):
        yield Capability(
            "vm.swappiness",
            "degraded",
            "0: anonymous memory is hardly ever swapped out, yet free swap counts as room for it, "
            "so that memory.high may stand below what a tenant can give back",
            "sysctl vm.swappiness=60, or memory.swap.max of tenants to 0",
        )
    if has_disks and _number(proc_sys / "kernel" / "hung_task_panic", 0):
        yield Capability(
            "kernel.hung_task_panic",
            "degraded",
            "the kernel panics once a task waits long for a disk, as one at its limit may",
            "sysctl kernel.hung_task_panic=0",
        )
    if has_maxima and _number(proc_sys / "vm" / "panic_on_oom", 0) > 1:
        yield Capability(
            "vm.panic_on_oom",
            "degraded",
            "2: the kernel panics where a tenant reaches its memory.max",
            "sysctl vm.panic_on_oom=0",
        )
    most = _number(proc_sys / "fs" / "nr_open", 1 << 20)
    if most < tenants * FILES_PER_TENANT:
        yield Capability(
            "fs.nr_open",
            "degraded",
            f"{most} open files at most: those of {tenants} tenants are opened anew at each tick",
            f"sysctl fs.nr_open={2 * tenants * FILES_PER_TENANT}",
        )


def _mount_options(mounts: Path) -> Iterator[Capability]:
    """Look at how the hierarchy is mounted; nothing where that is not told."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return
    options = [words[3] for words in lines if len(words) > 3 and words[2] == "cgroup2"]  # noqa: PLR2004 - fstab(5)
    if options and not any(_RECURSIVE in each.split(",") for each in options):
        yield Capability(
            _RECURSIVE,
            "degraded",
            "cgroup2 is mounted without it: memory.low of a tenant protects none of its sub-groups",
            f"mount -o remount,{_RECURSIVE} /sys/fs/cgroup",
        )


def _has_swap(proc: Path) -> bool:
    try:
        return len((proc / "swaps").read_text().splitlines()) > 1
    except OSError:
        return False


def _number(path: Path, unknown: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return unknown
