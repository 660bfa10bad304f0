"""Reads tenants' metric files in threads: a file may be on a disk that does not answer.

No tick ever waits for one.  A file that does not answer holds up one thread, which another
replaces, and is left alone until it does.  A tenant holds up one at most, and what is mounted at
one place two, or three where those stop one soon after the other.
"""

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar

from agent.metrics import MOST_FILE_BYTES, MetricError, parsed_file
from agent.mounts import Mounts, read_mounts, served_mount

_THREADS = 2
_PATIENCE_S = 1.0  # with one file, before another thread goes on with the rest
_MOST_HELD_UP = 64  # threads
_MOST_OF_A_MOUNT = 2
# A file that nobody writes any more tells what was, and not what is.
_MOST_STEPS_UNWRITTEN = 2

Values = Mapping[str, Mapping[str, float]]  # by tenant, by name
Read = Callable[[str], tuple[int, bytes]]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to be read, as asked for at one step's end."""

    asked: int
    tenant: str
    path: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one file held: when it was written last, and its metrics or why there are none."""

    job: _Job
    written_at_ns: int
    values: Mapping[str, float]
    problem: str | None


class _Reader:
    """One thread that reads files until it is left alone with one."""

    def __init__(
        self,
        read: "Callable[[_Job], _Reading]",
        jobs: "SimpleQueue[_Job | None]",
        done: "SimpleQueue[_Reading]",
    ) -> None:
        self._read, self._jobs, self._done = read, jobs, done
        self.job: _Job | None = None
        self.began_at_s = 0.0
        self.is_left_alone = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Say whether the thread has not ended."""
        return self._thread.is_alive()

    def held_up_by(self, now_s: float, patience_s: float) -> _Job | None:
        """Return what it has been reading for too long."""
        job = self.job
        is_late = job is not None and now_s - self.began_at_s > patience_s
        return job if is_late else None

    def _run(self) -> None:
        while not self.is_left_alone and (job := self._jobs.get()) is not None:
            self.began_at_s = time.monotonic()
            self.job = job
            self._done.put(self._read(job))
            self.job = None


