"""Laws of the most that a series has needed: it is remembered, ever less, whatever else comes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.most import Most
from forecast.settings import ForecastSettings

STEP_S, HALF_LIFE_S = 3600.0, 4 * 86400.0
amounts = st.one_of(st.just(np.nan), st.floats(0.0, 1e6, width=32))


def most_after(values: list[float]) -> float:
    most = Most(1, STEP_S)
    for value in values:
        most.settle(np.array([value], dtype=np.float32))
    return float(most.values[0])


@given(st.lists(amounts, min_size=1, max_size=60))
def test_it_is_the_largest_of_what_came_each_halved_every_four_days(values: list[float]) -> None:
    ages_s = STEP_S * np.arange(len(values))[::-1]
    wanted = np.fmax.reduce(np.array(values) * 0.5 ** (ages_s / HALF_LIFE_S))
    np.testing.assert_allclose(most_after(values), wanted, rtol=1e-4)


@settings(max_examples=10)  # of ten steps and more each
@given(st.lists(st.floats(0.0, 100.0, width=32), min_size=10, max_size=20), st.integers(0, 9))
def test_a_profile_ends_at_what_was_needed_once_and_never_below_its_quantiles(
    values: list[float], at: int
) -> None:
    values[at] = 1000.0
    core = ForecastCore(1, ForecastSettings(step_s=STEP_S, horizon_steps=3), MODELS)
    profiles = [core.observe(step, np.array([value])) for step, value in enumerate(values)]
    assert profiles[-1].levels[-1] == 1.0
    end = profiles[-1].grid[-1, 0]
    assert end >= profiles[-1].grid[:-1, 0].max()
    assert end >= most_after(values) * (1 - 1e-6) >= 800.0
    moved = profiles[-1].grid[-1, 0]
    core.rearrange(np.array([-1, 0]))
    after = core.observe(len(values), np.array([0.0, 0.0]))
    assert after.grid[-1, 1] >= 0.98 * min(moved, most_after(values))
    assert after.grid[-1, 0] < 1.0
