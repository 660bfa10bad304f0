"""Work in parallel processes: results in order, progress of all, and an end of all with the first.

Commands here are real ones whose every process holds their standard output and error: both end
when the last process has.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import parallel_command
import pytest
from works import killed, refused, squared

from agent.backtest.parallel import WorkerGoneError, in_parallel

_MOST_S = 20.0


@contextmanager
def command(*items: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process group of its own, all of which is killed at last."""
    script = Path(parallel_command.__file__)
    with subprocess.Popen(
        [sys.executable, script, *items],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Wait for so many lines, one of each worker."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order_and_progress_adds_up(jobs: int) -> None:
    told: list[int] = []
    assert in_parallel(squared, [1, 2, 3, 4], jobs=jobs, tell=told.append) == [1, 4, 9, 16]
    assert sum(told) == 10


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_goes_wrong_in_a_process_goes_wrong_here(jobs: int) -> None:
    with pytest.raises(ValueError, match="not three"):
        in_parallel(refused, [1, 2, 3], jobs=jobs, tell=lambda _: None)


def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(WorkerGoneError, match="was killed"):
        in_parallel(killed, [1, 2], jobs=2, tell=lambda _: None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_command_that_is_killed(number: signal.Signals) -> None:
    with command("waits", "waits") as process:
        lines(process, 2)
        process.send_signal(number)
        assert process.communicate(timeout=_MOST_S) == ("", "")
        assert process.returncode == -number


def test_a_worker_ends_at_once_where_the_command_was_killed_before_it_began() -> None:
    with command("starts", "waits") as process:
        lines(process, 2)
        process.kill()
        process.wait()
        os.killpg(process.pid, signal.SIGUSR1)  # goes on from where it hangs
        assert process.communicate(timeout=_MOST_S) == ("", "")


@pytest.mark.parametrize("items", [("waits", "fails"), ("fails", "waits")])
def test_the_first_failure_ends_all(items: tuple[str, str]) -> None:
    with command(*items) as process:
        _, told = process.communicate(timeout=_MOST_S)
        assert (process.returncode, told) == (1, "Error: fails\n")


def test_a_worker_that_is_killed_ends_all() -> None:
    with command("waits", "waits") as process:
        os.kill(int(lines(process, 2)[1]), signal.SIGKILL)
        _, told = process.communicate(timeout=_MOST_S)
        assert process.returncode == 1
        assert told == "Error: a worker process was killed, perhaps for its memory\n"


def test_an_interrupt_ends_all() -> None:
    with command("waits", "waits") as process:
        lines(process, 2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=_MOST_S)
        assert (process.returncode, told.strip()) == (1, "Aborted!")


def test_workers_say_nothing_of_an_interrupt_that_they_get_too() -> None:
    with command("starts", "waits") as process:
        for worker in [int(line) for line in lines(process, 2)]:
            os.kill(worker, signal.SIGINT)
            os.kill(worker, signal.SIGUSR1)  # goes on from where it hangs
        lines(process, 2)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=_MOST_S)
        assert (process.returncode, told.strip()) == (1, "Aborted!")
