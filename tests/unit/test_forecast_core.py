"""forecast.core: the whole forecaster of some series, step by step."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from series import Floats, maxima_ahead, profiles, share_held

from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.fallback import fallback_profile
from forecast.message import answer_message, profile_of
from forecast.panel import PANEL
from forecast.profile import LEVELS, Source
from forecast.quality import Verdict
from forecast.settings import ForecastSettings

SETTINGS = ForecastSettings(horizon_steps=5, history_steps=60)
ROWS = {level: row for row, level in enumerate(LEVELS.tolist())}


def shaped(kind: str, steps: int = 900, series: int = 12) -> np.ndarray:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(steps, series))
    time = np.arange(steps)[:, None]
    values = {
        "steady": 5 + 0.3 * noise,
        "wandering": 30 + np.cumsum(noise, axis=0) * 0.2 + noise,
        "daily": 5 + 3 * np.sin(2 * np.pi * time / 288) + 0.3 * noise,
        "bursty": np.exp(0.8 * noise) * (1 + 5 * (rng.random((steps, series)) < 0.05)),
    }[kind]
    return np.asarray(np.maximum(values, 0.0))


@pytest.mark.parametrize("kind", ["steady", "wandering", "daily", "bursty"])
def test_the_bound_on_the_maximum_and_the_grid_cover_as_often_as_they_say(kind: str) -> None:
    values = shaped(kind)
    made = profiles(values, SETTINGS, fits_per_step=1)
    late = slice(len(values) // 2, -SETTINGS.horizon_steps)
    upper = np.stack([p.upper for p in made])[late]
    ahead = maxima_ahead(values, SETTINGS.horizon_steps)[len(values) // 2 :]
    assert share_held(ahead, upper) == pytest.approx(0.95, abs=0.025)
    following = values[len(values) // 2 + 1 :]
    for level in (0.9, 0.95, 0.99):
        grid = np.stack([p.grid[ROWS[level]] for p in made])[len(values) // 2 : -1]
        assert share_held(following, grid) == pytest.approx(level, abs=0.02)


def test_a_series_is_learning_until_it_has_points_and_a_model() -> None:
    core = ForecastCore(2, SETTINGS, MODELS)
    values = shaped("steady", steps=20, series=2)
    values[:8, 1] = np.nan
    sources = []
    for step, row in enumerate(values):
        sources.append(core.observe(step, row).source.tolist())
        core.refit(core.due())
    first, second = (list(of_series) for of_series in zip(*sources, strict=True))
    assert first == [Source.LEARNING] * 12 + [Source.LIVE] * 8
    assert second == [Source.LEARNING] * 20  # 12 points, but no step since the fit


def test_a_profile_while_learning_follows_the_first_point() -> None:
    profile = ForecastCore(1, SETTINGS, MODELS).observe(1, np.array([3.0]))
    assert profile.expected[0] == 3.0
    assert profile.upper[0] == pytest.approx(3.3)


def test_bounds_recover_within_15_steps_of_a_change_of_regime() -> None:
    rng = np.random.default_rng(8)
    calm, wild = 2 + 0.05 * rng.normal(size=(300, 20)), 9 + rng.normal(size=(300, 20))
    values = np.concatenate((calm, wild))
    made = profiles(values, SETTINGS, fits_per_step=2)
    upper = np.stack([p.upper for p in made])[:-5]
    held = maxima_ahead(values, 5) <= upper
    assert held[295:315].mean() < 0.75  # windows that begin before the change, and just after it
    assert held[315:400].mean() > 0.93
    assert held[400:].mean() == pytest.approx(0.95, abs=0.03)


def test_a_flat_series_keeps_a_little_width() -> None:
    flat = profiles(np.full((40, 1), 8.0), SETTINGS)[-1]
    assert flat.source[0] == Source.LIVE
    assert flat.grid[ROWS[0.5], 0] == pytest.approx(8.0)
    assert 8.0 < flat.grid[ROWS[0.95], 0] < 8.2
    assert 8.0 < flat.upper[0] < 8.2


def test_a_gap_leaves_a_series_where_it_was() -> None:
    core = ForecastCore(1, SETTINGS, MODELS)
    steady = shaped("steady", steps=50, series=1)
    for step, row in enumerate(steady[:-1]):
        core.observe(step, row)
        core.refit(core.due()[: step < 40])
    before = core.observe(49, steady[-1])
    for step in range(50, 150):
        core.observe(step, np.array([np.nan]))
    after = core.observe(150, np.array([np.nan]))
    np.testing.assert_array_equal(before.grid, after.grid)
    assert before.expected[0] == after.expected[0]


def test_a_long_gap_before_the_first_fit_leaves_the_state_to_go_by() -> None:
    core = ForecastCore(1, SETTINGS, MODELS)
    for step in range(200):
        core.observe(step, np.array([4.0 if step < 3 else np.nan]))
    profile = core.observe(200, np.array([np.nan]))
    assert profile.source[0] == Source.LEARNING
    assert profile.expected[0] == pytest.approx(4.0)
    assert profile.upper[0] >= 4.0


def chaotic(steps: int) -> Floats:
    """Return levels that nothing announces and that last for 12 steps: no model can follow."""
    rng = np.random.default_rng(1)
    levels = np.repeat(rng.uniform(0, 100, -(-steps // 12)), 12)[:steps]
    return np.abs(levels + 0.05 * rng.normal(size=steps))


def test_a_poor_model_is_refitted_then_replaced_by_the_rule_and_returns_when_it_is_better() -> None:
    settings = ForecastSettings(horizon_steps=3, history_steps=60, experts=("level",))
    calm = shaped("steady", steps=700, series=1)[:, 0]
    values = np.stack((calm, np.concatenate((chaotic(300), calm[:400]))), axis=1)
    core = ForecastCore(2, settings, MODELS)
    sources, wanted, judged_at = [], [], 0
    for step, row in enumerate(values):
        profile = core.observe(step, row)
        assert profile.quality is not None
        verdict = profile.quality.verdict
        judged_at = judged_at or (step if verdict[1] == Verdict.POOR else 0)
        sources.append(profile.source[1])
        assert verdict[0] in (Verdict.UNJUDGED, Verdict.GOOD)
        if verdict[1] == Verdict.REPLACED:
            rule = fallback_profile(values[step - 23 : step + 1], step=step)
            np.testing.assert_allclose(profile.grid[:-1, 1], rule.grid[:-1, 1], rtol=1e-6)
            np.testing.assert_allclose(profile.maximum[..., 1], rule.maximum[..., 1], rtol=1e-6)
        if core.urgent() and step > 2 * settings.min_points:
            wanted.append(step)
            assert core.due()[0] == 1
        core.refit(core.due()[: None if step % 60 == 0 else core.urgent()])
        assert core.urgent() == 0
    assert wanted[0] == judged_at
    first = sources.index(Source.FALLBACK)
    assert judged_at + 12 <= first < 300
    assert sources[-1] == Source.LIVE


def test_figures_say_how_often_bounds_held_and_how_the_best_expert_did() -> None:
    values = shaped("bursty")
    made = profiles(values, SETTINGS, fits_per_step=12)
    ahead = maxima_ahead(values, SETTINGS.horizon_steps)
    bounds = np.stack([p.maximum[-1] for p in made])[: len(ahead)]
    held = (ahead[:, None] <= bounds)[SETTINGS.min_points :]
    quality = made[-1].quality
    assert quality is not None
    weight = 0.5 ** (np.arange(len(held))[::-1] / (96 * SETTINGS.horizon_steps))
    share = np.average(held, axis=0, weights=weight)
    np.testing.assert_allclose(quality.coverage, share, atol=0.025)  # but for the first 20 windows
    np.testing.assert_allclose(quality.windows, weight.sum(), rtol=0.02)
    assert (quality.skill > 0.1).all()  # noise around a level: the last value is a poor guess
    assert (np.abs(quality.skill_best) < 0.1).all()
    assert (np.abs(quality.bias) < 0.1).all()
    np.testing.assert_allclose(quality.shares.sum(axis=0), 100, atol=2)


def test_what_no_host_can_show_is_a_gap() -> None:
    odd = np.array([np.inf, -np.inf, -1.0, 1e300, np.nan])
    core, twin = ForecastCore(5, SETTINGS, MODELS), ForecastCore(5, SETTINGS, MODELS)
    for step in range(30):
        row = np.full(5, 1.0 + step % 3)
        made = core.observe(step, row if step % 2 else odd)
        expected = twin.observe(step, row if step % 2 else np.full(5, np.nan))
        core.refit(core.due())
        twin.refit(twin.due())
        np.testing.assert_array_equal(made.grid, expected.grid)
    assert np.isfinite(core.observe(30, odd).grid).all()


def test_the_longest_unfitted_series_are_due_first() -> None:
    core = ForecastCore(4, SETTINGS, MODELS)
    for step in range(12):
        core.observe(step, np.array([1.0, 2.0, 3.0, 4.0 if step else np.nan]) + step % 4)
    assert core.due().tolist() == [0, 1, 2]  # the last has one point too few
    core.refit(np.array([1]))
    core.observe(12, np.ones(4))
    assert core.due().tolist() == [0, 2, 3, 1]


def test_learning_from_the_past_is_as_good_as_having_lived_it() -> None:
    values = shaped("wandering", steps=200, series=3)
    lived, told = ForecastCore(3, SETTINGS, MODELS), ForecastCore(3, SETTINGS, MODELS)
    for step, row in enumerate(values[:-1]):
        lived.observe(step, row)
        told.learn(row)
    for core in (lived, told):
        core.refit(core.due())
    one, other = (core.observe(200, values[-1]) for core in (lived, told))
    np.testing.assert_array_equal(one.expected, other.expected)
    np.testing.assert_allclose(one.upper, other.upper, rtol=0.1)


def test_memory_does_not_grow_with_time() -> None:
    core = ForecastCore(3, ForecastSettings(horizon_steps=2, history_steps=12), MODELS)
    sizes = set()
    for step in range(100):
        core.observe(step, np.ones(3) * (step % 5))
        if step > 50:
            sizes.add(_bytes_of(core))
    assert len(sizes) == 1


@pytest.mark.parametrize(("before", "after"), [(20, 20_000), (20_000, 20), (3, 60_000)])
def test_another_number_of_series_takes_the_memory_that_it_would_take_from_the_start(
    before: int, after: int
) -> None:
    """A reload that adds thousands of tenants does not break the forecaster's budget."""
    settings = ForecastSettings(horizon_steps=5)
    core = ForecastCore(before, settings, MODELS)
    core.observe(0, np.ones(before))
    positions = np.arange(after)
    core.rearrange(np.where(positions < before, positions, -1))
    core.observe(1, np.ones(after))
    fresh = ForecastCore(after, settings, MODELS)
    fresh.observe(0, np.ones(after))
    assert _bytes_of(core) == _bytes_of(fresh)


