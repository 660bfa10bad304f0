"""forecast: laws of what is said, whatever the series do."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from forecast.conformal import Calibrator
from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.fallback import fallback_profile
from forecast.history import LARGEST_VALUE, reringed
from forecast.mixture import HALF_LIFE_WINDOWS, Mixture
from forecast.profile import BOUNDS, EXPERT_LEVELS, LEVELS, Profile
from forecast.settings import ForecastSettings
from forecast.stretch import LEAST
from forecast.target import Target

Floats = NDArray[np.float64]

SETTINGS = ForecastSettings(horizon_steps=3, history_steps=16, min_points=8)

demands = st.one_of(
    st.floats(min_value=0, max_value=100),
    st.sampled_from([0.0, 1.0, 1e-9, 1e11, LARGEST_VALUE, np.nan]),
)
anything = st.one_of(demands, st.floats(allow_nan=True, allow_infinity=True))


def tables(values: st.SearchStrategy[float]) -> st.SearchStrategy[Floats]:
    """Up to 20 steps of one to four series."""
    shapes = st.tuples(st.integers(1, 20), st.integers(1, 4))
    return hnp.arrays(np.float64, shapes, elements=values, fill=values)


def forecast(table: Floats) -> list[Profile]:
    core = ForecastCore(table.shape[1], SETTINGS, MODELS)
    made = []
    for step, row in enumerate(table):
        made.append(core.observe(step, row))
        core.refit(core.due())
    return made


def assert_sound(profile: Profile, is_known: NDArray[np.bool_]) -> None:
    """A profile is finite, rising and not negative where anything is known, NaN elsewhere."""
    grid = profile.grid[:, is_known]
    assert np.isfinite(grid).all()
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (grid >= 0).all()
    for columns in (profile.expected, profile.maximum):
        assert np.isfinite(columns[..., is_known]).all()
        assert (columns[..., is_known] >= 0).all()
        assert np.isnan(columns[..., ~is_known]).all()
    for axis in (0, 1):
        assert (np.diff(profile.maximum[..., is_known], axis=axis) >= 0).all()
    assert np.isnan(profile.grid[:, ~is_known]).all()


SINGLE = 1e-5  # of numbers of single precision, after many steps


def assert_equal(one: Profile, other: Profile, *, rounding: float = 0.0) -> None:
    for name in ("grid", "expected", "maximum", "source"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rounding)


def taken(profile: Profile, series: NDArray[np.int64]) -> Profile:
    return Profile(
        step=profile.step,
        levels=profile.levels,
        grid=profile.grid[:, series],
        expected=profile.expected[series],
        maximum=profile.maximum[..., series],
        source=profile.source[series],
    )


@given(tables(anything))
def test_every_profile_is_monotone_finite_and_not_negative(table: Floats) -> None:
    is_demand = (table >= 0) & (table <= LARGEST_VALUE)
    for step, profile in enumerate(forecast(table)):
        assert_sound(profile, np.logical_or.reduce(is_demand[: step + 1]))


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-10, 10)),
    st.lists(st.tuples(st.integers(0, len(EXPERT_LEVELS)), st.integers(1, 30)), max_size=5),
)
def test_quantiles_never_cross_however_often_some_levels_miss(
    scores: Floats, misses: list[tuple[int, int]]
) -> None:
    calibrator, spread = Calibrator(1, EXPERT_LEVELS, 20), np.ones(1)
    for score in scores:
        calibrator.enter(np.array([score]))
    for missing_levels, times in misses:
        bounds = np.where(np.arange(len(EXPERT_LEVELS)) < missing_levels, 0.0, 2.0)[:, None]
        for _ in range(times):
            calibrator.adapt(np.ones(1), bounds)
    assert (np.diff(calibrator.quantiles(spread, 0 * spread), axis=0) >= 0).all()


@given(tables(demands))
def test_bounds_are_no_nearer_than_half_of_what_the_next_steps_quantiles_are(table: Floats) -> None:
    """A maximum is no lower than its first step; what holds too often is drawn in, not below."""
    settings = replace(SETTINGS, horizon_steps=6)  # the nearest horizon is two steps
    core = ForecastCore(table.shape[1], settings, MODELS)
    for step, row in enumerate(table):
        profile = core.observe(step, row)
        core.refit(core.due())
        quantiles = profile.grid[np.searchsorted(LEVELS, BOUNDS)]
        center = np.minimum(profile.expected, quantiles[0])
        least = center + LEAST * (quantiles - center)
        is_known = ~np.isnan(least)
        assert (profile.maximum[0] >= least * (1 - 1e-6))[is_known].all()


@given(tables(demands), st.data())
def test_no_series_changes_what_another_is_given_by(table: Floats, data: st.DataObject) -> None:
    """As long as there is no sample of the errors of all (forecast/experts/pooled.py).

    Bounds on maxima, which people read, follow weights that all series learn together.
    """
    victim = data.draw(st.integers(0, table.shape[1] - 1))
    others = np.delete(np.arange(table.shape[1]), victim)
    changed = table.copy()
    changed[:, victim] = data.draw(hnp.arrays(np.float64, len(table), elements=anything))
    for before, after in zip(forecast(table), forecast(changed), strict=True):
        one, other = taken(before, others), taken(after, others)
        assert_equal(one, replace(other, maximum=one.maximum))


@given(tables(demands), st.data())
def test_the_order_of_series_decides_nothing(table: Floats, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(table.shape[1]))), dtype=np.int64)
    for one, other in zip(forecast(table), forecast(table[:, order]), strict=True):
        assert_equal(taken(one, order), other)


@given(tables(demands))
def test_the_same_values_give_the_same_forecast(table: Floats) -> None:
    for one, other in zip(forecast(table), forecast(table.copy()), strict=True):
        assert_equal(one, other)


@given(tables(demands), st.data())
def test_a_past_that_was_learned_forecasts_as_one_that_was_lived_through(
    table: Floats, data: st.DataObject
) -> None:
    """A forecaster that begins on recorded steps is as good as one that has run all along."""
    learned = data.draw(st.integers(0, len(table)))
    told, lived = (ForecastCore(table.shape[1], SETTINGS, MODELS) for _ in range(2))
    for step, row in enumerate(table):
        made = lived.observe(step, row)
        if step < learned:
            told.learn(row)
        else:
            assert_equal(told.observe(step, row), made)


@given(tables(demands), st.data())
def test_series_in_another_order_go_on_as_if_nothing_had_happened(
    table: Floats, data: st.DataObject
) -> None:
    """But for rounding: what series learn together is summed in another order."""
    before, after = table[: len(table) // 2], table[len(table) // 2 :]
    order = np.array(data.draw(st.permutations(range(table.shape[1]))), dtype=np.int64)
    core, twin = (ForecastCore(table.shape[1], SETTINGS, MODELS) for _ in range(2))
    for one in (core, twin):
        for step, row in enumerate(before):
            one.observe(step, row)
            one.refit(one.due())
    core.rearrange(order)
    for step, row in enumerate(after):
        made, whole = core.observe(step, row[order]), twin.observe(step, row)
        assert_equal(made, taken(whole, order), rounding=SINGLE)
        core.refit(core.due())
        twin.refit(twin.due())


@given(tables(demands), st.integers(0, 3))
def test_newcomers_are_told_of_as_if_they_were_alone_where_nobody_has_learned_anything(
    table: Floats, gone: int
) -> None:
    """Later they share what all learn together."""
    core = ForecastCore(table.shape[1], SETTINGS, MODELS)
    kept = np.arange(table.shape[1])[: max(table.shape[1] - gone, 1)]
    core.rearrange(np.append(kept, -1))
    newcomer = np.full(len(table), 3.0)
    fresh = forecast(newcomer[:, None])
    for step, row in enumerate(table):
        made = core.observe(step, np.append(row[kept], newcomer[step]))
        core.refit(core.due())
        if step < SETTINGS.min_points:
            assert_equal(taken(made, np.array([len(kept)])), fresh[step], rounding=SINGLE)
        assert_sound(made, np.isfinite(made.expected))


@settings(max_examples=300)
@given(tables(demands))
def test_the_fallback_is_monotone_finite_and_not_negative(table: Floats) -> None:
    profile = fallback_profile(table, step=len(table))
    assert_sound(profile, np.logical_or.reduce(np.isfinite(table[-24:])))


@given(tables(demands), st.data())
def test_the_fallback_knows_each_series_alone(table: Floats, data: st.DataObject) -> None:
    chosen = np.array([data.draw(st.integers(0, table.shape[1] - 1))])
    whole, alone = (fallback_profile(of, step=1) for of in (table, table[:, chosen]))
    assert_equal(taken(whole, chosen), alone)


@given(
    st.integers(1, 1000),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0.5, 0.95, 0.999)),
    st.sampled_from((0.0, 1.0, 3.0)),
)
def test_the_mixture_loses_little_more_than_the_best_expert(
    steps: int, seed: int, level: float, decades: float
) -> None:
    """The bound of forecast/mixture.py, discounted, of series whose scale leaps by decades."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-decades, decades, (steps, 1))
    experts = random.gamma(1.0, 1.0, (steps, 3)) * scale
    best = np.repeat(random.integers(3, size=steps // 100 + 1), 100)[:steps]
    values = np.where(random.random(steps) < random.random(), experts.T[best, range(steps)], 0.0)
    kept = 0.5 ** (1.0 / max(HALF_LIFE_WINDOWS, 3.0 / (1.0 - level)))
    mixture = Mixture(3, 1, Target(1, np.array([level])))
    lost, squares, potential = np.zeros(4), np.zeros(3), 0.0
    for step, (value, said) in enumerate(zip(values, experts, strict=True)):
        grids = [np.full((1, 1), one, dtype=np.float32) for one in said]
        mixed = mixture.mixed(step, grids)[0, 0]
        mixture.settle(step + 1, np.array([value], dtype=np.float32))
        above = value - np.append(said, mixed)
        lost = kept * lost + np.maximum(level * above, (level - 1) * above)
        slope = -level if above[3] > 0 else 1 - level
        saved, before = np.square(slope * (mixed - said)), kept * squares
        is_rise = (saved > before).any()
        potential = kept * potential + (3.0 if is_rise else float((saved / before).sum()))
        squares = before + saved
    assert (lost[3] - lost[:3] <= 1.001 * np.sqrt(squares * potential) + 1e-4 * lost[3]).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_rings_of_another_length_keep_the_newest_in_their_order(
    before: int, after: int, most: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    past = [list(range(count)) for count in chance.integers(0, most + 1, 4)]
    ring = np.full((4, before), np.nan, dtype=np.float32)
    for series, values in enumerate(past):
        for place, value in enumerate(values):
            ring[series, place % before] = value
    entered = np.array([len(values) for values in past])
    positions = np.array([2, -1, 0])
    rings, taken = reringed(ring, entered, positions, after, np.nan)
    for row, count, position in zip(rings, taken, positions, strict=True):
        kept = past[position][-min(before, after) :] if position >= 0 else []
        held = min(int(count), after)
        assert [row[place % after] for place in range(count - held, count)] == kept
        assert np.isnan(row).sum() == after - len(kept)
