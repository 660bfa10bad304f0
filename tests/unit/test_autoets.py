"""Plain StatsForecast as a rival: what it says is StatsForecast's own, and no series stops it."""

import numpy as np
import pytest
from statsforecast.models import AutoETS

from forecast.autoets import AutoETSCore
from forecast.fallback import fallback_profile
from forecast.profile import Source
from forecast.settings import ForecastSettings

SETTINGS = ForecastSettings(step_s=300.0, horizon_steps=3, history_steps=60)
HORIZON = 3
INTERVALS_PCT = [60, 90, 98]  # two-sided: their upper ends are the quantiles at 80, 95, 99 %


def wandering(points: int, seed: int = 7) -> np.ndarray:
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=points)
    return np.abs(20 + np.cumsum(generator.normal(size=points)) * 0.5 + noise)


def taught(*columns: np.ndarray, settings: ForecastSettings = SETTINGS) -> AutoETSCore:
    core = AutoETSCore(len(columns), settings)
    for row in np.array(columns).T:
        core.learn(row)
    return core


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e11])
def test_bounds_are_the_largest_of_statsforecasts_own_gaussian_bounds(size: float) -> None:
    series = wandering(110).astype(np.float32).astype(np.float64)
    core = taught(size * series[:100])
    core.refit(core.due())
    said = [core.observe(step, size * row) for step, row in enumerate(series[100:, None])][-1]
    model = AutoETS(season_length=1, model="ZZN").fit(series[40:100])
    own = model.forward(series[40:110], h=HORIZON, level=INTERVALS_PCT)
    highs = np.array([own[f"hi-{pct}"] for pct in INTERVALS_PCT]).T
    np.testing.assert_allclose(
        said.maximum[..., 0] / size, np.maximum.accumulate(highs, axis=0), rtol=1e-4
    )
    assert said.expected[0] / size == pytest.approx(own["mean"][0], rel=1e-4)
    assert said.source.tolist() == [Source.LIVE]


def test_a_refit_forgets_what_is_older_than_the_history() -> None:
    """After a change that is older than that, it forecasts as if it had known nothing else."""
    late = wandering(60)
    long, short = taught(np.r_[1000 + wandering(60, 1), late]), taught(late)
    for core in (long, short):
        core.refit(core.due())
    following = np.array([late[-1]])
    np.testing.assert_array_equal(
        long.observe(1, following).maximum, short.observe(1, following).maximum
    )


def test_gaps_are_skipped() -> None:
    series = wandering(50)
    with_gaps = np.insert(series, [20, 20, 35], np.nan)
    settings = ForecastSettings(step_s=300.0, horizon_steps=3, history_steps=53)
    bounds = []
    for column in (series, with_gaps):
        core = taught(column, settings=settings)
        core.refit(core.due())
        core.observe(1, np.array([np.nan]))
        bounds.append(core.observe(2, np.array([30.0])).maximum)
    np.testing.assert_array_equal(bounds[0], bounds[1])


def test_where_there_is_no_model_the_rule_stands_in() -> None:
    none, few, unfitted = np.full(40, np.nan), np.full(40, np.nan), wandering(40)
    few[-3:] = (1.0, 5.0, 2.0)
    core = taught(none, few, unfitted)
    assert core.due().tolist() == [2]
    assert core.never_fitted() == 1
    newest = np.array([np.nan, 3.0, 9.0])
    said = core.observe(1, newest)
    history = np.vstack([np.array([none, few, unfitted]).T, newest])
    rule = fallback_profile(history.astype(np.float32), step=1)
    np.testing.assert_array_equal(said.maximum, rule.maximum)
    assert said.source.tolist() == [Source.LEARNING, Source.LEARNING, Source.FALLBACK]


@pytest.mark.parametrize(
    "series",
    [
        np.zeros(80),
        np.full(80, 0.1),
        np.arange(80.0),
        np.arange(200.0, 40.0, -2.0),
        np.arange(79.0, -1.0, -1.0),
        np.r_[np.zeros(79), 1e15],
        np.tile([0.0, 1e17], 40),
        np.geomspace(1e-9, 1e9, 80),
        np.r_[np.full(60, 5.0), np.zeros(20)],
    ],
    ids=[
        "zero",
        "constant",
        "line",
        "falling",
        "falling to nothing",
        "burst",
        "swings",
        "explosion",
        "gone",
    ],
)
def test_whatever_the_series_the_profile_is_sound(series: np.ndarray) -> None:
    core = taught(series[:70])
    core.refit(core.due())
    said = [core.observe(step, row) for step, row in enumerate(series[70:, None])][-1]
    for column in (said.grid, said.maximum, said.expected):
        assert np.isfinite(column).all()
        assert (column >= 0).all()
    assert (np.diff(said.grid, axis=0) >= 0).all()
    assert (np.diff(said.maximum, axis=0) >= 0).all()
    assert (np.diff(said.maximum, axis=1) >= 0).all()


def test_series_are_refitted_in_turn_and_keep_their_models_in_a_new_order() -> None:
    columns = (wandering(70, 1), 10 * wandering(70, 2))
    core, other = taught(*columns), taught(*columns)
    core.refit(np.array([1]))
    assert core.due().tolist() == [0, 1]
    core.refit(np.array([0]))
    other.refit(np.array([0, 1]))
    core.rearrange(np.array([1, -1, 0]))
    said = core.observe(1, np.array([200.0, 1.0, 20.0]))
    expected = other.observe(1, np.array([20.0, 200.0]))
    np.testing.assert_array_equal(said.maximum[..., [2, 0]], expected.maximum)
    assert said.source.tolist() == [Source.LIVE, Source.LEARNING, Source.LIVE]
