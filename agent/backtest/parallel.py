"""Independent pieces of work in parallel processes, with one count of how far all have come.

Processes are spawned: forks would share what this one has open.
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[int], None]

_LOOK_S = 0.2

_count: "Synchronized[int] | None" = None  # of this worker process


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
    context = multiprocessing.get_context("spawn")
    count: Synchronized[int] = context.Value("q", 0)
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, _begin, (count,))
    try:
        futures = [pool.submit(_work, work, item) for item in items]
        _watch(futures, count, tell)
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise WorkerGoneError("a worker process was killed, perhaps for its memory") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _watch(futures: Sequence[Future[Any]], count: "Synchronized[int]", tell: Tell) -> None:
    """Tell of progress until all is done, or one has failed."""
    told = 0
    is_over = False
    while not is_over:
        done, still = wait(futures, _LOOK_S, return_when=FIRST_EXCEPTION)
        is_over = not still or any(future.exception() is not None for future in done)
        now = count.value
        tell(now - told)
        told = now


def _begin(count: "Synchronized[int]") -> None:
    """Become a worker: an interrupt from the keyboard, which all processes get, ends it."""
    global _count  # noqa: PLW0603 - the one way in for what only an initializer is handed
    _count = count
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _work(work: Callable[[Item, Tell], Result], item: Item) -> Result:
    return work(item, _tell)


def _tell(steps: int) -> None:
    if _count is not None:
        with _count.get_lock():
            _count.value += steps
