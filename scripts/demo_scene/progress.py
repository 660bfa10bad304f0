"""A page shared between one tenant's program and the stage: a go signal in, counters out.

It costs the program no system call, so that a starved program still shows what it did.
"""

import mmap
import struct
import time
from pathlib import Path
from typing import NamedTuple

_PAGE = struct.Struct("=5d")
_POLL_S = 0.01


class Counters(NamedTuple):
    """What a program has done so far, in its own unit of work."""

    is_ready: float
    start_at_s: float  # CLOCK_MONOTONIC; 0 until the stage says go
    wanted: float
    done: float
    late: float


class Progress:
    """The shared page; the program writes all but `start_at_s`, which the stage writes."""

    def __init__(self, path: Path) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def read(self) -> Counters:
        """Return the counters as they are now."""
        return Counters._make(_PAGE.unpack_from(self._page))

    def start(self, at_s: float) -> None:
        """Let the program begin its work at `at_s`."""
        self._put(1, at_s)

    def wait_for_start(self) -> float:
        """Say that the program is ready, wait for the go, and return its time."""
        self._put(0, 1.0)
        while not (start_at_s := self.read().start_at_s):
            time.sleep(_POLL_S)
        wait_until(start_at_s)
        return start_at_s

    def report(self, *, wanted: float, done: float, late: float = 0.0) -> None:
        """Show the work wanted so far, done in time, and done or given up too late."""
        self._put(2, wanted)
        self._put(3, done)
        self._put(4, late)

    def _put(self, index: int, value: float) -> None:
        struct.pack_into("=d", self._page, 8 * index, value)


def wait_until(at_s: float) -> None:
    """Sleep until `at_s` on the monotonic clock, if that is still to come."""
    time.sleep(max(0.0, at_s - time.monotonic()))
