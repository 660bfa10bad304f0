"""Pieces of work in forked processes: none takes what another needs, whatever it does."""

import mmap
import os
import signal
import time
from contextlib import suppress

import pytest

from agent.portions import Budget, Cut, in_portions

_GROWTH_BYTES = 200 << 20
BUDGET = Budget(piece_cpu_s=10.0, all_cpu_s=20.0, wall_s=20.0)


def own(place: int) -> bytes:
    return f"{place} {os.getpid()}".encode()


def told(found: list[bytes | Cut]) -> list[int | None]:
    """Return the number that each answer tells, None where there is none."""
    return [None if isinstance(one, Cut) else int(one.split()[0]) for one in found]


def processes(found: list[bytes | Cut]) -> list[bytes]:
    return [one.split()[1] for one in found if not isinstance(one, Cut)]


def test_pieces_that_do_no_harm_share_a_process_that_is_not_ours() -> None:
    found = in_portions(50, own, BUDGET)
    assert told(found) == list(range(50))
    assert len(set(processes(found)) - {str(os.getpid()).encode()}) == 1


def test_who_never_ends_is_ended_whatever_it_catches() -> None:
    def work(place: int) -> bytes:
        while place == 1:
            with suppress(BaseException):
                while True:
                    pass
        return own(place)

    found = in_portions(3, work, Budget(0.2, 20.0, 20.0))
    assert told(found) == [0, None, 2]
    assert found[1] == Cut(0.2, signal.SIGPROF)


def test_each_has_an_even_portion_and_then_what_others_leave() -> None:
    def work(place: int) -> bytes:
        began_s = time.process_time()
        while time.process_time() < began_s + (0.3 if place == 2 else 100.0 * (place < 2)):
            pass
        return own(place)

    # A tenth of the time is 0.2 s for each: the third needs what the seven others leave.
    assert told(in_portions(10, work, Budget(10.0, 2.0, 20.0))) == [None, None, 2, *range(3, 10)]
    assert told(in_portions(3, work, Budget(10.0, 0.9, 20.0))) == [None] * 3


def test_who_grows_leaves_its_memory_to_nobody() -> None:
    def work(place: int) -> bytes:
        if place == 1:
            # Pages that nobody had before, as malloc's may be those that earlier tests left.
            work.kept = mmap.mmap(-1, _GROWTH_BYTES)  # type: ignore[attr-defined]
            work.kept[:: mmap.PAGESIZE] = bytes(_GROWTH_BYTES // mmap.PAGESIZE)  # type: ignore[attr-defined]
        return own(place)

    of = processes(in_portions(4, work, BUDGET))
    assert of[0] == of[1] != of[2] == of[3]


@pytest.mark.parametrize("ending", [lambda: os._exit(3), lambda: os.kill(os.getpid(), 9)])
def test_who_ends_its_process_ends_no_other_piece(ending: object) -> None:
    def work(place: int) -> bytes:
        if place == 1:
            ending()  # type: ignore[operator]
        return own(place) + b"x" * (1 << 20)

    found = in_portions(3, lambda place: work(place)[:100], BUDGET)
    assert told(found) == [0, None, 2]


def test_what_waits_for_ever_ends_with_the_time_there_is() -> None:
    began_s = time.monotonic()

    def work(place: int) -> bytes:
        while place == 1:
            signal.pause()
        return own(place)

    found = in_portions(3, work, Budget(10.0, 20.0, 0.5))
    assert told(found) == [0, None, None]
    assert found[1:] == [Cut(), Cut()]
    assert time.monotonic() - began_s < 10.0
