"""Where each tenant's cgroup is: below tidegate's own root, a unit of systemd's, or another's.

Nothing here writes.  Who owns a cgroup decides how its files are set: see `enforce.units`.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from enforce.cgroup import name_problem
from enforce.elsewhere import Elsewhere, slice_path

MOUNT = Path("/sys/fs/cgroup")
_UNIT_SUFFIXES = (".service", ".scope", ".slice")
# A unit that is not there is looked for in each of so many asks: that is a walk over all slices.
_ASKS_BETWEEN = 5
_MOST_SLICES = 4096


NOWHERE_ELSE: Mapping[str, Elsewhere] = MappingProxyType({})


class Places:
    """The cgroups of the tenants `names`; position as in `names`.

    `problems` says, by position, why a tenant that lives elsewhere has no cgroup to be limited.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        elsewhere: Mapping[str, Elsewhere] = NOWHERE_ELSE,
        *,
        mount: Path = MOUNT,
    ) -> None:
        self._root, self._mount = root, mount
        self._own = [
            None if name in elsewhere or name_problem(name) else root / name for name in names
        ]
        self._own_at = {path: at for at, path in enumerate(self._own) if path is not None}
        self._elsewhere = {
            at: elsewhere[name] for at, name in enumerate(names) if name in elsewhere
        }
        self._found: dict[int, Path] = {}
        self._last: dict[int, Path] = {}  # where it was found last
        self._asks_left = dict.fromkeys(self._elsewhere, 0)
        self.problems: dict[int, str] = {}

    @property
    def elsewhere(self) -> Collection[int]:
        """Return who lives outside of the root."""
        return self._elsewhere.keys()

    @property
    def root(self) -> Path:
        """Return where the others live."""
        return self._root

    def is_elsewhere(self, position: int) -> bool:
        """Say whether a tenant lives outside of the root."""
        return position in self._elsewhere

    def path(self, position: int) -> Path | None:
        """Return a tenant's cgroup; None where there is none, or none that may be limited."""
        place = self._elsewhere.get(position)
        if place is None:
            return self._own[position]
        found = self._found.get(position)
        if found is not None and found.is_dir():
            return found
        if self._takes_a_walk(position, place):
            if self._asks_left[position] > 0:
                self._asks_left[position] -= 1
                return None
            self._asks_left[position] = _ASKS_BETWEEN
        return self._looked_up(position, place)

    def _takes_a_walk(self, position: int, place: Elsewhere) -> bool:
        """Say whether a place can only be found by a walk: a unit's that is not where it was."""
        last = self._last.get(position)
        is_back = last is not None and last.is_dir()
        return bool(place.unit) and not place.unit.endswith(".slice") and not is_back

    def position_of(self, path: Path) -> int | None:
        """Return whose cgroup this is, None where it is nobody's now."""
        if path in self._own_at:
            return self._own_at[path]
        return next((at for at, found in self._found.items() if found == path), None)

    def key(self, path: Path) -> str:
        """Return how originals of a cgroup are kept: by name below the root, else by path."""
        return path.name if path in self._own_at else str(path)

    def may_be(self, position: int, key: str) -> bool:
        """Say whether originals kept under `key` are of a tenant elsewhere, wherever it is now."""
        place = self._elsewhere.get(position)
        if place is None or not key.startswith("/"):
            return False
        return (
            Path(key).name == place.unit if place.unit else key == str(self._mount / place.cgroup)
        )

    def _looked_up(self, position: int, place: Elsewhere) -> Path | None:
        self._found.pop(position, None)
        self.problems.pop(position, None)
        path = unit_cgroup(place.unit, self._mount) if place.unit else self._mount / place.cgroup
        if path is None or not path.is_dir() or path.is_symlink():
            self.problems[position] = f"{place.text}: there is no such cgroup now"
            return None
        others = {self._root, *(found for at, found in self._found.items() if at != position)}
        for other in others:
            if other == path or other in path.parents or path in other.parents:
                self.problems[position] = f"{place.text}: {path} is one with, in, or around {other}"
                return None
        self._found[position] = self._last[position] = path
        return path


def unit_of(path: Path) -> str | None:
    """Return the unit of systemd's whose cgroup this is, None of any other."""
    return path.name if path.suffix in _UNIT_SUFFIXES else None


def unit_cgroup(unit: str, mount: Path = MOUNT) -> Path | None:
    """Return the cgroup of a unit that runs: in its slice, wherever that is."""
    if unit.endswith(".slice"):
        return mount / slice_path(unit)
    slices, seen = [mount], 0
    while slices and seen < _MOST_SLICES:
        folder, seen = slices.pop(0), seen + 1
        if (folder / unit).is_dir():
            return folder / unit
        slices += _slices_in(folder)
    return None


def _slices_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                folder / entry.name
                for entry in entries
                if entry.name.endswith(".slice") and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return []
