"""Finds the veths of tenants that name none: by the network namespace that their processes are in.

Engines give a container's veth another name each time, so no file can say it.  What a tenant's
processes make of namespaces later is theirs: what was found stays while it and the cgroup do, also
for the next agent, which is told of `owners`.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import numpy as np

from enforce.columns import Ints
from enforce.links.netlink import ClassSocket
from enforce.links.uplink import ifindex_of

AUTO = "auto"  # in the place of a veth's name
# Of a tenant so many processes are asked, in so many cgroups; more are not told from these.
_MOST_PROCESSES, _MOST_CGROUPS = 16, 64
_READ_BYTES = 4096  # of a list of processes: room for all that are asked
# Who has none is asked in so many looks from its start on, as an engine may lay the veth after it,
# and from then on after as many; so many at once, or one look would take as long as a tick.
_AGAIN_AFTER, _MOST_AGAIN = 5, 16


class Discovery:
    """The veths of some tenants, by position; `path_of` says where each one's cgroup is.

    Those that are `named` are others'.
    """

    def __init__(
        self, netlink: ClassSocket, positions: Iterable[int], named: Collection[str] = ()
    ) -> None:
        self._netlink, self.positions, self._named = netlink, tuple(positions), frozenset(named)
        self.path_of: Callable[[int], str | None] = dict[int, str]().get
        self.owners: Mapping[int, int] = {}  # cgroups by veth, as an earlier agent left them
        self._found: dict[int, tuple[int, str, int]] = {}  # cgroup, name and number of the link
        # Cgroup, and at which look it was first and last found to have none.
        self._missed: dict[int, tuple[int, int, int]] = {}
        self._looks = 0
        self.problems: dict[int, str] = {}

    @property
    def names(self) -> dict[int, str]:
        """Return what was found."""
        return {at: name for at, (_, name, _) in self._found.items()}

    def look(self, cgroup_id: Ints) -> dict[int, str]:
        """Return the names of those that are there.

        Raises:
            OSError: The kernel refused to tell; `names` are those found earlier.

        """
        self._looks += 1
        ids = {at: int(cgroup_id[at]) for at in self.positions}
        self._found = {
            at: (its, name, ifindex)
            for at, (its, name, ifindex) in self._found.items()
            if ids[at] == its and ifindex_of(name) == ifindex
        }
        due = self._due({at: its for at, its in ids.items() if its and at not in self._found})
        ends = self._netlink.ends() if due else {}
        for at in due:
            self._seek(at, ids[at], ends)
        self.problems = {at: why for at, why in self.problems.items() if ids[at]}
        return self.names

    def _due(self, ids: Mapping[int, int]) -> list[int]:
        """Return who of these without a veth is sought now: who is new, and some of the others."""
        owners = set(self.owners.values())
        new = [at for at, its in ids.items() if self._missed.get(at, (0,))[0] != its]
        new.sort(key=lambda at: ids[at] not in owners)  # of two in one namespace, who had its veth
        last = {at: self._missed[at][2] for at in ids.keys() - set(new) if self._is_due(at)}
        return [*new, *sorted(last, key=lambda at: (last[at], at))[:_MOST_AGAIN]]

    def _is_due(self, position: int) -> bool:
        _, first, last = self._missed[position]
        return self._looks - first <= _AGAIN_AFTER or self._looks - last >= _AGAIN_AFTER

    def _seek(self, position: int, cgroup_id: int, ends: dict[int, list[str]]) -> None:
        path = self.path_of(position)
        asked, spaces = self._asked(Path(path)) if path else (0, set[int]())
        names = [name for space in sorted(spaces) for name in ends.get(space, ())]
        taken = self._named.union(name for _, name, _ in self._found.values())
        free = [name for name in names or self._left(cgroup_id, ends) if name not in taken]
        self.problems.pop(position, None)
        if free and (ifindex := ifindex_of(free[0])):
            self._found[position] = cgroup_id, free[0], ifindex
            self._missed.pop(position, None)
            if len(free) > 1:
                said = ", ".join(free[1:])
                self.problems[position] = f"only its veth {free[0]} is limited, not {said}"
            return
        its, first, _ = self._missed.get(position, (0, 0, 0))
        self._missed[position] = cgroup_id, first if its == cgroup_id else self._looks, self._looks
        self.problems[position] = _missing_text(asked, spaces, [] if free else names)

    def _left(self, cgroup_id: int, ends: Mapping[int, Collection[str]]) -> list[str]:
        """Return the veths that an earlier agent found to be of a cgroup."""
        left = {ifindex for ifindex, its in self.owners.items() if its == cgroup_id}
        names = [name for some in ends.values() for name in some] if left else []
        return [name for name in names if ifindex_of(name) in left]

    def _asked(self, cgroup: Path) -> tuple[int, set[int]]:
        """Ask some processes of a cgroup; return how many, and the namespaces they are in."""
        asked, spaces = 0, set[int]()
        for folder, pids in processes_of(cgroup):
            asked += len(pids)
            told = {pid: self._netlink.namespace_of(pid) for pid in pids}
            in_some = [pid for pid in pids if told[pid] != -1]
            # The number of one that ended may be another tenant's process by now.
            still = set(_pids_in(folder)) if in_some else set[int]()
            spaces.update(told[pid] for pid in in_some if pid in still)
        return asked, spaces


def sought(
    paths: Mapping[str, str | None], named: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the veths of some tenants, by the paths of their cgroups, and why others have none.

    Those that are `named` are others'.

    Raises:
        OSError: The kernel refused to tell.

    """
    names = tuple(paths)
    with closing(ClassSocket()) as netlink:
        discovery = Discovery(netlink, range(len(names)), named)
        discovery.path_of = lambda at: paths[names[at]]
        found = discovery.look(np.ones(len(names), dtype=np.int64))
    problems = {names[at]: why for at, why in discovery.problems.items()}
    return {names[at]: name for at, name in found.items()}, problems


def _missing_text(asked: int, spaces: set[int], names: list[str]) -> str:
    """Say why no veth was found: these many processes are in these, which have these veths."""
    if names:
        return f"another tenant shares its network namespace, and has its veth {names[0]}"
    if not asked:
        return "it has no process yet, so that its veth cannot be found"
    if not spaces:
        return "no veth leads to its processes: their network is the host's, or none"
    return "its network namespace has no veth to this host"


def processes_of(cgroup: Path) -> Iterator[tuple[Path, list[int]]]:
    """Yield some processes of a cgroup and of those below it, by cgroup, the nearest first."""
    cgroups, seen, left = [cgroup], 0, _MOST_PROCESSES
    while cgroups and left > 0:
        folder, seen = cgroups.pop(0), seen + 1
        if pids := _pids_in(folder)[:left]:
            left -= len(pids)
            yield folder, pids
        with suppress(OSError), os.scandir(folder) as entries:
            # No more than will be looked at: tenants make folders, thousands if they like.
            below = (folder / one.name for one in entries if one.is_dir(follow_symlinks=False))
            cgroups += islice(below, _MOST_CGROUPS - seen - len(cgroups))


def _pids_in(cgroup: Path) -> list[int]:
    """Return processes of one cgroup, of thousands the first; none of one that says none."""
    try:
        with (cgroup / "cgroup.procs").open("rb", buffering=0) as file:
            said = file.read(_READ_BYTES) or b""
    except OSError:
        return []
    whole = said[: said.rfind(b"\n") + 1]
    return [int(word) for word in whole.split() if word != b"0"]
