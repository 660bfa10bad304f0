"""forecast.experts: what each center says, on series of which it is known."""

from dataclasses import replace

import numpy as np
import pytest
from statsforecast.models import AutoETS

from forecast.around import Center
from forecast.ets import MODELS
from forecast.expert import Outlook
from forecast.experts.daily import Daily
from forecast.experts.naive import Naive
from forecast.experts.peak import Peak
from forecast.experts.same_time import DAY_S, WEEK_S, SameTime, cells_of
from forecast.experts.smoothing import SmoothingGrid
from forecast.experts.trend import DampedTrend
from forecast.history import Floats, History, Singles
from forecast.models import DailyFits
from forecast.rolling import damped_ahead, rolled, rolled_trend
from forecast.season import day_factors, has_season, is_enough, without_gaps

RNG = np.random.default_rng(11)
HOUR_S = 3600.0


def outlook_of(smoothed: Floats, recent: History | None = None) -> Outlook:
    ones = np.ones_like(smoothed)
    return Outlook(smoothed, 0.3 * ones, ones, ones, recent or History(len(smoothed), 1))


def told(center: Center, values: Floats, steps: int = 1) -> Singles:
    """Return what a center says after `values` (steps, series)."""
    smoothed, recent = values[0].astype(np.float64), History(values.shape[1], 60)
    for row in values:
        recent.append(row)
        center.settle(row.astype(np.float32))
        smoothed = rolled(smoothed, np.full(len(row), 0.3), row)
    return center.ahead(outlook_of(smoothed, recent), steps)


def test_naive_is_the_last_that_is_known() -> None:
    values = np.array([[1.0, 1.0], [2.0, np.nan]])
    assert told(Naive(2), values).tolist() == [2.0, 1.0]


def test_the_peak_looks_back_four_windows() -> None:
    values = np.array([9.0, 5.0, 1.0, 2.0, 1.0, 1.0, 1.0, 3.0])[:, None]
    assert told(Peak(halfway=False), values, 1)[0] == 3.0
    assert told(Peak(halfway=False), values, 2)[0] == 9.0
    halfway = told(Peak(halfway=True), np.full((8, 1), 4.0), 2)
    assert halfway[0] == pytest.approx(4.0)


def test_the_smoothing_that_suits_a_series_is_found() -> None:
    """Noise around a level wants a slow one; a level that jumps for good, a quick one."""
    noisy = 10 + RNG.normal(size=(400, 1))
    steps = np.repeat(RNG.uniform(5, 50, 40), 10)[:, None]
    assert told(SmoothingGrid(1), noisy)[0] == pytest.approx(10.0, abs=0.6)
    assert told(SmoothingGrid(1), steps)[0] == pytest.approx(steps[-1, 0], rel=0.01)


@pytest.mark.parametrize(
    ("lag_s", "step_s", "cells", "steps_a_cell"),
    [(DAY_S, 300, 288, 1), (DAY_S, 60, 1440, 1), (WEEK_S, 300, 2016, 1), (WEEK_S, 60, 2016, 5)],
)
def test_a_lag_is_kept_as_fine_as_numbers_allow(
    lag_s: float, step_s: float, cells: int, steps_a_cell: int
) -> None:
    assert cells_of(lag_s, step_s) == (cells, steps_a_cell)


def test_the_same_time_yesterday_is_told() -> None:
    """Steps of an hour: 24 a day."""
    days = np.tile(np.arange(24.0), 3)[:, None]
    assert told(SameTime(1, DAY_S, HOUR_S), days)[0] == 0.0
    assert told(SameTime(1, DAY_S, HOUR_S), days, 3)[0] == 2.0
    assert told(SameTime(1, DAY_S, HOUR_S), days[:-4])[0] == 20.0
    assert np.isnan(told(SameTime(1, DAY_S, HOUR_S), days[:23])[0])


