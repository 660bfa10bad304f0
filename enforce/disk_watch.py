"""Notices that a disk came, went or was made anew, and by which file its weights are set."""

from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path

from enforce.counters import Disk
from enforce.disks import disk_number, disk_numbers, incarnation, weight_file


class DiskWatch:
    """The disks `names` as they were when last looked at; lists are in that order.

    They are told apart by the number that each name has by then; of one that is not there nothing
    is known.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.number_of: Callable[[str], Disk | None] = disk_number  # of a disk's name
        self.numbers: list[Disk | None] = [None] * len(names)
        self.weight_files: list[str | None] = [None] * len(names)
        self.anew = frozenset[str]()  # another than at the last look, or weighted in another way
        self._incarnations = [0] * len(names)

    def look(self, root: Path) -> None:
        """Look again; `root` is a cgroup of the hierarchy."""
        before = list(zip(self._incarnations, self.weight_files, strict=True))
        self.numbers = list(disk_numbers(self.names, self.number_of).values())
        self.weight_files = [weight_file(number, root) for number in self.numbers]
        self._incarnations = [incarnation(number) for number in self.numbers]
        now = zip(self._incarnations, self.weight_files, strict=True)
        self.anew = frozenset(
            compress(self.names, (one != other for one, other in zip(before, now, strict=True)))
        )
