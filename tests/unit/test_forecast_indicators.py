"""forecast.indicators: what a queue that leads demand is worth, and what noise does no harm to."""

from dataclasses import replace

import numpy as np
import pytest
from leads import Course, Floats, led, queue, told
from series import profiles

from forecast.indicators import FEWEST_SCORED, MOST_RAISED, Indicators
from forecast.profile import LEVELS, Profile
from forecast.settings import LARGEST_METRIC, ForecastSettings

STEPS, SERIES, SETTLED = 900, 6, 300
SETTINGS = ForecastSettings(horizon_steps=15, history_steps=240)
LENGTHS = queue(STEPS, SERIES, seed=1)
DEMAND = led(LENGTHS, 2, seed=2)


@pytest.fixture(scope="module")
def forecasts() -> list[Profile]:
    """Return what the real forecaster says of the demand, without any metric."""
    return profiles(DEMAND, SETTINGS, fits_per_step=1)


@pytest.fixture(scope="module")
def course(forecasts: list[Profile]) -> Course:
    """Return how the queue corrects it."""
    return told(DEMAND, LENGTHS, forecasts)


def test_a_queue_that_leads_demand_by_two_steps_halves_the_loss(course: Course) -> None:
    assert course.is_used[SETTLED:].mean() > 0.9
    assert (course.ratio(SETTLED) < 0.6).all()
    assert (course.ratio(SETTLED, level=0.5) < 0.75).all()
    assert (course.ratio(SETTLED, level=0.95) < 0.85).all()


@pytest.mark.parametrize("lead", [1, 2, 3, 4])
def test_the_lead_is_found(lead: int) -> None:
    demand = led(LENGTHS, lead, seed=3)[:300]
    known, said = Indicators(SERIES), profiles(demand, SETTINGS, fits_per_step=1)
    for row, metric, profile in zip(demand, LENGTHS, said, strict=False):
        known.settle(row)
        known.enter(metric)
        known.adjusted(profile, np.arange(SERIES))
    assert known.lead_steps().tolist() == [lead] * SERIES
    assert (known.gain() > 0.2).all()


def test_noise_does_no_harm(forecasts: list[Profile]) -> None:
    rng, ratios = np.random.default_rng(4), []
    for _ in range(10):  # numbers as a queue's, of other steps
        course = told(DEMAND, rng.permutation(LENGTHS), forecasts)
        ratios.append(course.ratio(FEWEST_SCORED))
        assert course.is_used.mean() < 0.005
    assert np.mean(ratios) < 1.0005
    assert np.max(ratios) < 1.005


def test_a_metric_that_turns_into_noise_is_dropped_within_forty_steps(
    forecasts: list[Profile],
) -> None:
    turn = 500
    rng = np.random.default_rng(5)
    metrics = np.concatenate((LENGTHS[:turn], rng.permutation(LENGTHS[turn:])))
    course = told(DEMAND, metrics, forecasts)
    assert course.is_used[turn].mean() > 0.8
    assert not course.is_used[turn + 40 :].any()


def test_what_a_metric_costs_before_it_is_dropped_is_bounded(forecasts: list[Profile]) -> None:
    turn = 500
    lies = LENGTHS[:turn].mean(axis=0) * 2 - LENGTHS[turn:]  # low where work comes, high elsewhere
    course = told(DEMAND, np.concatenate((LENGTHS[:turn], lies)), forecasts)
    lost = (course.with_metrics - course.without)[turn:].mean(axis=1)
    usual = course.without.mean(axis=(0, 1))
    until = np.array([np.flatnonzero(~course.is_used[turn:, one])[0] for one in range(SERIES)])
    for one, steps in enumerate(until):
        # One step may lose much at once; it is the last one then.
        assert lost[: max(steps - 1, 0), one].sum() < 12 * usual[one]


def test_a_metric_that_is_not_reported_does_not_count_from_that_step_on(
    forecasts: list[Profile],
) -> None:
    metrics = LENGTHS.copy()
    metrics[600:, 0] = np.nan
    course = told(DEMAND, metrics, forecasts)
    assert course.is_used[599].all()
    for at in range(600, STEPS):
        np.testing.assert_array_equal(course.profiles[at].grid[:, 0], forecasts[at].grid[:, 0])
    assert any(
        (course.profiles[at].grid[:, 1] != forecasts[at].grid[:, 1]).any() for at in range(600, 620)
    )