def test_of_last_week_means_of_some_steps_are_kept() -> None:
    """Steps of two minutes, 5,040 a week, three to a cell."""
    week = np.arange(5040.0)[:, None]
    found = told(SameTime(1, WEEK_S, 120.0), week)
    assert found[0] == pytest.approx(1.0)  # the mean of 0, 1 and 2
    assert cells_of(WEEK_S, 120.0) == (1680, 3)


def test_a_trend_is_followed_and_damped() -> None:
    values = (np.arange(120.0) + RNG.normal(size=120) * 0.1)[:, None]
    center = DampedTrend(1)
    for row in values:
        center.settle(row.astype(np.float32))
    for _ in range(2):  # fitted each twelfth time, first the second time
        center.refit(np.array([0]), values.astype(np.float32), MODELS)
    said = center.ahead(outlook_of(values[-1]), 5)
    assert 121.0 < said[0] <= 124.5


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e11])
def test_a_rolled_trend_equals_statsforecasts_replay(size: float) -> None:
    past, future = np.split(np.abs(np.cumsum(RNG.normal(size=160)) + 50) * size, [120])
    model = AutoETS(season_length=1, model="AAN", damped=True).fit(past)
    alpha, beta, _, phi = (np.array([value]) for value in model.model_["par"][:4])
    level, trend = (np.array([value]) for value in model.model_["states"][-1])
    for seen in range(len(future)):
        level, trend = rolled_trend(
            level, trend, future[seen : seen + 1], alpha=alpha, beta=beta, phi=phi
        )
        replayed = model.forward(np.concatenate((past, future[: seen + 1])), h=1)["mean"]
        np.testing.assert_allclose(damped_ahead(level, trend, phi, 1), replayed, rtol=1e-9)
    # Two steps on it takes 2 phi for phi + phi^2: held against the model's own formula instead.
    formula = level + phi * trend + phi**2 * trend + phi**3 * trend
    np.testing.assert_allclose(damped_ahead(level, trend, phi, 3), formula, rtol=1e-9)


def test_rolled_hours_equal_statsforecasts_replay() -> None:
    hours = 50 + 10 * np.sin(np.arange(240) * np.pi / 12) + RNG.normal(size=240)
    hours = hours.astype(np.float32).astype(np.float64)  # as they are kept
    past, future = hours[:192], hours[192:]
    model = AutoETS(season_length=24, model="ANA").fit(past)

    def daily(given: np.ndarray) -> DailyFits:
        np.testing.assert_array_equal(given[:, 0], past)
        level, *season = model.model_["states"][-1]
        alpha, _, gamma = (np.array([value]) for value in model.model_["par"][:3])
        return DailyFits(alpha, gamma, np.array([level]), np.array(season[::-1])[:, None])

    center = Daily(1, HOUR_S)
    for value in past:
        center.settle(np.array([value], dtype=np.float32))
    models = replace(MODELS, daily=daily)
    center.refit(np.array([0]), np.empty((0, 1), dtype=np.float32), models)
    for seen, value in enumerate(future[:30]):
        center.settle(np.array([value], dtype=np.float32))
        replayed = model.forward(np.concatenate((past, future[: seen + 1])), h=2)["mean"]
        # Half an hour on is the middle of the first hour.
        first, second = center._at(0.5), center._at(1.5)
        np.testing.assert_allclose([first[0], second[0]], replayed, rtol=1e-9)


def test_fitted_days_equal_statsforecasts_own() -> None:
    hours = 50 + 10 * np.sin(np.arange(240) * np.pi / 12) + RNG.normal(size=240)
    fits = MODELS.daily(hours[:, None])
    replayed = AutoETS(season_length=24, model="ANA").fit(hours).predict(h=24)["mean"]
    np.testing.assert_allclose(fits.level + fits.season[:, 0], replayed, rtol=0.01)


