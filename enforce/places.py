"""Where each tenant's cgroup is: below tidegate's own root, a unit of systemd's, or another's.

Nothing here writes.  Who owns a cgroup decides how its files are set: see `enforce.units`.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from enforce.elsewhere import Elsewhere, slice_path
from enforce.made import name_problem

MOUNT = Path("/sys/fs/cgroup")
ANY = "*"  # in a configured path
SEVERAL = "more than one is meant"
# No backslash: a number that may be any text would else be one with the name of another's machine,
# which whoever names that chooses ("x-web" for web).
_ANY_TEXT = r"[^\\]*"
OURS = "tidegate"
# What no `*` means: ours, and the process beside each container of Podman's or CRI-O's that watches
# it.
_NEVER_MEANT = (OURS, "libpod-conmon-", "crio-conmon-")
_UNIT_SUFFIXES = (".service", ".scope", ".slice")
# Units that are not there are looked for in one walk over all slices, and after so many rounds of
# asks in another.
_ROUNDS_BETWEEN = 5
_MOST_SLICES = 4096
# Of tenants with a `*` that are not there about so many are looked for in a round, of very many
# more: each is after so many rounds.
_LIKE_AT_ONCE, _MOST_ROUNDS = 16, 10
Names = Callable[[Path], list[str]]


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
        self._root, self._root_text, self._mount = root, str(root), mount
        self._names = names  # no path of each: with thousands of tenants these are megabytes
        self._own_at = {
            name: at
            for at, name in enumerate(names)
            if name not in elsewhere and not name_problem(name)
        }
        self._elsewhere = {
            at: elsewhere[name] for at, name in enumerate(names) if name in elsewhere
        }
        self._found: dict[int, Path] = {}
        self._last: dict[int, Path] = {}  # where it was found last
        self._walked: dict[str, Path] = {}  # units that the last walk found, by name
        self._asked: set[int] = set()  # who asked for a walk in this round
        self._rounds_left = 0
        self._search = _Search(at for at, place in self._elsewhere.items() if ANY in place.cgroup)
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
            name = self._names[position]
            return self._root / name if name in self._own_at else None
        found = self._found.get(position)
        if found is not None and found.is_dir():
            return found
        return self._looked_up(position, place)

    def _unit_cgroup(self, position: int, unit: str) -> Path | None:
        """Return where a unit is: where it was, or where a walk finds it, which comes seldom."""
        if unit.endswith(".slice"):
            return self._mount / slice_path(unit)
        last = self._last.get(position)
        if last is not None and last.is_dir():
            return last
        if self._is_walk_due(position):
            self._walked = unit_cgroups(self._missing(), self._mount)
        return self._walked.get(unit)

    def _is_walk_due(self, position: int) -> bool:
        """Say whether to look for all that are missing: a round ends as one of them asks again."""
        if position in self._asked:
            self._asked.clear()
            self._rounds_left -= 1
        self._asked.add(position)
        if self._rounds_left > 0:
            return False
        self._rounds_left = _ROUNDS_BETWEEN + 1
        return True

    def _missing(self) -> set[str]:
        found = {at for at, path in self._found.items() if path.is_dir()}
        missing = {place.unit for at, place in self._elsewhere.items() if at not in found}
        return missing - {""}

    def position_of(self, path: Path) -> int | None:
        """Return whose cgroup this is, None where it is nobody's now."""
        if name := self._own_name(str(path)):
            return self._own_at[name]
        return next((at for at, found in self._found.items() if found == path), None)

    def key(self, path: str) -> str:
        """Return how originals of a cgroup are kept: by name below the root, else by path."""
        return self._own_name(path) or path

    def key_of(self, position: int) -> str | None:
        """Return how originals of a tenant's cgroup are kept; None where there is none now."""
        if position in self._elsewhere:
            path = self.path(position)
            return None if path is None else str(path)
        name = self._names[position]
        return name if name in self._own_at else None

    def _own_name(self, path: str) -> str:
        """Return whose cgroup below the root this is, "" where it is another."""
        folder, _, name = path.rpartition("/")
        return name if name in self._own_at and folder == self._root_text else ""

    def is_found(self, position: int) -> bool:
        """Say whether who lives elsewhere was there at the last look."""
        return position in self._found

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
        if ANY in place.cgroup and not self._search.is_due(position, self._found):
            return None
        self.problems.pop(position, None)
        is_unit = bool(place.unit)
        path = self._unit_cgroup(position, place.unit) if is_unit else None
        if not is_unit:
            meant = cgroups_like(place.cgroup, self._mount, self._search.names_in)
            if len(meant) > 1:
                named = " and ".join(str(one) for one in meant[:2])
                self.problems[position] = f"{place.text}: {SEVERAL}: {named}"
                return None
            path = meant[0] if meant else None
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


class _Search:
    """Who of the tenants with a `*` is looked for now, and the names that all of them look at.

    A round ends as one of them asks again.
    """

    def __init__(self, positions: Iterable[int]) -> None:
        self._positions = tuple(positions)
        self._asked: set[int] = set()
        self._names: dict[Path, list[str]] = {}
        self._round, self._every = 0, 1

    def is_due(self, position: int, found: Collection[int]) -> bool:
        """Say whether to look for a tenant in this round: of all in the first, and of few always.

        `found` are there already.
        """
        if position in self._asked:
            self._asked.clear()
            self._names.clear()
            absent = sum(at not in found for at in self._positions)
            self._round += 1
            self._every = min(1 + absent // _LIKE_AT_ONCE, _MOST_ROUNDS)
        self._asked.add(position)
        return (self._round + position) % self._every == 0

    def names_in(self, folder: Path) -> list[str]:
        """Return what a folder holds, as it was when it was first asked for in this round."""
        if folder not in self._names:
            self._names[folder] = sorted(folders_in(folder))
        return self._names[folder]


def cgroups_like(pattern: str, mount: Path, names_in: Names) -> list[Path]:
    """Return what a path below the mount means, a `*` in a name being any text, in order of name.

    That text has no escapes of systemd's, such as dashes have in the names of machines.
    Without one that is the path, whether it is there or not; with one nothing of tidegate's, and
    no watcher of Podman's or CRI-O's.
    """
    found = [mount]
    for part in pattern.split("/"):
        if ANY not in part:
            found = [folder / part for folder in found]
            continue
        like = re.compile(_ANY_TEXT.join(map(re.escape, part.split(ANY))))
        found = [
            folder / name
            for folder in found
            for name in names_in(folder)
            if like.fullmatch(name) and not name.startswith(_NEVER_MEANT)
        ]
    return found if ANY not in pattern else [path for path in found if path.is_dir()]


def unit_of(path: Path | str) -> str | None:
    """Return the unit of systemd's whose cgroup this is, None of any other."""
    name = str(path).rpartition("/")[2]
    return name if name.endswith(_UNIT_SUFFIXES) and name not in _UNIT_SUFFIXES else None


def unit_cgroups(units: Collection[str], mount: Path = MOUNT) -> dict[str, Path]:
    """Return where those of these services and scopes are that run, by one walk over all slices."""
    slices, seen, found = [mount], 0, dict[str, Path]()
    while slices and seen < _MOST_SLICES and len(found) < len(units):
        folder, seen = slices.pop(0), seen + 1
        for name in folders_in(folder):
            if name.endswith(".slice"):
                slices.append(folder / name)
            elif name in units:
                found.setdefault(name, folder / name)
    return found


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in one, none of one that cannot be read; no link counts.

    Nor do names that would control a terminal: tenants make folders too, and people are told.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            return [name for name in names if name.isprintable()]
    except OSError:
        return []
