"""Control files of many cgroups, kept open and read in one pass.

Opening a control file costs several times the read; the price is about 5 KiB of kernel memory for
each descriptor that has been read.
"""

import errno
import os
import resource
import select
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from enforce.columns import Ints

_GONE = (errno.ENODEV, errno.ENOENT)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_LARGEST_BYTES = 1 << 20
FILES_PER_TENANT = 9  # descriptors that a sampler keeps: the directory, and files in it


@dataclass(frozen=True, slots=True)
class Reading:
    """Text of one control file: `rows[k]` is that of the tenant at `positions[k]`."""

    positions: Ints
    rows: list[bytes]
    gone: list[int]  # positions whose file has been removed


class _Table:
    """Whole numbers by index, -1 where there is none: a dict of them takes twenty times the room.

    Indices are small: positions and descriptors.
    """

    def __init__(self) -> None:
        self._values, self._count = np.full(64, -1, dtype=np.int32), 0

    def __getitem__(self, index: int) -> int:
        return int(self._values[index]) if index < len(self._values) else -1

    def __setitem__(self, index: int, value: int) -> None:
        if index >= len(self._values):
            more = np.full(index + 1, -1, dtype=np.int32)  # as many again, or more
            self._values = np.concatenate((self._values, more))
        self._count += (value >= 0) - (self[index] >= 0)
        self._values[index] = value

    def __len__(self) -> int:
        return self._count

    def known(self) -> Ints:
        """Return the indices that have a number, rising."""
        return np.flatnonzero(self._values >= 0)

    def of(self, indices: Ints) -> list[int]:
        """Return the numbers of these."""
        found: list[int] = self._values[indices].tolist()
        return found


class KeptFiles:
    """Descriptors of the control file `name`, one a tenant, by the tenant's position."""

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self.name, self._size_bytes = name, size_bytes
        self._fds = _Table()

    def __contains__(self, position: int) -> bool:
        return self._fds[position] >= 0

    def __len__(self) -> int:
        return len(self._fds)

    def open(self, position: int, dir_fd: int) -> None:
        """Open the file in the directory `dir_fd`; where it is missing, it stays unread.

        Raises:
            OSError: No descriptor is left, or no memory for one: it may be there all the same.

        """
        try:
            self._fds[position] = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise

    def close(self, position: int) -> None:
        """Let go of one tenant's file, if it is open."""
        if (fd := self._fds[position]) >= 0:
            self._fds[position] = -1
            os.close(fd)

    def close_all(self) -> None:
        """Let go of all files."""
        for position in self._fds.known().tolist():
            self.close(position)

    def read(self, positions: Iterable[int] | None = None) -> Reading:
        """Read all open files, or those of `positions`, from their beginning."""
        if positions is None:
            chosen = self._fds.known()
        else:
            chosen = np.array([one for one in positions if one in self], dtype=np.int64)
        rows, failures = read_each(self._fds.of(chosen), self._size_bytes)
        gone = []
        if failures:
            rows = [row for place, row in enumerate(rows) if place not in failures]
            gone = [int(chosen[place]) for place, code in failures.items() if code in _GONE]
            chosen = np.delete(chosen, list(failures))
        return Reading(chosen, rows, gone)


class PolledFiles(KeptFiles):
    """Files that the kernel signals when they change: only those are read again."""

    def __init__(self, name: str, *, size_bytes: int) -> None:
        super().__init__(name, size_bytes=size_bytes)
        self._poll = select.epoll()
        self._position = _Table()  # by descriptor
        self._unpolled: set[int] = set()
        self._unread: set[int] = set()

    def open(self, position: int, dir_fd: int) -> None:
        """Open the file and ask for its signals; raises OSError as of other files."""
        super().open(position, dir_fd)
        if (fd := self._fds[position]) < 0:
            return
        self._unread.add(position)
        try:
            self._poll.register(fd, select.EPOLLPRI)
            self._position[fd] = position
        except OSError:  # no kernel file behind it, or too many are watched: it is read every time
            self._unpolled.add(position)

    def close(self, position: int) -> None:
        """Let go of one tenant's file; closing it ends its signals."""
        if (fd := self._fds[position]) >= 0:
            self._position[fd] = -1
        self._unpolled.discard(position)
        self._unread.discard(position)
        super().close(position)

    def close_all(self) -> None:
        """Let go of all files and of the signals."""
        super().close_all()
        self._poll.close()

    def changed(self) -> set[int]:
        """Return the positions to read: changed or new since they were last returned."""
        signals = self._poll.poll(0, max(len(self._position), 1))
        changed = {self._position[fd] for fd, _ in signals} | self._unread | self._unpolled
        self._unread.clear()
        return changed


def read_each(fds: Sequence[int], size_bytes: int) -> tuple[list[bytes], dict[int, int]]:
    """Read each of `fds` from its beginning.

    Returns:
        One text a descriptor, and the errno of each that failed, by place; its text is empty.

    """
    rows: list[bytes] = []
    failures: dict[int, int] = {}
    # map() keeps the loop in C: 1.3 times the cost of the bare system calls.  It goes on after
    # an error where it stopped, and extend() keeps what came before.
    reads = map(os.pread, fds, repeat(size_bytes), repeat(0))
    while len(rows) < len(fds):
        try:
            rows.extend(reads)
        except OSError as error:
            failures[len(rows)] = error.errno or errno.EIO
            rows.append(b"")
    if size_bytes in map(len, rows):
        return _with_whole_rows(rows, fds, size_bytes), failures
    return rows, failures


def read_once(path: str, size_bytes: int, *, dir_fd: int | None = None) -> bytes:
    """Open, read and close one file, below the directory `dir_fd`; empty where that fails."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return b""
    try:
        return os.pread(fd, size_bytes, 0)
    except OSError:
        return b""
    finally:
        os.close(fd)


def raise_open_files_limit(wanted: int) -> int:
    """Raise RLIMIT_NOFILE to `wanted`, as far as the hard limit lets; return what holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        with suppress(ValueError, OSError):  # raising the hard limit takes a privilege
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _with_whole_rows(rows: list[bytes], fds: Sequence[int], size_bytes: int) -> list[bytes]:
    """Read anew, with more room, what filled its buffer to the brim (io.stat of many disks)."""
    for place, row in enumerate(rows):
        if len(row) == size_bytes:
            with suppress(OSError):
                rows[place] = os.pread(fds[place], _LARGEST_BYTES, 0)
    return rows