def test_series_that_stay_among_many_newcomers_go_on_as_before() -> None:
    """As long as nothing has to be forgotten: their past is shorter than what is still kept."""
    core, twin = ForecastCore(5, SETTINGS, MODELS), ForecastCore(5, SETTINGS, MODELS)
    values = shaped("bursty", steps=80, series=5)
    for step, row in enumerate(values[:70]):
        for one in (core, twin):
            one.observe(step, row)
            one.refit(one.due())
    others = np.full(3_000, -1)
    core.rearrange(np.append(np.arange(5), others))
    crowd = np.full(len(others), 2.0)
    for step, row in enumerate(values[70:75], 70):
        made, alone = core.observe(step, np.append(row, crowd)), twin.observe(step, row)
        np.testing.assert_array_equal(made.grid[:, :5], alone.grid)
        np.testing.assert_array_equal(made.upper[:5], alone.upper)
    core.rearrange(np.arange(5))
    for step, row in enumerate(values[75:], 75):
        np.testing.assert_array_equal(core.observe(step, row).grid, twin.observe(step, row).grid)


def test_an_expert_that_many_series_could_not_afford_comes_back_with_the_past_that_is_kept() -> (
    None
):
    settings = replace(SETTINGS, experts=("level_of_late", "analogues"), horizon_steps=1)
    core = ForecastCore(60_000, settings, MODELS)
    value = iter(shaped("steady", steps=60, series=1)[:, 0])
    for _ in range(50):
        core.learn(np.full(60_000, next(value)))
    core.rearrange(np.array([0]))
    twin = ForecastCore(1, settings, MODELS)
    assert _bytes_of(core) == _bytes_of(twin)
    values = shaped("steady", steps=60, series=1)
    for row in values[:50]:
        twin.learn(row)
    grids = [one.observe(50, values[50]).grid for one in (core, twin)]
    np.testing.assert_allclose(grids[0], grids[1], rtol=0.2)