def test_a_step_without_the_metric_is_no_reason_to_forget_it(forecasts: list[Profile]) -> None:
    metrics = LENGTHS.copy()
    metrics[400::5] = np.nan
    course = told(DEMAND, metrics, forecasts)
    assert (course.ratio(SETTLED) < 0.8).all()


def test_of_two_metrics_the_one_that_tells_more_is_believed(forecasts: list[Profile]) -> None:
    rng = np.random.default_rng(6)
    noisy = LENGTHS[:, :1] + rng.normal(0.0, 10.0, (STEPS, 1))
    metrics = np.concatenate((noisy, LENGTHS[:, :1], rng.random((STEPS, 1))), axis=1)
    known, chosen = Indicators(3), []
    for row, metric, profile in zip(DEMAND, metrics, forecasts, strict=True):
        known.settle(row[[0, 0, 0]])
        known.enter(metric)
        known.adjusted(profile, np.zeros(3, dtype=np.int64))
        chosen.append(known.chosen(np.zeros(3, dtype=np.int64)).tolist())
    late = chosen[SETTLED:]
    assert sum(one == [1] for one in late) > 0.9 * len(late)


@pytest.mark.parametrize("lie", [LARGEST_METRIC, -LARGEST_METRIC])
def test_a_lie_raises_a_forecast_to_twice_the_highest_demand_at_most(
    forecasts: list[Profile], lie: float
) -> None:
    metrics = LENGTHS.copy()
    metrics[500::2] = lie
    course = told(DEMAND, metrics, forecasts)
    for at in range(500, STEPS):
        highest = DEMAND[: at + 1].max(axis=0)
        most = np.maximum(forecasts[at].grid, MOST_RAISED * highest)
        assert (course.profiles[at].grid <= most * (1 + 1e-12)).all()
    assert course.ratio(500).max() < 1.1
    assert not course.is_used[-100:].any()


def test_the_largest_lie_is_held_at_that_bound() -> None:
    lengths = np.random.default_rng(7).uniform(0.0, 60.0, (200, SERIES))
    demand = led(lengths, 1, seed=8)
    lengths[150] = LARGEST_METRIC
    course = told(demand, lengths, profiles(demand, SETTINGS, fits_per_step=1))
    highest = demand[:151].max(axis=0)
    assert course.profiles[150].grid[-1] == pytest.approx(MOST_RAISED * highest, rel=0.05)
    assert (course.profiles[150].grid[-1] <= MOST_RAISED * highest).all()


@pytest.mark.parametrize("lie", [1e300, np.inf, -np.inf])
def test_what_is_no_number_of_an_application_is_not_known(
    forecasts: list[Profile], lie: float
) -> None:
    metrics = LENGTHS.copy()
    metrics[500:] = lie
    course = told(DEMAND, metrics, forecasts)
    for at in range(500, STEPS):
        assert course.profiles[at] is forecasts[at]


def test_a_metric_that_stands_still_moves_nothing(forecasts: list[Profile]) -> None:
    course = told(DEMAND, np.full_like(DEMAND, 7.0), forecasts)
    assert not course.is_used.any()
    assert course.ratio().tolist() == [1.0] * SERIES


def test_bounds_of_the_maximum_are_at_least_those_of_the_next_step(course: Course) -> None:
    for said in course.profiles[SETTLED:]:
        rows = [9, 12, 14]  # 80, 95 and 99 %
        assert (said.maximum >= said.grid[rows]).all()


def memory(known: Indicators) -> Floats:
    """Return how many numbers are kept."""
    return np.array([getattr(known, name).size for name in vars(known) if name != "_said"])


def test_memory_is_the_same_however_much_is_reported(forecasts: list[Profile]) -> None:
    known = Indicators(SERIES)
    before = memory(known).sum()
    for row, metric, profile in zip(DEMAND[:50], LENGTHS, forecasts, strict=False):
        known.settle(row)
        known.enter(metric)
        known.adjusted(profile, np.arange(SERIES))
    assert memory(known).sum() == before


def test_a_forecast_that_is_only_too_wide_is_no_gain_of_a_metric() -> None:
    demand = np.ones((120, SERIES))
    grid = np.repeat(0.5 + LEVELS[:, None], SERIES, axis=1)  # of which the median is right
    wide = replace(profiles(demand[:1], SETTINGS)[0], grid=grid)
    course = told(demand, LENGTHS[:120], [wide] * 120)
    assert not course.is_used.any()
