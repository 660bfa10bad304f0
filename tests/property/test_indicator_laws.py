"""Laws of corrections by metrics, whatever is demanded and whatever is reported."""

from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from leads import led
from numpy.typing import NDArray

from forecast.fallback import fallback_profile
from forecast.history import cleaned
from forecast.indicators import LEAST_LEFT, MOST_RAISED, Indicators
from forecast.profile import LEVELS, Profile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 70
HOSTILE = [0.0, -1.0, 1e-300, 1e15, -1e15, 1e16, 1e300, np.inf, -np.inf, np.nan]
IS_LOW = (LEVELS <= 0.5)[:, None]


@dataclass(frozen=True)
class Story:
    """Demand (steps, series), metrics (steps, pairs), and whose each pair is."""

    demand: Floats
    metrics: Floats
    series: Ints

    def profiles(self) -> list[Profile]:
        """Return what the rule forecasts after each step."""
        demand = cleaned(self.demand)
        return [
            fallback_profile(demand[max(at - 23, 0) : at + 1], step=at + 1)
            for at in range(len(self.demand))
        ]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Series that metrics lead for a while, until both are as odd as can be."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    n_series, n_pairs = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    lengths = rng.uniform(0.0, 60.0, (STEPS, n_series))
    demand = led(lengths, draw(st.integers(1, 4)), seed=draw(st.integers(0, 9)))
    demand *= draw(st.sampled_from([1e-6, 1.0, 1e11]))
    places = [draw(st.integers(0, n_series - 1)) for _ in range(n_pairs)]
    series = np.array(sorted(places), dtype=np.int64)
    metrics = lengths[:, series] + draw(st.sampled_from([0.0, 5.0])) * rng.random((STEPS, n_pairs))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, STEPS - 1))
        if n_pairs:
            metrics[at:, draw(st.integers(0, n_pairs - 1))] = draw(st.sampled_from(HOSTILE))
    for _ in range(draw(st.integers(0, 3))):
        odd = draw(st.sampled_from([0.0, np.nan, 1e18, np.inf, -1.0]))
        demand[draw(st.integers(0, STEPS - 1)), draw(st.integers(0, n_series - 1))] = odd
    return Story(demand, metrics, series)


def adjusted(story: Story, known: Indicators | None = None, since: int = 0) -> list[Profile]:
    known = known or Indicators(len(story.series))
    made = []
    for at, profile in list(enumerate(story.profiles()))[since:]:
        known.settle(story.demand[at, story.series])
        known.enter(story.metrics[at])
        made.append(known.adjusted(profile, story.series))
    return made


def assert_equal(one: Profile, other: Profile) -> None:
    for name in ("grid", "expected", "maximum", "source"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@given(stories())
def test_without_a_metric_that_is_used_the_forecast_is_the_same_bit_for_bit(story: Story) -> None:
    known = Indicators(len(story.series))
    for at, profile in enumerate(story.profiles()):
        known.settle(story.demand[at, story.series])
        known.enter(story.metrics[at])
        made = known.adjusted(profile, story.series)
        chosen = story.series[known.chosen(story.series)]
        assert (made is profile) == (len(chosen) == 0)
        others = np.setdiff1d(np.arange(story.demand.shape[1]), chosen)
        np.testing.assert_array_equal(made.grid[:, others], profile.grid[:, others])
        np.testing.assert_array_equal(made.maximum[..., others], profile.maximum[..., others])


@given(stories())
def test_a_corrected_forecast_is_sound_and_within_its_bounds(story: Story) -> None:
    demand = np.nan_to_num(cleaned(story.demand), nan=0.0)
    for at, (made, base) in enumerate(zip(adjusted(story), story.profiles(), strict=True)):
        assert not (np.diff(made.grid, axis=0) < 0).any()
        assert not (np.diff(made.maximum, axis=0) < 0).any()
        assert not (np.diff(made.maximum, axis=1) < 0).any()
        np.testing.assert_array_equal(np.isnan(made.grid), np.isnan(base.grid))
        most = np.maximum(base.grid, MOST_RAISED * demand[: at + 1].max(axis=0))
        least = np.where(IS_LOW, LEAST_LEFT * base.grid, base.grid)
        assert not (made.grid > most).any()
        assert not (made.grid < least).any()
        assert not (made.maximum < base.maximum).any()
        assert not (made.expected < LEAST_LEFT * base.expected).any()
        assert not (made.expected > np.maximum(base.expected, most[-1])).any()


@given(stories())
def test_the_same_reports_make_the_same_forecast(story: Story) -> None:
    for one, other in zip(adjusted(story), adjusted(story), strict=True):
        assert_equal(one, other)


@given(stories(), st.randoms(use_true_random=False))
def test_a_series_place_among_the_others_decides_nothing(story: Story, random: Random) -> None:
    order = list(range(story.demand.shape[1]))
    random.shuffle(order)
    place = np.argsort(order)  # of each old series among the new
    pairs = np.argsort(place[story.series], kind="stable")
    other = Story(
        story.demand[:, order], story.metrics[:, pairs], place[story.series][pairs].astype(np.int64)
    )
    for one, moved in zip(adjusted(story), adjusted(other), strict=True):
        np.testing.assert_array_equal(one.grid[:, order], moved.grid)
        np.testing.assert_array_equal(one.expected[order], moved.expected)


@given(stories(), st.integers(1, STEPS - 1), st.booleans())
def test_a_new_order_of_pairs_forgets_nothing(story: Story, at: int, is_joined: bool) -> None:
    known = Indicators(len(story.series))
    head = Story(story.demand[:at], story.metrics[:at], story.series)
    adjusted(head, known)
    order = np.argsort(-story.series, kind="stable").astype(np.int64)  # metrics in their order
    known.rearrange(np.append(order, -1) if is_joined else order)  # perhaps with a newcomer
    series = np.append(story.series[order], 0) if is_joined else story.series[order]
    nothing = np.full((STEPS, int(is_joined)), np.nan)
    metrics = np.concatenate((story.metrics[:, order], nothing), axis=1)
    made = adjusted(Story(story.demand, metrics, series), known, since=at)
    for one, other in zip(made, adjusted(story)[at:], strict=True):
        assert_equal(one, other)
