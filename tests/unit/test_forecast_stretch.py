"""forecast.stretch: bounds that hold too often are drawn in, others out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.history import Singles
from forecast.profile import BOUNDS
from forecast.stretch import Stretch
from forecast.target import Target

NEXT = Target(1, BOUNDS)
NORMAL = np.array([[0.8416], [1.6449], [2.3263]], dtype=np.float32)  # quantiles at BOUNDS


def held_over(outcomes: np.ndarray, bounds: Singles) -> np.ndarray:
    """Return which bounds around 0 held (steps, levels, series), drawn as they were by then."""
    stretch, center = Stretch(outcomes.shape[1], NEXT), np.zeros(outcomes.shape[1])
    held = []
    for step, row in enumerate(outcomes.astype(np.float32)):
        held.append(row + 10 <= stretch.applied(step, center.astype(np.float32) + 10, bounds + 10))
        stretch.settle(step + 1, row + 10)
    return np.stack(held)


@pytest.mark.parametrize("too_wide_by", [0.6, 1.0, 1.6])
def test_bounds_come_to_hold_as_often_as_they_say(too_wide_by: float) -> None:
    outcomes = np.random.default_rng(5).normal(size=(24_000, 4))
    bounds = np.repeat(too_wide_by * NORMAL, 4, axis=1)
    held = held_over(outcomes, bounds)[12_000:]
    np.testing.assert_allclose(held.mean(axis=(0, 2)), BOUNDS, atol=0.01)


def test_a_bound_below_its_center_is_not_drawn_down_by_what_it_misses() -> None:
    """After a fall the level is still high, and what has followed the fall holds too seldom."""
    stretch = Stretch(1, NEXT)
    center, bounds = np.full(1, 10.0, dtype=np.float32), np.full((3, 1), 4.0, dtype=np.float32)
    for step in range(300):
        drawn = stretch.applied(step, center, bounds)
        assert (drawn >= 4.0).all()
        stretch.settle(step + 1, np.full(1, 4.5, dtype=np.float32))


def test_a_bound_at_its_center_stays_there() -> None:
    outcomes = np.zeros((500, 1))
    stretch = Stretch(1, NEXT)
    center, bounds = np.full(1, 3.0, dtype=np.float32), np.full((3, 1), 3.0, dtype=np.float32)
    for step in range(len(outcomes)):
        np.testing.assert_array_equal(stretch.applied(step, center, bounds), bounds)
        stretch.settle(step + 1, center)


@given(
    st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=60),
    st.lists(st.floats(0, 10), min_size=3, max_size=3).map(sorted),
)
def test_bounds_keep_their_order_and_are_never_negative(
    outcomes: list[tuple[float, bool]], bounds: list[float]
) -> None:
    stretch, given_bounds = Stretch(1, NEXT), np.array(bounds, dtype=np.float32)[:, None]
    for step, (outcome, is_gap) in enumerate(outcomes):
        drawn = stretch.applied(step, np.full(1, 5.0, dtype=np.float32), given_bounds)
        assert (np.diff(drawn, axis=0) >= 0).all()
        assert (drawn >= 0).all()
        came = np.array([np.nan if is_gap else outcome], dtype=np.float32)
        stretch.settle(step + 1, came)
