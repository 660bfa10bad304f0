"""What all metrics of a series may lose together is bounded, at no cost to honest ones."""

from collections.abc import Callable

import numpy as np
import pytest
from leads import Floats, led, pinball, queue
from series import profiles

from agent.corrections import Corrections
from forecast.indicators import Indicators
from forecast.profile import LEVELS, Profile
from forecast.settings import ForecastSettings

STEPS, SETTLED, TURN = 700, 300, 500
LENGTHS = queue(STEPS, 1, seed=1)
DEMAND = led(LENGTHS, 2, seed=2)
Reports = Callable[[int, Indicators], Floats]  # all metrics, at a step


@pytest.fixture(scope="module")
def forecasts() -> list[Profile]:
    """Return what the real forecaster says of the demand, without any metric."""
    settings = ForecastSettings(horizon_steps=15, history_steps=240)
    return profiles(DEMAND, settings, fits_per_step=1)


def losses(
    forecasts: list[Profile], count: int, reports: Reports, *, is_bounded: bool = True
) -> tuple[Floats, Floats]:
    """Return each step's loss with so many metrics of one series, and without."""
    known, pairs = Indicators(count), np.zeros(count, dtype=np.int64)
    whole, found = Corrections.none(1), []
    given = made = forecasts[0]
    for step, (demand, profile) in enumerate(zip(DEMAND, forecasts, strict=True)):
        if is_bounded:
            whole = whole.after_step(given, made, demand, pairs[:1])
        found.append([pinball(demand, one.grid).mean() for one in (made, given)])
        known.settle(demand[pairs])
        known.enter(reports(step, known))
        given, made = profile, whole.allowed(profile, known.adjusted(profile, pairs))
    with_them, without = np.array(found).T
    return with_them, without


def in_turns(step: int, known: Indicators) -> Floats:
    """Report the queue, and from some step on lie in turns while the others are silent."""
    count = len(known.is_used)
    if step < TURN:
        return np.asarray(LENGTHS[step].repeat(count), dtype=np.float64)
    told = np.full(count, np.nan)
    told[np.flatnonzero(known.is_used)[:1]] = 80.0
    return told


def lost(forecasts: list[Profile], count: int, *, is_bounded: bool = True) -> float:
    """Return what they lose by lying; the unit is what a step usually loses."""
    with_them, without = losses(forecasts, count, in_turns, is_bounded=is_bounded)
    return float((with_them - without)[TURN + 1 :].sum() / without[:TURN].mean())


def test_metrics_that_lie_in_turns_are_paused_together(
    forecasts: list[Profile],
) -> None:
    unbounded, eight = lost(forecasts, 8, is_bounded=False), lost(forecasts, 8)
    assert lost(forecasts, 1) < 10.0
    assert unbounded > 60.0
    assert eight < 30.0


def test_honest_metrics_that_differ_gain_as_much_as_without_a_bound(
    forecasts: list[Profile],
) -> None:
    noise = np.random.default_rng(3).normal(0.0, 12.0, (STEPS, 3))

    def noisy(step: int, _: Indicators) -> Floats:
        return np.asarray(LENGTHS[step] + noise[step])

    ratios = []
    for is_bounded in (True, False):
        with_them, without = losses(forecasts, 3, noisy, is_bounded=is_bounded)
        ratios.append(with_them[SETTLED:].sum() / without[SETTLED:].sum())
    assert ratios[0] == ratios[1] < 0.95


def test_what_is_paused_is_as_it_was_given_for_thirty_steps_and_others_are_not() -> None:
    whole, ones = Corrections.none(2), np.ones(2)
    grid = np.ones((len(LEVELS), 2))
    given = Profile(1, LEVELS, grid, ones, np.ones((3, 3, 2)), np.ones(2, dtype=np.uint8))
    made = Profile(1, LEVELS, 3 * grid, 3 * ones, given.maximum * 3, given.source)
    here = np.arange(2)
    for _ in range(50):
        whole = whole.after_step(given, given, np.array([1.5, np.nan]), here)
    paused = []
    for _ in range(60):
        whole = whole.after_step(given, whole.allowed(given, made), np.array([1.0, np.nan]), here)
        said = whole.allowed(given, made)
        paused.append(bool(whole.is_paused[0]))
        times = [1.0 if paused[-1] else 3.0, 3.0]
        for one, plain in ((said.grid, grid), (said.expected, ones), (said.maximum, given.maximum)):
            np.testing.assert_array_equal(one, plain * times)
    first = paused.index(True)
    assert 3 <= first <= 6
    assert paused[first : first + 30] == [True] * 30
    assert not paused[first + 30]


def test_a_new_order_of_series_forgets_nothing() -> None:
    whole = Corrections.none(3)
    grid = np.outer(np.ones(len(LEVELS)), [1.0, 2.0, 3.0])
    given = Profile(1, LEVELS, grid, grid[0], grid, np.ones(3, dtype=np.uint8))
    made = Profile(1, np.array([]), 2 * grid, grid[0], grid, given.source)
    whole = whole.after_step(given, made, np.ones(3), np.arange(3))
    moved = whole.rearranged(np.array([2, -1, 0]))
    assert moved.lost.tolist() == [whole.lost[2], 0.0, whole.lost[0]]
    assert moved.loss.tolist() == [whole.loss[2], 0.0, whole.loss[0]]
    assert moved.steps.tolist() == [1.0, 0.0, 1.0]
