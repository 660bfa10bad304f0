"""Says who wrote a tenant's control files since the last look, by inotify: no file has to be read.

The kernel tells of writes to control files as of any others.  Where it cannot be asked (no watch is
left), that is said, and the files have to be read.  So it is with a tenant of whom it tells very
often: who may write any file of its cgroup, as units that are delegated may, could otherwise have
the files of all others read.
"""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

_IN_MODIFY, _IN_IGNORED, _IN_Q_OVERFLOW = 0x2, 0x8000, 0x4000
_IN_ONLYDIR = 0x1000000
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # inotify's own flags are the same
_HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_BUFFER_BYTES = 1 << 16
# Of the kernel's queue, which holds 16,384 events, usually of 32 bytes, all is read at once.
_MOST_BUFFERS = 16
_MOST_EVENTS = 256  # of one directory in a look, after which its files are read instead
_LIBC = ctypes.CDLL(None, use_errno=True)


class WriteWatch:
    """Watches directories, each by its tenant's position, for writes to `files` in them."""

    def __init__(self, files: Collection[str]) -> None:
        self._files = frozenset(file.encode() for file in files)
        self._fd = _LIBC.inotify_init1(_FLAGS)
        self._position: dict[int, int] = {}
        self._watch: dict[int, int] = {}
        self._written: dict[str, set[int]] = {}
        self._has_lost = False  # since `written` was last asked: whoever it may have been
        self.unwatched: set[int] = set()  # whose writes nobody tells of

    def watch(self, position: int, dir_fd: int) -> None:
        """Begin to watch an open directory, in place of the tenant's last one."""
        self.forget(position)
        path = f"/proc/self/fd/{dir_fd}".encode()
        watch = _LIBC.inotify_add_watch(self._fd, path, _IN_MODIFY | _IN_ONLYDIR)
        if watch < 0:
            self.unwatched.add(position)
            return
        self._watch[position], self._position[watch] = watch, position

    def forget(self, position: int) -> None:
        """Watch a tenant's directory no more."""
        self.unwatched.discard(position)
        for positions in self._written.values():
            positions.discard(position)
        watch = self._watch.pop(position, None)
        if watch is not None and self._position.pop(watch, None) is not None:
            _LIBC.inotify_rm_watch(self._fd, watch)  # fails where the directory is gone

    def written(self) -> dict[str, set[int]]:
        """Return who was written, by file, since this was last asked; who is not watched always."""
        self._drain()
        found, self._written = self._written, {}
        unsure = self.unwatched.union(self._watch if self._has_lost else ())
        self._has_lost = False
        for file in self._files:
            found.setdefault(file.decode(), set()).update(unsure)
        return found

    def touched(self) -> Mapping[str, Collection[int]]:
        """Return who was written, by file, since `written` was asked, which will tell it again.

        Where events were lost, and of those who are not watched, it is not known.
        """
        self._drain()
        return self._written

    def _drain(self) -> None:
        often: Counter[int] = Counter()
        for _ in range(_MOST_BUFFERS):
            if not (events := self._read()):
                break
            for file, position in self._told_by(events, often):
                self._written.setdefault(file, set()).add(position)
        for position in [self._position[at] for at in often if at in self._position]:
            if often[self._watch[position]] > _MOST_EVENTS:
                self.forget(position)
                self.unwatched.add(position)

    def close(self) -> None:
        """Let go of all directories."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> bytes:
        if self._fd < 0:
            return b""
        try:
            return os.read(self._fd, _BUFFER_BYTES)
        except BlockingIOError:
            return b""

    def _told_by(self, events: bytes, often: Counter[int]) -> Iterator[tuple[str, int]]:
        """Yield which files these events tell of; count how `often` they do of each watch."""
        at = 0
        while at < len(events):
            watch, mask, _, length = _HEADER.unpack_from(events, at)
            at += _HEADER.size + length
            name = events[at - length : at].rstrip(b"\0")
            often[watch] += 1
            if mask & _IN_Q_OVERFLOW:
                self._has_lost = True
            elif mask & _IN_IGNORED:  # the directory is gone, and its number may come again
                self._position.pop(watch, None)
            elif name in self._files and watch in self._position:
                yield name.decode(), self._position[watch]
