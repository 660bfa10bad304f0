"""What each forecaster says of a small demand, and that it is held against the right windows."""

import numpy as np
import pytest
from cases import STEP_S, drawn

from agent.backtest.accuracy import Tally, naive_bounds, outcomes_of, tallied
from agent.backtest.contestants import (
    AUTOETS,
    MIX,
    NAIVE,
    RULE,
    Entry,
    as_one,
    result_of,
    steps_told,
)
from agent.backtest.waiting import WaitingForecaster
from agent.tenant import Floats
from forecast.autoets import AutoETSCore
from forecast.fallback import fallback_profile
from forecast.profile import Numbers, Source
from forecast.settings import ForecastSettings

SETTINGS = ForecastSettings(
    step_s=STEP_S, horizon_steps=3, refit_s=3600, history_steps=60, are_refits_counted=True
)
FIRST = 79


def demand() -> Floats:
    """Return 120 steps of 3 tenants, one of which is away for a while and one comes late."""
    values = drawn(120, 3).astype(np.float32).astype(np.float64)
    values[90:95, 1] = np.nan
    values[:85, 2] = np.nan
    return values


def entry(name: str) -> Entry:
    return Entry(name, SETTINGS, demand(), FIRST)


def same(found: Tally, expected: Tally) -> None:
    np.testing.assert_array_equal(found.windows, expected.windows)
    np.testing.assert_array_equal(found.held, expected.held)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.bound, expected.bound, rtol=1e-5)


def held_against(bounds: list[Numbers]) -> Tally:
    """Return the tally of what was said after step FIRST and each one that followed."""
    outcomes = outcomes_of(demand(), SETTINGS.horizons_steps, FIRST)
    return tallied(outcomes, np.stack(bounds).astype(np.float32))


def test_the_mix_is_what_the_agents_forecaster_says_having_seen_all_steps_before() -> None:
    told: list[int] = []
    result = result_of(entry(MIX), told.append)
    bounds, sources = [], []
    with WaitingForecaster(SETTINGS) as forecaster:
        forecaster.reset(3, np.empty((0, 3)))
        for step, row in enumerate(demand()):
            said = forecaster.answered(step, row)
            if step >= FIRST:
                bounds.append(said.maximum)
                sources.append(said.source)
    same(result.tally, held_against(bounds))
    # The longest windows: 38 of one that is always there.
    assert result.tally.windows[-1].tolist() == [38, 38 - 5 - 3, 32]
    is_counted = np.isfinite(outcomes_of(demand(), SETTINGS.horizons_steps, FIRST)[-1])
    is_rule = np.stack(sources)[: len(is_counted)] != Source.LIVE
    assert result.stood_in_windows.tolist() == (is_counted & is_rule).sum(axis=0).tolist()
    assert 0 < result.stood_in_windows[2] < 32  # who came late has no model at first
    assert result.cpu_s > 0
    assert result.series_steps == 3 * 40
    assert sum(told) == steps_told(entry(MIX)) == 120


def test_autoets_is_what_its_core_says_refitted_every_hour() -> None:
    told: list[int] = []
    result = result_of(entry(AUTOETS), told.append)
    core, bounds = AutoETSCore(3, SETTINGS), []
    for row in demand()[:FIRST]:
        core.learn(row)
    core.refit(core.due())
    owed = 0.0
    for step, row in enumerate(demand()[FIRST:], start=FIRST):
        bounds.append(core.observe(step, row).maximum)
        owed = max(owed + 3 / 12, float(core.never_fitted()))
        core.refit(core.due()[: int(owed)])
        owed -= int(owed)
    same(result.tally, held_against(bounds))
    assert sum(told) == steps_told(entry(AUTOETS)) == 120 - FIRST
    assert result.cpu_s > 0


def test_the_rule_is_the_fallback_rule_on_what_was_seen() -> None:
    values = demand()
    bounds = [
        fallback_profile(values[: step + 1], step=step).maximum
        for step in range(FIRST, len(values))
    ]
    result = result_of(entry(RULE), lambda _steps: None)
    same(result.tally, held_against(bounds))
    assert result.stood_in_windows.tolist() == [0, 0, 0]


def test_the_naive_forecast_costs_nothing_and_is_judged_by_the_same_windows() -> None:
    naive, rule = (result_of(entry(name), lambda _steps: None) for name in (NAIVE, RULE))
    assert np.isnan(naive.cpu_s)
    assert naive.tally.windows.tolist() == rule.tally.windows.tolist()
    outcomes = outcomes_of(demand(), SETTINGS.horizons_steps, FIRST)
    same(naive.tally, tallied(outcomes, naive_bounds(demand(), outcomes, FIRST)))


def test_parts_of_one_forecasters_tenants_are_put_together_in_order() -> None:
    whole = result_of(entry(RULE), lambda _steps: None)
    parts = [
        result_of(Entry(RULE, SETTINGS, demand()[:, part], FIRST), lambda _steps: None)
        for part in ([0, 1], [2])
    ]
    together = as_one(parts)
    same(together.tally, whole.tally)
    assert together.series_steps == whole.series_steps
    assert together.cpu_s == pytest.approx(sum(part.cpu_s for part in parts))
    last = together.only(np.array([2]))
    same(last.tally, parts[1].tally)
    assert last.series_steps == whole.series_steps
