"""What cgroups above tenants' do to them: undo their memory.low, or limit them all the same.

Protection counts no further than an ancestor's; there our own units do not count: the agent has
systemd give them what tenants need.  What an ancestor is limited to, none below it exceeds.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import Floats
from enforce.places import MOUNT, Places
from enforce.systemd import own_units

_MIB = 1 << 20
# Others change it seldom: it is looked at about once a minute.
_TICKS_BETWEEN = 60


Lows = dict[Path, float | None]  # memory.low of cgroups that were asked, None without the file


def weakest(root: Path, asked: Lows | None = None) -> tuple[Path, float] | None:
    """Return the ancestor of `root` that protects least, and its memory.low in bytes.

    What is `asked` is not asked again, and what is asked is added: tenants share ancestors.
    """
    ours, lows = own_units(root), {} if asked is None else asked
    levels = [level for level in root.parents if level not in ours]
    for level in levels:
        if level not in lows:
            lows[level] = _memory_low(level)
    known = [(level, low) for level in levels if (low := lows[level]) is not None]
    return min(known, key=lambda item: item[1], default=None)


def protected_less(path: Path, asked: Lows | None = None) -> tuple[Path, float, float] | None:
    """Return which ancestor protects less than memory.low of `path`, how much, and that; or None.

    All in bytes; `asked` is as of `weakest`.
    """
    low, least = _memory_low(path), weakest(path, asked)
    if low is None or least is None or least[1] >= low - _MIB:
        return None
    return (*least, low)


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


def caps(places: Places, tenants: int, mount: Path = MOUNT) -> tuple[Floats, Floats]:
    """Return the most cores and bytes that ancestors leave each tenant, shape (tenants,)."""
    known: dict[Path, tuple[float, float]] = {}
    is_below = mount in places.root.parents
    own = _cap_of(places.root, mount, known) if is_below else (np.inf, np.inf)
    cores, most_bytes = np.full(tenants, own[0]), np.full(tenants, own[1])
    for position in places.elsewhere:
        path = places.path(position)
        cores[position] = most_bytes[position] = np.inf
        if path is not None and mount in path.parents:
            cores[position], most_bytes[position] = _cap_of(path.parent, mount, known)
    return cores, most_bytes


def _cap_of(path: Path, mount: Path, known: dict[Path, tuple[float, float]]) -> tuple[float, float]:
    """Return what a cgroup and those above it are limited to, the least of each."""
    if path == mount:
        return np.inf, np.inf
    if path not in known:
        above = _cap_of(path.parent, mount, known)
        own = _limits_of(path)
        known[path] = min(above[0], own[0]), min(above[1], own[1])
    return known[path]


def _limits_of(path: Path) -> tuple[float, float]:
    cores = most_bytes = np.inf
    try:
        with TenantCgroup(path) as cgroup:
            with suppress(LimitRejectedError):
                cores = cgroup.cpu_max
            for file in ("memory.high", "memory.max"):
                with suppress(LimitRejectedError, ValueError):
                    text = cgroup.text(file)
                    most_bytes = min(most_bytes, np.inf if text == "max" else float(int(text)))
    except (CgroupGoneError, LimitRejectedError):
        pass
    return cores, most_bytes


def _memory_low(path: Path) -> float | None:
    try:
        with TenantCgroup(path) as cgroup:
            return cgroup.memory_low
    except (CgroupGoneError, LimitRejectedError):
        return None
