"""Has pieces of work done in forked processes, each within its portion of time and memory.

What one piece takes no other lacks: a piece that takes longer than its portion is ended by the
kernel, whatever it catches, and whatever it has done to its process ends with that.
"""

import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

_FIRST_PART = 0.25
_LEAST_CPU_S = 0.02  # of a piece, however many there are: it costs a fork where it is not enough
_GROWN_KIB = 64 << 10  # after which the next piece gets a process of its own
_READ_BYTES = 1 << 20
_LENGTH = struct.Struct(">I")

Work = Callable[[int], bytes]  # of one piece, by its number; it must not raise


@dataclass(frozen=True, slots=True)
class Budget:
    """CPU time of each piece at most, and of all; and how long all of it may last."""

    piece_cpu_s: float
    all_cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece that was not done: the CPU time that it had, and the signal that ended it (0: none).

    It had none where there was none left.
    """

    cpu_s: float = 0.0
    signal: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """What one process did: answers to the first of its pieces, and how it ended."""

    answers: Sequence[bytes]
    cpu_s: float
    has_failed: bool
    signal: int


def in_portions(count: int, work: Work, budget: Budget) -> list[bytes | Cut]:
    """Return what came of each piece.

    Each gets a quarter of an even portion first, so that those which need little are done early;
    who was cut begins anew with an even portion of what is left.
    """
    found: list[bytes | Cut] = [Cut()] * count
    waiting, left_s, before_s, part = list(range(count)), budget.all_cpu_s, 0.0, _FIRST_PART
    until_s = time.monotonic() + budget.wall_s
    while waiting:
        portion_s = min(budget.piece_cpu_s, max(part * left_s / len(waiting), _LEAST_CPU_S))
        if portion_s <= before_s:
            break
        again: list[int] = []
        while waiting and left_s > 0 and time.monotonic() < until_s:
            run = _run(waiting, work, portion_s=portion_s, left_s=left_s, until_s=until_s)
            left_s -= run.cpu_s
            for place, answer in zip(waiting, run.answers, strict=False):
                found[place] = answer
            waiting = waiting[len(run.answers) :]
            if waiting and run.has_failed:
                found[waiting[0]] = Cut(portion_s, run.signal)
                again += waiting[:1] if run.signal == signal.SIGPROF else []
                waiting = waiting[1:]
        waiting, before_s, part = again, portion_s, 1.0
    return found


def _run(
    places: Sequence[int], work: Work, *, portion_s: float, left_s: float, until_s: float
) -> _Run:
    """Have pieces done one after the other until one takes too long, or too much."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _serve(places, work, portion_s=portion_s, left_s=left_s, write_fd=write_fd)
    os.close(write_fd)
    try:
        told, has_ended = _read(read_fd, until_s)
    finally:
        os.close(read_fd)
    if not has_ended:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    has_failed = has_ended and status != 0
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    # Also so much that a process that does nothing is not tried for ever.
    cpu_s = max(usage.ru_utime + usage.ru_stime, 1e-3)
    return _Run(tuple(_frames(told)), cpu_s, has_failed, ended_by)


def _serve(
    places: Sequence[int], work: Work, *, portion_s: float, left_s: float, write_fd: int
) -> NoReturn:
    """Do pieces in this process, and end it."""
    status = 1
    try:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # that ends it
        most_kib = _peak_kib() + _GROWN_KIB
        for place in places:
            for_s = min(portion_s, left_s - time.process_time())
            if for_s <= 0 or _peak_kib() > most_kib:
                break
            signal.setitimer(signal.ITIMER_PROF, for_s)
            answer = work(place)
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            _write(write_fd, _LENGTH.pack(len(answer)) + answer)
        status = 0
    finally:
        os._exit(status)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _read(read_fd: int, until_s: float) -> tuple[bytes, bool]:
    """Return all that is written until the other end is closed, and whether it was."""
    told = bytearray()
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    while poll.poll(max(until_s - time.monotonic(), 0.0) * 1e3):
        some = os.read(read_fd, _READ_BYTES)
        if not some:
            return bytes(told), True
        told += some
    return bytes(told), False


def _write(write_fd: int, answer: bytes) -> None:
    while answer:
        answer = answer[os.write(write_fd, answer) :]


def _frames(told: bytes) -> Iterator[bytes]:
    """Yield each answer that is whole."""
    at = 0
    while at + _LENGTH.size <= len(told):
        end = at + _LENGTH.size + _LENGTH.unpack_from(told, at)[0]
        if end > len(told):
            return
        yield told[at + _LENGTH.size : end]
        at = end
