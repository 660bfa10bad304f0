"""forecast.ets: fits and rolled states against StatsForecast's own."""

import numpy as np
import pytest
from statsforecast.ets import ets_f
from statsforecast.models import AutoETS

from forecast import ets
from forecast.rolling import DEFAULT_ALPHA, deviation_ahead, rolled

RNG = np.random.default_rng(7)


def wandering(points: int, size: float = 1.0) -> np.ndarray:
    return size * (5 + np.cumsum(RNG.normal(size=points)) * 0.3 + RNG.normal(size=points))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e11])
def test_a_rolled_state_equals_what_statsforecast_gets_by_replaying(size: float) -> None:
    past, future = np.abs(wandering(120, size)), np.abs(wandering(40, size))
    model = AutoETS(season_length=1, model="ANN").fit(past)
    alpha = np.array([model.model_["par"][0]])
    smoothed = model.model_["states"][-1]
    for seen in range(len(future)):
        smoothed = rolled(smoothed, alpha, future[seen : seen + 1])
        replayed = model.forward(np.concatenate((past, future[: seen + 1])), h=3)["mean"]
        np.testing.assert_allclose(replayed, smoothed[0], rtol=1e-9)


def test_a_fit_equals_statsforecasts_own_where_alpha_is_above_the_floor() -> None:
    series = np.abs(np.cumsum(RNG.normal(size=200)) + 50)
    model = AutoETS(season_length=1, model="ANN").fit(series).model_
    fits = ets.fitted_levels(series[:, None])
    assert model["par"][0] > ets.SMALLEST_ALPHA
    assert fits.alpha[0] == pytest.approx(model["par"][0], abs=0.01)
    assert fits.sigma[0] == pytest.approx(np.sqrt(model["sigma2"]), rel=1e-3)


def test_the_deviation_ahead_equals_statsforecasts_interval() -> None:
    model = AutoETS(season_length=1, model="ANN").fit(np.abs(wandering(150)))
    ahead = model.predict(h=15, level=[95])
    half_width = (ahead["hi-95"] - ahead["mean"])[-1]
    sigma, alpha = np.sqrt([model.model_["sigma2"]]), model.model_["par"][:1]
    assert 1.959963984540054 * deviation_ahead(sigma, alpha, 15)[0] == pytest.approx(half_width)


def test_alpha_never_goes_below_the_floor() -> None:
    noise = 10 + RNG.normal(size=(100, 20))
    alphas = [AutoETS(season_length=1, model="ANN").fit(y).model_["par"][0] for y in noise.T]
    assert min(alphas) < ets.SMALLEST_ALPHA  # left alone, it would
    assert ets.fitted_levels(noise).alpha.min() >= ets.SMALLEST_ALPHA


def test_gaps_are_skipped_as_rolling_skips_them() -> None:
    whole = np.abs(wandering(60))
    gappy = np.insert(whole, [0, 10, 10, 30, 60], np.nan)
    with_gaps, without = ets.fitted_levels(gappy[:, None]), ets.fitted_levels(whole[:, None])
    assert with_gaps.alpha[0] == without.alpha[0]
    assert with_gaps.smoothed[0] == without.smoothed[0]


def test_too_few_points_fit_nothing() -> None:
    column = np.full((50, 1), np.nan)
    column[-6:, 0] = [1, 2, 1, 3, 2, 1]
    assert np.isnan(ets.fitted_levels(column).alpha).all()
    column[-7, 0] = 2
    assert np.isfinite(ets.fitted_levels(column).alpha).all()


@pytest.mark.parametrize("value", [0.0, 0.25, 1e11])
def test_a_constant_series_is_its_own_state_without_error(value: float) -> None:
    fits = ets.fitted_levels(np.full((30, 1), value))
    assert (fits.alpha[0], fits.smoothed[0], fits.sigma[0]) == (DEFAULT_ALPHA, value, 0.0)


def test_huge_and_tiny_values_fit_in_one_series() -> None:
    column = np.where(RNG.random(60) < 0.1, 1e18, 1e-9)
    fits = ets.fitted_levels(column[:, None])
    assert np.isfinite([fits.alpha[0], fits.smoothed[0], fits.sigma[0]]).all()


def test_a_series_that_statsforecast_refuses_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses_falling(y: np.ndarray, **options: object) -> object:
        if y[-1] < y[0]:
            raise Exception("no model able to be fitted")  # noqa: TRY002 - as StatsForecast does
        return ets_f(y, **options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(ets, "ets_f", refuses_falling)
    rising = np.linspace(1, 2, 30)
    fits = ets.fitted_levels(np.stack((rising, rising[::-1], rising), axis=1))
    assert np.isfinite(fits.alpha).tolist() == [True, False, True]
