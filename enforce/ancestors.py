"""Which cgroup above the tenants' parent undoes their memory.low: protection counts no further.

Our own units do not count: the agent has systemd give them what tenants need.
"""

from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.systemd import own_units

_MIB = 1 << 20
# Others change it seldom: it is looked at about once a minute.
_TICKS_BETWEEN = 60


def weakest(root: Path) -> tuple[Path, float] | None:
    """Return the ancestor of `root` that protects least, and its memory.low in bytes."""
    ours = own_units(root)
    lows = {level: _memory_low(level) for level in root.parents if level not in ours}
    known = {level: low for level, low in lows.items() if low is not None}
    return min(known.items(), key=lambda item: item[1], default=None)


class Ancestors:
    """Watches at a slow pace whether what is above `root` protects what its tenants need."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._weakest: tuple[Path, float] | None = None
        self._ticks_left = 0

    def problem(self, needed_bytes: float) -> str | None:
        """Return which cgroup protects less than that; to be called each tick."""
        if self._ticks_left == 0:
            self._weakest, self._ticks_left = weakest(self._root), _TICKS_BETWEEN
        self._ticks_left -= 1
        if self._weakest is None or self._weakest[1] >= needed_bytes - _MIB:
            return None
        path, low_bytes = self._weakest
        return (
            f"{path} protects {low_bytes / _MIB:.0f} MiB of the {needed_bytes / _MIB:.0f} MiB that "
            "tenants are guaranteed: its memory.low is another's to set"
        )


def _memory_low(path: Path) -> float | None:
    try:
        with TenantCgroup(path) as cgroup:
            return cgroup.memory_low
    except (CgroupGoneError, LimitRejectedError):
        return None
