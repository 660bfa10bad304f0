"""tidegate's own run in a backtest: the daemon's policy, forecaster and loop, on a case."""

from dataclasses import fields

import numpy as np
import pytest
from cases import case, drawn

from agent.allocation import Mode
from agent.backtest.engine import OneResource, RuleForecaster, steps_of
from agent.backtest.host import Evidence
from agent.backtest.ours import (
    all_forecasts,
    config_of,
    course_of,
    forecasts_ahead,
    our_steps,
    our_steps_closed,
    replay_forecast_settings,
    setting_of,
)
from agent.backtest.waiting import WaitingForecaster
from agent.settings import Config
from agent.tenant import BASIC, Resource
from forecast.profile import Source


def test_the_policy_is_a_default_configuration_at_the_pace_of_the_trace() -> None:
    host = case(drawn(12, 3), classes=[0, 1, 2], ceiling=[1.0, 2.0, 3.0])
    setting = setting_of(config_of(host, 5.0, Mode.STRICT), Resource.CPU)
    defaults = Config(machine={}, total={})
    assert setting.policy.capacity[Resource.CPU] == setting.policy.total[Resource.CPU] == 5.0
    assert setting.policy.modes[Resource.CPU] is Mode.STRICT
    assert (setting.policy.emergency, setting.policy.pace) == (defaults.emergency, defaults.pace)
    assert (setting.policy.learning_s, setting.step_s) == (0.0, 300.0)
    terms = setting.roster.terms[Resource.CPU]
    assert terms.ceiling.tolist() == [1.0, 2.0, 3.0]
    assert terms.weight.tolist() == [8.0, 4.0, 1.0]
    assert terms.floor.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("step_s", "horizon_steps"), [(60.0, 15), (300.0, 3), (3600.0, 1)])
def test_the_horizon_is_a_quarter_of_an_hour_or_a_step(step_s: float, horizon_steps: int) -> None:
    host = case(drawn(12, 3), step_s=step_s)
    config = config_of(host, 1.0, Mode.STRICT)
    assert config.periods.horizon_steps == horizon_steps
    settings = replay_forecast_settings(config)
    assert (settings.step_s, settings.horizon_steps) == (step_s, horizon_steps)
    assert settings.are_refits_counted


def test_forecasts_that_are_made_once_are_those_that_would_be_made_along_the_way() -> None:
    """On a host that is never full, so that nobody's demand is guessed."""
    demand = drawn(70, 3)
    demand[20:25, 1] = np.nan
    host = case(demand, warm_up=10)
    capacity = 3 * host.peak
    once = course_of(
        host,
        our_steps(host, capacity, Mode.STRICT, all_forecasts(host, lambda _: None)),
        capacity,
        _deaf,
    )
    config = config_of(host, capacity, Mode.STRICT)
    with WaitingForecaster(replay_forecast_settings(config)) as forecaster:
        narrowed = OneResource(forecaster, Resource.CPU, 3, foreseen=BASIC)
        setting = setting_of(config, Resource.CPU)
        evidence = Evidence(is_exact=True)
        along = course_of(
            host, steps_of(demand, setting, forecaster=narrowed, evidence=evidence), capacity, _deaf
        )
    # Whoever comes back shows no usage in the first step: from there on the two know different.
    assert once.upper[:15] == pytest.approx(along.upper[:15], rel=1e-4, nan_ok=True)
    assert once.limit[:15] == pytest.approx(along.limit[:15], rel=1e-4)
    rule = course_of(host, our_steps(host, capacity, Mode.STRICT, None), capacity, _deaf)
    assert not np.allclose(once.upper[:15], rule.upper[:15], equal_nan=True)


def test_a_replay_beside_its_forecasts_is_the_one_after_them() -> None:
    host = case(drawn(40, 3), warm_up=10)
    told: list[int] = []
    with forecasts_ahead(host, told.append) as ahead:
        beside = course_of(host, our_steps(host, 1.0, Mode.STRICT, ahead), 1.0, _deaf)
        log = ahead.log()
    after = course_of(host, our_steps(host, 1.0, Mode.STRICT, log), 1.0, _deaf)
    assert sum(told) == len(host.demand)
    for column in fields(beside):
        values = (getattr(course, column.name) for course in (beside, after))
        np.testing.assert_array_equal(*values)


def test_the_future_changes_nothing_that_was_decided_before() -> None:
    demand = np.minimum(drawn(60, 3), 0.8)
    other = demand.copy()
    other[40:] = 0.0
    courses = []
    for wanted in (demand, other):
        host = case(wanted, warm_up=10)
        said = all_forecasts(host, _deaf)
        courses.append(course_of(host, our_steps(host, 2.0, Mode.STRICT, said), 2.0, _deaf))
    # Step 40 is the first that differs; its limit was decided before.
    for column in ("limit", "guaranteed", "upper", "expected"):
        first, second = (getattr(course, column) for course in courses)
        np.testing.assert_array_equal(first[:31], second[:31])
        assert not np.array_equal(first[31:], second[31:])


def test_a_closed_loop_shows_the_forecaster_less() -> None:
    host = case(np.tile([[1.0, 3.0]], (60, 1)) * np.linspace(0.2, 1.0, 60)[:, None], warm_up=10)
    open_steps = our_steps(host, 1.5, Mode.STRICT, all_forecasts(host, _deaf))
    seen = course_of(host, open_steps, 1.5, _deaf)
    closed = course_of(host, our_steps_closed(host, 1.5, Mode.STRICT, are_fitted=True), 1.5, _deaf)
    assert not np.allclose(seen.upper, closed.upper)
    assert closed.served == pytest.approx(np.minimum(host.evaluated, closed.limit))


def test_one_resource_is_forecast_and_others_are_gaps() -> None:
    narrowed = OneResource(RuleForecaster(), Resource.MEMORY, 2, foreseen=BASIC)
    n_series = 2 * len(BASIC)
    narrowed.reset(n_series, np.empty((0, n_series)))
    narrowed.offer(1, np.arange(float(n_series)), 0.0)
    place = 2 * BASIC.index(Resource.MEMORY)
    recent = narrowed.recent(1)[0]
    assert recent[place : place + 2].tolist() == [place, place + 1]
    assert np.isnan(np.delete(recent, [place, place + 1])).all()
    with pytest.raises(ValueError, match="does not change"):
        narrowed.rearrange(np.arange(n_series))


def test_what_is_forecast_comes_from_fitted_models() -> None:
    said = all_forecasts(case(drawn(60, 2)), _deaf)
    assert said.grid.shape == (60, len(said.levels), 2)
    assert said.grid.dtype == np.float32
    assert (said.source[-1] == Source.LIVE).all()
    assert (said.source[0] == Source.LEARNING).all()


def _deaf(_steps: int) -> None:
    """Hear of progress, and do nothing with it."""
