"""Finds the veths of tenants that name none: by the network namespace that their processes are in.

Engines give a container's veth another name each time, so no file can say it.  What a tenant's
processes make of namespaces later is theirs: what was found stays while it and the cgroup do.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from enforce.columns import Ints
from enforce.links.netlink import ClassSocket
from enforce.links.uplink import ifindex_of

AUTO = "auto"  # in the place of a veth's name
# Of a tenant so many processes are asked, in so many cgroups; more are not told from these.
_MOST_PROCESSES, _MOST_CGROUPS = 16, 64
# Who has none is asked again after so many looks: reading all links takes as long as many files.
_AGAIN_AFTER = 5


class Discovery:
    """The veths of some tenants, by position; `path_of` says where each one's cgroup is."""

    def __init__(self, netlink: ClassSocket, positions: Iterable[int]) -> None:
        self._netlink, self.positions = netlink, tuple(positions)
        self.path_of: Callable[[int], str | None] = dict[int, str]().get
        self._found: dict[int, tuple[int, str, int]] = {}  # cgroup, name and number of the link
        self._missed: dict[int, tuple[int, int]] = {}  # cgroup, and at which look it had none
        self._looks = 0
        self.problems: dict[int, str] = {}

    def look(self, cgroup_id: Ints) -> dict[int, str]:
        """Return the names of those that are there.

        Raises:
            OSError: The kernel refused to tell.

        """
        self._looks += 1
        ids = {at: int(cgroup_id[at]) for at in self.positions}
        self._found = {
            at: (its, name, ifindex)
            for at, (its, name, ifindex) in self._found.items()
            if ids[at] == its and ifindex_of(name) == ifindex
        }
        due = [at for at, its in ids.items() if its and self._is_due(at, its)]
        ends = self._netlink.ends() if due else {}
        for at in due:
            self._seek(at, ids[at], ends)
        self.problems = {at: why for at, why in self.problems.items() if ids[at]}
        return {at: name for at, (_, name, _) in self._found.items()}

    def _is_due(self, position: int, cgroup_id: int) -> bool:
        if position in self._found:
            return False
        its, looked = self._missed.get(position, (0, 0))
        return its != cgroup_id or self._looks - looked >= _AGAIN_AFTER

    def _seek(self, position: int, cgroup_id: int, ends: dict[int, list[str]]) -> None:
        path = self.path_of(position)
        processes = list(processes_of(Path(path))) if path else []
        spaces = {self._netlink.namespace_of(pid) for pid in processes} - {-1}
        names = [name for space in sorted(spaces) for name in ends.get(space, ())]
        taken = {name for _, name, _ in self._found.values()}
        free = [name for name in names if name not in taken]
        self.problems.pop(position, None)
        if free and (ifindex := ifindex_of(free[0])):
            self._found[position] = cgroup_id, free[0], ifindex
            self._missed.pop(position, None)
            if len(free) > 1:
                said = ", ".join(free[1:])
                self.problems[position] = f"only its veth {free[0]} is limited, not {said}"
            return
        self._missed[position] = cgroup_id, self._looks
        self.problems[position] = _missing_text(processes, spaces, names)


def sought(paths: Mapping[str, str | None]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the veths of some tenants, by the paths of their cgroups, and why others have none.

    Raises:
        OSError: The kernel refused to tell.

    """
    names = tuple(paths)
    with closing(ClassSocket()) as netlink:
        discovery = Discovery(netlink, range(len(names)))
        discovery.path_of = lambda at: paths[names[at]]
        found = discovery.look(np.ones(len(names), dtype=np.int64))
    problems = {names[at]: why for at, why in discovery.problems.items()}
    return {names[at]: name for at, name in found.items()}, problems


def _missing_text(processes: list[int], spaces: set[int], names: list[str]) -> str:
    """Say why no veth was found."""
    if names:
        return f"another tenant shares its network namespace, and has its veth {names[0]}"
    if not processes:
        return "it has no process yet, so that its veth cannot be found"
    if not spaces:
        return "no process of it is in a network namespace of its own: take `veth` out of its file"
    return "its network namespace has no veth to this host"


def processes_of(cgroup: Path) -> Iterator[int]:
    """Yield some processes of a cgroup and of those below it, the nearest first."""
    cgroups, seen, left = [cgroup], 0, _MOST_PROCESSES
    while cgroups and seen < _MOST_CGROUPS:
        folder, seen = cgroups.pop(0), seen + 1
        with suppress(OSError):
            words = (folder / "cgroup.procs").read_text().split()[:left]
            yield from (int(word) for word in words if word != "0")
            left -= len(words)
        if left <= 0:
            return
        with suppress(OSError), os.scandir(folder) as entries:
            cgroups += [folder / one.name for one in entries if one.is_dir(follow_symlinks=False)]
