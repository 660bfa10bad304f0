"""Work in parallel processes: results in order, progress of all, and an end when one is lost."""

import pytest
from works import killed, refused, squared

from agent.backtest.parallel import WorkerGoneError, in_parallel


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
