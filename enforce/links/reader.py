"""Reads uplinks beside the ticks, by a thread of its own: the kernel may keep a reading waiting.

It has one lock for all that configures networks, which a reading needs too: who makes or removes
many interfaces holds it for seconds.  A tick waits a moment for the reading that it has asked for,
and no longer.  Only this file shares anything with the thread.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from enforce.columns import Changes, Ints, NetColumns, Outcomes
from enforce.links.shaper import Shaper

LATE = (
    "network: a reading is late (who else configures networks holds the kernel's lock, or the host "
    "is busy): until it ends nothing is known of uplinks, and nothing written there"
)
_WAIT_S = 0.3  # a reading of 10,000 classes takes a sixth of that, making a lost ifb half
_FIRST_WAIT_S = 1.0  # programs are loaded, and classes made
_STOP_WAIT_S = 1.0
# What may have changed since a reading, where counters only grow.
_PASSING = ("out_rate", "out_ceil", "in_rate", "in_ceil", "out_backlog_bytes", "in_backlog_bytes")
# What was read before and after a reading was held up is of no one instant: rates would jump.
_HELD_UP_S, _HELD_UP_TIMES = 0.1, 2.0
# An old reader's last reading may still be held up when the next one begins.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was read, and for which cgroups; NaN is what is not known of it any more."""

    columns: NetColumns
    cgroup_id: Ints

    def of(self, cgroup_id: Ints) -> NetColumns:
        """Return what of it is of these cgroups."""
        is_same = self.cgroup_id == cgroup_id
        if is_same.all():
            return self.columns
        return self.columns.mapped(lambda column: np.where(is_same, column, np.nan))

    def outlived(self) -> "_Answer":
        """Return what is left of it for the ticks after: what was counted by then, and no more."""
        nothing = np.full_like(self.columns.out_rate, np.nan)
        unknown: dict[str, Any] = dict.fromkeys(_PASSING, nothing)
        problems = (*self.columns.problems, LATE)
        columns = replace(self.columns, **unknown, problems=problems, restored=())
        return replace(self, columns=columns)


class UplinkReader:
    """What ticks read and write uplinks through: the one `shaper`, never two things at a time."""

    def __init__(self, shaper: Shaper, clock: Callable[[], float] = time.monotonic) -> None:
        """Start no thread yet, which `read` does."""
        self._shaper, self._clock = shaper, clock
        self._changed = threading.Condition()
        self._asked: Ints | None = None  # for whom, while a reading is under way
        self._answer: _Answer | Exception | None = None  # that no tick has taken yet
        self._left: _Answer | None = None  # of the last one that was taken
        self._usual_s = 0.0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def seek_below(self, path_of: Callable[[int], str | None]) -> None:
        """Let veths be sought by processes in the cgroup at the path of each position."""
        self._shaper.discovery.path_of = path_of

    def read(self, cgroup_id: Ints) -> NetColumns:
        """Make what is missing for the tenants with these cgroups (0: none), and read all.

        A reading that does not end in time is left to the next tick, which waits for none.  Until
        one has ended, counters are the last known ones with the time of their own (`read_at_s`),
        so that rates skip the ticks between and nothing is lost or counted twice; limits are
        unknown, so that nobody writes, or takes what was written since for another's.

        Raises:
            Exception: The reading has met a fault of ours.

        """
        with self._changed:
            if self._asked is None and self._answer is None:
                self._ask(cgroup_id)
                wait_s = _FIRST_WAIT_S if self._left is None else _WAIT_S
                self._changed.wait_for(lambda: self._answer is not None, wait_s)
            answer, self._answer = self._answer, None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            self._left = answer.outlived()
            return answer.of(cgroup_id)
        if self._left is None:
            return replace(self._shaper.unknown(), problems=(LATE,))
        return self._left.of(cgroup_id)

    def apply(self, changes: Changes) -> Outcomes:
        """Write changes, if no reading is under way or has yet to be taken; see `Shaper.apply`."""
        with self._changed:
            is_free = self._asked is None and self._answer is None
        if is_free:  # and stays so: only a tick asks
            return self._shaper.apply(changes)
        return Outcomes.refused(changes, f"{changes.control}: a reading is under way")

    def close(self) -> None:
        """Let go of everything; a reading that is held up ends as soon as the kernel lets it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._shaper.stop()
        if self._thread is None:
            self._shaper.close()
        else:
            self._thread.join(_STOP_WAIT_S)

    def _ask(self, cgroup_id: Ints) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="uplinks", daemon=True)
            thread.start()
            self._thread = thread
        self._asked = cgroup_id
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while (cgroup_id := self._next()) is not None:
                answer = self._answered(cgroup_id)
                with self._changed:
                    self._asked, self._answer = None, answer
                    self._changed.notify_all()
        finally:
            self._shaper.close()

    def _next(self) -> Ints | None:
        """Wait until a reading is asked for; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._asked is not None)
            return None if self._is_closed else self._asked

    def _answered(self, cgroup_id: Ints) -> _Answer | Exception:
        try:
            with _one_at_a_time:
                return _Answer(self._read_at_once(cgroup_id), cgroup_id)
        except Exception as fault:  # noqa: BLE001 - the tick that takes it fails with it
            return fault

    def _read_at_once(self, cgroup_id: Ints) -> NetColumns:
        """Read, and once more where that was held up for longer than readings take."""
        columns, began_s, taken_s = self._timed(cgroup_id)
        if taken_s > max(_HELD_UP_S, _HELD_UP_TIMES * self._usual_s):
            restored = columns.restored
            columns, began_s, taken_s = self._timed(cgroup_id)
            columns = replace(columns, restored=(*restored, *columns.restored))
        self._usual_s = taken_s
        return replace(columns, read_at_s=began_s)

    def _timed(self, cgroup_id: Ints) -> tuple[NetColumns, float, float]:
        began_s = self._clock()
        columns = self._shaper.read(cgroup_id)
        return columns, began_s, self._clock() - began_s