def test_the_time_of_day_raises_a_forecast_before_demand_rises() -> None:
    """At 8:50 what is to come within 15 minutes is more than now: each day the load starts at 9."""
    steps_a_day = 288
    day = np.where((np.arange(steps_a_day) >= 108) & (np.arange(steps_a_day) < 204), 8.0, 1.0)
    values = np.tile(day, 6)[: 5 * steps_a_day + 105, None] + 0.05 * RNG.normal(size=(1545, 1))
    center = Daily(1, 300.0)
    for row in values:
        center.settle(row.astype(np.float32))
    center.refit(np.array([0]), values.astype(np.float32), MODELS)
    night, morning = (
        center.ahead(outlook_of(np.ones(1)), 1),
        center.ahead(outlook_of(np.ones(1)), 9),
    )
    assert night[0] < morning[0]
    assert morning[0] > 3.0


def test_what_has_no_season_is_not_given_one() -> None:
    noise = 10 + RNG.normal(size=(24 * 7, 200))
    wandering = np.cumsum(RNG.normal(size=(24 * 7, 200)), axis=0)
    daily = noise + 2 * np.sin(np.arange(24 * 7) * np.pi / 12)[:, None]
    assert has_season(noise).mean() < 0.1
    assert has_season(wandering).mean() < 0.3
    assert has_season(daily).all()


def test_a_gap_in_the_hours_takes_the_day_before() -> None:
    hours = np.tile(np.arange(24.0), 4)[:, None]
    gappy = hours.copy()
    gappy[[0, 30, 31, 54]] = np.nan
    np.testing.assert_array_equal(without_gaps(gappy), hours)
    assert not has_season(without_gaps(np.full((96, 1), np.nan)))[0]


def test_copies_of_one_day_are_no_season() -> None:
    """A newcomer among series that were seen for weeks: what is filled in proves nothing."""
    hours = np.full((27 * 24, 50), np.nan)
    hours[-40:] = 10 + RNG.normal(size=(40, 50))
    assert has_season(without_gaps(hours)).mean() > 0.5  # the copies alone would pass
    assert not is_enough(hours).any()
    hours[-72:] = 10 + RNG.normal(size=(72, 50))
    assert is_enough(hours).all()
    center = Daily(1, HOUR_S)
    for value in [*[np.nan] * (27 * 24), *hours[-40:, 0]]:
        center.settle(np.array([value], dtype=np.float32))
    center.refit(np.array([0]), np.empty((0, 1), dtype=np.float32), MODELS)
    assert np.isnan(center.ahead(outlook_of(np.ones(1)), 1)[0])


@pytest.mark.parametrize("step_s", [25 * 60.0, 40 * 60.0, 7200.0])
def test_steps_that_make_no_hour_have_no_time_of_day(step_s: float) -> None:
    center = Daily(1, step_s)
    for value in np.tile(np.arange(24.0), 8):
        center.settle(np.array([value], dtype=np.float32))
    center.refit(np.array([0]), np.empty((0, 1), dtype=np.float32), MODELS)
    assert np.isnan(center.ahead(outlook_of(np.ones(1)), 1)[0])


def test_a_season_that_is_gone_is_forgotten_at_the_next_fit() -> None:
    center = Daily(1, HOUR_S)
    day = 50 + 10 * np.sin(np.arange(24) * np.pi / 12)
    for value in [*np.tile(day, 6), *(50 + RNG.normal(size=28 * 24))]:
        center.settle(np.array([value], dtype=np.float32))
        center.refit(np.array([0]), np.empty((0, 1), dtype=np.float32), MODELS)
    assert np.isnan(center.ahead(outlook_of(np.ones(1)), 1)[0])


def test_days_of_the_week_are_told_apart_after_two_weeks() -> None:
    week = np.repeat([5.0, 5.0, 5.0, 5.0, 5.0, 1.0, 1.0], 24)
    hours = np.tile(week, 4)[:, None]
    factors = day_factors(hours, 0)[:, 0]
    assert factors[0] > 1.1
    assert factors[6] < 0.55
    np.testing.assert_allclose(day_factors(hours[48:], 48)[:, 0], factors, rtol=0.1)
    assert (day_factors(hours[:300], 0) == 1.0).all()
