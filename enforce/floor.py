"""Reads from the kernel how low memory.high may go for a cgroup at this moment (safety rule 4)."""

import math
import os
from pathlib import Path

from enforce.cgroup import PAGE_BYTES, CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.counters import numbers, table
from enforce.memory import STAT_KEYS, unreclaimable_bytes

_MEMINFO, _MEMINFO_BYTES = Path("/proc/meminfo"), 4096


def memory_floor_bytes(cgroup: TenantCgroup, *, margin_bytes: float) -> float:
    """Return unreclaimable memory plus `margin_bytes`, in whole pages.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: It has no memory controller, or what it holds cannot be told.

    """
    stat = table([cgroup.read(b"memory.stat")], STAT_KEYS)
    stuck = float(unreclaimable_bytes(stat, swap_room_bytes(cgroup.path_text))[0])
    if not math.isfinite(stuck):  # no comparison with it would hold a lower limit back
        raise LimitRejectedError("memory.stat: does not say what cannot be reclaimed")
    return -(-(stuck + margin_bytes) // PAGE_BYTES) * PAGE_BYTES


def swap_room_bytes(path: Path | str) -> float:
    """Return how much more the cgroup at `path` can swap out: free swap, cut by its limits.

    Raises:
        LimitRejectedError: That cannot be read.

    """
    room = _free_swap_bytes()
    # Listing them takes as long as a read.
    levels = (Path(path), *Path(path).parents) if room > 0 else ()
    for level in levels:
        limit = _swap_left_bytes(level)
        if limit is None:
            break
        room = min(room, limit)
        if room <= 0:
            break
    return max(room, 0.0)


def _free_swap_bytes() -> float:
    """Return the host's free swap; psutil reads two files for it, and takes ten times as long."""
    try:
        fd = os.open(_MEMINFO, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.pread(fd, _MEMINFO_BYTES, 0)
        finally:
            os.close(fd)
    except OSError as error:
        raise LimitRejectedError(f"{_MEMINFO}: {error.strerror}") from error
    at = text.find(b"SwapFree:")
    return float(text[at:].split(maxsplit=2)[1]) * 1024 if at >= 0 else 0.0


def _swap_left_bytes(path: Path) -> float | None:
    """Return memory.swap.max less memory.swap.current, None where there is no such file."""
    try:
        with TenantCgroup(path) as cgroup:
            if not cgroup.has("memory.swap.max"):
                return None
            rows = [cgroup.read(b"memory.swap.max"), cgroup.read(b"memory.swap.current")]
    except CgroupGoneError:
        return None
    limit, current = numbers(rows)[:, 0]
    if math.isnan(limit - current):
        raise LimitRejectedError(f"{path}: does not say how much it may swap out")
    return float(limit - current)