def _bytes_of(part: object) -> int:
    """Sum the arrays that an object and its parts hold."""
    if isinstance(part, np.ndarray):
        return part.nbytes
    if isinstance(part, list):
        return sum(_bytes_of(value) for value in part)
    parts = part if isinstance(part, Mapping) else getattr(part, "__dict__", {})
    return sum(_bytes_of(value) for value in parts.values())


@pytest.mark.parametrize(
    "bad",
    [
        {"step_s": 0},
        {"horizon_steps": 0},
        {"refit_share": 1.5},
        {"history_steps": 5},
        {"min_points": 6},
        {"refit_s": float("nan")},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ForecastSettings(**bad)  # type: ignore[arg-type]


def test_a_core_can_have_one_expert_alone() -> None:
    """And each says something else, of what follows and of the maxima."""
    values = np.abs(np.random.default_rng(3).normal(2.0, 1.0, (101, 4)))
    said = {}
    for name in PANEL:
        core = ForecastCore(4, ForecastSettings(step_s=3600.0, experts=(name,)), MODELS)
        for step, row in enumerate(values[:100]):
            core.observe(step, row)
            core.refit(core.due()[step % 4 :: 4])
        profile = core.observe(100, values[100])
        assert np.isfinite(profile.grid).all()
        said[name] = np.append(profile.grid, profile.maximum)
        core.rearrange(np.array([1, 0, -1]))
        assert core.observe(101, np.ones(3)).grid.shape == (len(LEVELS), 3)
    cannot_tell = {"last_week", "daily"}  # so soon, and of what has no season: the rule stands in
    for one, other in combinations(set(said) - cannot_tell, 2):
        assert (said[one] != said[other]).any(), (one, other)


@pytest.mark.parametrize("name", PANEL)
def test_what_is_said_after_a_long_gap_is_all_known_or_all_unknown(name: str) -> None:
    """Of one series it would be refused with those of all others."""
    core = ForecastCore(2, ForecastSettings(step_s=3600.0, experts=(name,)), MODELS)
    for step in range(130):
        value = np.nan if 60 <= step < 120 else 1.0 + step % 3
        said = core.observe(step, np.array([value, 1.0 + step % 2]))
        assert (np.isnan(said.grid).any(axis=0) == np.isnan(said.expected)).all()
        profile_of(answer_message(1, said), 2)
        core.refit(core.due()[: step % 2])
