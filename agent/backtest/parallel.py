"""Independent pieces of work in parallel processes, with one count of how far all have come.

Processes are spawned: forks would share what this one has open.  All end with the first that
fails, with an interrupt, and with this process, however it ends.
"""

import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

import psutil

from forecast.parent import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[int], None]

_LOOK_S = 0.2


class WorkerGoneError(Exception):
    """A worker process ended before its work was done."""


def in_parallel(
    work: Callable[[Item, Tell], Result], items: Sequence[Item], *, jobs: int, tell: Tell
) -> list[Result]:
    """Return what `work` makes of each item, in order, from up to `jobs` processes.

    `work` is told how to report progress; `tell` hears of the progress of all.  With one job, or
    one item, all is done in this process.

    Raises:
        WorkerGoneError: A process was killed.
        Exception: What `work` raised first.

    """
    if min(jobs, len(items)) <= 1:
        return [work(item, tell) for item in items]
    with _started(min(jobs, len(items))) as workers:
        return _results(work, items, workers, tell)


@dataclass(frozen=True, slots=True)
class _Done(Generic[Result]):
    result: Result


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def _results(
    work: Callable[[Item, Tell], Result],
    items: Sequence[Item],
    workers: Sequence[Connection],
    tell: Tell,
) -> list[Result]:
    """Give each worker an item, and the next whenever it is done."""
    todo = deque(enumerate(items))
    idle = list(workers)
    place_of: dict[Connection, int] = {}
    result_at: dict[int, Result] = {}
    while todo or place_of:
        while todo and idle:
            worker = idle.pop()
            place_of[worker], item = todo.popleft()
            with _loss_told():
                worker.send((work, item))
        steps = 0
        for worker in _ready(list(place_of)):
            match _received(worker):
                case _Done(result):
                    result_at[place_of.pop(worker)] = result
                    idle.append(worker)
                case _Failed(error):
                    raise error
                case told:
                    steps += told
        tell(steps)
    return [result_at[place] for place in range(len(items))]


def _ready(workers: Sequence[Connection]) -> list[Connection]:
    """Wait a moment for workers that have something to say, or are gone."""
    ready = wait(workers, _LOOK_S)
    return [worker for worker in workers if worker in ready]


def _received(worker: Connection) -> Any:
    with _loss_told():
        return worker.recv()


@contextmanager
def _loss_told() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise WorkerGoneError("a worker process was killed, perhaps for its memory") from error


@contextmanager
def _started(count: int) -> Iterator[list[Connection]]:
    """Start worker processes, and end them whatever happens: what they work on is lost by then."""
    context = multiprocessing.get_context("spawn")
    connections: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        with _interrupts_held():
            for _ in range(count):
                ours, theirs = context.Pipe()
                connections.append(ours)
                process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
                processes.append(process)
                process.start()
                theirs.close()  # or its end would not be seen
        yield connections
    finally:
        begun = [process for process in processes if process.pid is not None]
        for process in begun:
            _kill(process)
        for process in begun:
            process.join()
        for connection in connections:
            connection.close()


def _kill(worker: SpawnProcess) -> None:
    """Kill a worker, and before it its forecaster, which would say that the worker is gone."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(worker.pid).children():
            child.kill()
    worker.kill()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep interrupts for later; processes that are started meanwhile never see one.

    A keyboard's goes to all processes.  It is this one that ends the others, without their word.
    """
    resource_tracker.ensure_running()  # when it starts, it lets interrupts through again
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _serve(connection: Connection, parent: int) -> None:
    """Be a worker process: do what comes, until the parent ends this process or is gone."""
    end_with_parent()
    if os.getppid() != parent:
        return  # it was gone before, and nobody will tell
    os.set_inheritable(connection.fileno(), False)  # the forecaster may outlive this by a moment
    while True:
        work, item = connection.recv()
        teller = _Teller(connection)
        try:
            outcome = _Done(work(item, teller.tell))
        except Exception as error:  # noqa: BLE001 - raised again, in the parent
            error.add_note(traceback.format_exc())
            connection.send(_Failed(error))
            continue
        teller.flush()
        connection.send(outcome)


class _Teller:
    """Sends on how many steps were done, a few times a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._steps, self._sent_s = 0, time.monotonic()

    def tell(self, steps: int) -> None:
        """Take note of some more steps."""
        self._steps += steps
        if time.monotonic() - self._sent_s >= _LOOK_S:
            self.flush()

    def flush(self) -> None:
        """Send on what was not sent yet."""
        self._connection.send(self._steps)
        self._steps, self._sent_s = 0, time.monotonic()