class MetricFiles:
    """The files of all tenants that have one; `paths` are by tenant.

    `ask` begins to read them all, and `found` returns what has come of that.  `read` returns when
    a file was written and what it holds, in its own time.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        *,
        read: Read | None = None,
        patience_s: float = _PATIENCE_S,
        mounts: Callable[[], Mounts] = read_mounts,
    ) -> None:
        self._paths, self._patience_s = dict(paths), patience_s
        self._read = read or contents
        self._asked = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: SimpleQueue[_Reading] = SimpleQueue()
        self._readers: list[_Reader] = []
        self._held_up: dict[str, _Reader] = {}  # by tenant
        self._read_mounts = mounts
        self._mounts: Mounts = {}  # as they were when a file last did not answer
        self._silent: Collection[str] = ()  # mounts that hold up as many threads as they may
        self._written: dict[str, tuple[int, int]] = {}  # by tenant: when, and steps since
        self._problems: dict[str, str] = {}  # by tenant

    @property
    def problem(self) -> str | None:
        """Say why metrics of some tenants are not read, None where all are."""
        problems = self._problems.copy()  # in one go: other threads ask than the one that ticks
        if not problems:
            return None
        tenant = min(problems)
        return f"metrics of {len(problems)} tenant(s): {tenant}: {problems[tenant]}"

    def reconfigure(self, paths: Mapping[str, str]) -> None:
        """Go on with other files."""
        self._paths = dict(paths)
        self._written = {t: since for t, since in self._written.items() if t in paths}
        self._problems = {t: why for t, why in self._problems.items() if t in paths}

    def ask(self) -> None:
        """Begin to read every file, giving up on what was asked for before."""
        if not self._paths:
            return
        self._asked += 1
        for job in _drained(self._jobs):
            if job is not None:
                self._problems[job.tenant] = "files were not read within the step"
        for tenant, path in self._paths.items():
            if tenant not in self._held_up:
                self._jobs.put(_Job(self._asked, tenant, path))
        self._man()

    def found(self) -> Values:
        """Return what has been read since, of what was asked for last."""
        if not self._paths:
            return {}
        self._leave_alone()
        found = {}
        for reading in _drained(self._done):
            job = reading.job
            if job.asked == self._asked and self._paths.get(job.tenant) == job.path:
                found[job.tenant] = self._taken(reading)
        return found

    def close(self) -> None:
        """Let the threads end; one that is held up ends with the process."""
        self._paths = {}
        for _ in self._readers:
            self._jobs.put(None)

    def _taken(self, reading: _Reading) -> Mapping[str, float]:
        """Return a file's metrics, none where nobody has written it of late."""
        tenant, problem = reading.job.tenant, reading.problem
        before, steps = self._written.get(tenant, (0, 0))
        steps = steps + 1 if reading.written_at_ns == before else 0
        self._written[tenant] = (reading.written_at_ns, steps)
        if problem is None and steps >= _MOST_STEPS_UNWRITTEN:
            problem = f"{reading.job.path}: not written for {steps} steps"
        if problem is None:
            self._problems.pop(tenant, None)
            return reading.values
        self._problems[tenant] = problem
        return {}

    def _leave_alone(self) -> None:
        """Go on without the threads that are held up, and welcome back the files that answer."""
        now_s = time.monotonic()
        before = set(self._held_up)
        for tenant, reader in list(self._held_up.items()):
            if not reader.is_alive:
                del self._held_up[tenant]
        for reader in list(self._readers):
            job = reader.held_up_by(now_s, self._patience_s)
            if job is not None:
                reader.is_left_alone = True
                self._readers.remove(reader)
                self._held_up[job.tenant] = reader
                self._problems[job.tenant] = f"{job.path}: does not answer"
        if before != set(self._held_up):
            self._see_mounts()
        self._man()

    def _see_mounts(self) -> None:
        """See where so many files do not answer that others there are not asked either."""
        self._mounts = self._read_mounts() if self._held_up else {}
        jobs = (reader.job for reader in self._held_up.values())
        mounts = [served_mount(job.path, self._mounts) for job in jobs if job is not None]
        count = Counter(mount for mount in mounts if mount is not None)
        self._silent = {mount for mount, held in count.items() if held >= _MOST_OF_A_MOUNT}

    def _reading(self, job: _Job) -> _Reading:
        """Return what a file holds, in a thread; it waits for as long as the file does."""
        silent = self._silent  # is replaced and never changed, as the mounts are
        mount = served_mount(job.path, self._mounts) if silent else None
        if mount in silent:
            return _Reading(job, -1, {}, f"{job.path}: left alone, as others at {mount} are")
        return _reading(job, self._read)

    def _man(self) -> None:
        """Have enough threads, while not too many are held up."""
        with suppress(RuntimeError):  # no room for a thread now: the next tick tries again
            while len(self._readers) < _THREADS and len(self._held_up) < _MOST_HELD_UP:
                self._readers.append(_Reader(self._reading, self._jobs, self._done))


def _reading(job: _Job, read: Read) -> _Reading:
    try:
        written_at_ns, text = read(job.path)
        return _Reading(job, written_at_ns, parsed_file(text), None)
    except OSError as error:
        return _Reading(job, -1, {}, f"{job.path}: {error.strerror or error}")
    except MetricError as error:
        return _Reading(job, -1, {}, f"{job.path}: {error}")


def contents(path: str) -> tuple[int, bytes]:
    """Return when a regular file was written and what it holds; links and pipes are refused.

    Raises:
        OSError: It cannot be read, or is not such a file, or too large.

    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        text = stream.read(MOST_FILE_BYTES + 1) or b""
    if len(text) > MOST_FILE_BYTES:
        raise OSError(f"larger than {MOST_FILE_BYTES >> 10} KiB")
    return found.st_mtime_ns, text


def _drained(queue: "SimpleQueue[Item]") -> list[Item]:
    """Return all that is in a queue now."""
    found: list[Item] = []
    with suppress(Empty):
        while True:
            found.append(queue.get_nowait())
    return found
