"""forecast.experts.analogues: what followed the moments of the past that were most like now."""

import numpy as np
import pytest

from forecast.expert import Outlook
from forecast.experts.analogues import Analogues
from forecast.history import History
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.target import Target

ZERO = np.zeros(1)
NOTHING = Outlook(ZERO, ZERO, ZERO, ZERO, History(1, 1))
NEXT = (Target(1, EXPERT_LEVELS),)
MEDIAN, HIGH, HIGHER, RARE = (
    EXPERT_LEVELS.tolist().index(level) for level in (0.5, 0.95, 0.99, 0.999)
)


def expected_after(values: np.ndarray, depth: int = 2016) -> np.ndarray:
    """Return the quantiles (levels, series) of what follows `values` (steps, series)."""
    expert = Analogues(values.shape[1], NEXT, depth)
    for row in values.astype(np.float32):
        expert.settle(0, row, [None])
    return expert.expect(0, NOTHING)[0]


def slow_quantile(column: np.ndarray, level: float, neighbours: int) -> float:
    """The same by sorting, one series and one level at a time; rare ones are of all values."""
    recent = [column[max(0, t - 5) : t + 1] for t in range(len(column))]
    means = np.array([values.mean(dtype=np.float64) for values in recent], dtype=np.float32)
    distance = np.abs(column[:-1] - column[-1]) + np.abs(means[:-1] - means[-1])
    age_bits = 2**11 - 1  # of 2,016 steps
    as_like = (distance.view(np.uint32) & np.uint32(~age_bits & 0xFFFFFFFF))[::-1]
    followed = column[:0:-1][np.argsort(as_like, kind="stable")[:neighbours]]
    if level > EXPERT_LEVELS[HIGHER]:
        followed = column
    place = np.clip(level * (len(followed) + 1) - 1, 0, len(followed) - 1)
    return float(np.interp(place, np.arange(len(followed)), np.sort(followed)))


@pytest.mark.parametrize("steps", [40, 200, 900])
def test_quantiles_are_of_what_followed_the_moments_most_like_now(steps: int) -> None:
    values = np.random.default_rng(2).gamma(2.0, 1.0, (steps, 3)).astype(np.float32)
    found = expected_after(values)
    for series in range(3):
        column = values[:, series]
        for row, neighbours in ((MEDIAN, 48), (HIGH, 48), (HIGHER, 300), (RARE, 0)):
            slow = slow_quantile(column, EXPERT_LEVELS[row], neighbours)
            assert found[row, series] == pytest.approx(slow, rel=1e-4)


def test_what_always_comes_after_a_value_is_expected_after_it() -> None:
    cycle = np.tile([1.0, 2.0, 7.0, 3.0], 100)
    found = expected_after(np.stack((cycle, np.roll(cycle, 1)), axis=1))
    assert found[MEDIAN].tolist() == pytest.approx([1.0, 3.0])
    assert found[HIGH].tolist() == pytest.approx([1.0, 3.0])


def test_a_jump_seen_once_in_a_hundred_calm_moments_stays_in_the_tail() -> None:
    values = np.full((1000, 1), 0.1)
    values[50::100] = 8.0
    values[-1] = 0.1
    found = expected_after(values)[:, 0]
    assert found[HIGH] == pytest.approx(0.1)
    assert found[RARE] == pytest.approx(8.0)


def test_nothing_is_told_of_a_short_past() -> None:
    values = np.ones((60, 2))
    values[:40, 0] = np.nan
    found = expected_after(values)
    assert np.isnan(found[:, 0]).all()
    assert (found[:, 1] == 1.0).all()


def test_what_lies_on_either_side_of_a_gap_is_no_pair() -> None:
    """1 is followed by 5, and 5 by nothing known: what follows it is not 1."""
    values = np.tile([[1.0], [5.0], [np.nan]], (40, 1))
    assert (expected_after(values[:-1]) == 5.0).all()


def test_in_a_gap_stands_what_was_expected_before_it() -> None:
    values = np.random.default_rng(3).gamma(2.0, 1.0, (100, 1)).astype(np.float32)
    expert = Analogues(1, NEXT, 2016)
    for row in values:
        expert.settle(0, row, [None])
    before = expert.expect(0, NOTHING)[0]
    expert.settle(0, np.array([np.nan], dtype=np.float32), [None])
    np.testing.assert_array_equal(expert.expect(0, NOTHING)[0], before)


def test_the_past_beyond_the_depth_is_forgotten() -> None:
    values = np.random.default_rng(4).gamma(2.0, 1.0, (300, 1))
    np.testing.assert_array_equal(expected_after(values, 100), expected_after(values[-100:], 100))


def test_the_maximum_that_followed_is_told_too() -> None:
    """After 1 always comes 2, 7 and 3: within one step 2, within two 7."""
    cycle = np.tile([1.0, 2.0, 7.0, 3.0], 100)[:-3]
    targets = (*NEXT, Target(1, BOUNDS), Target(2, BOUNDS), Target(3, BOUNDS))
    expert = Analogues(1, targets, 2016)
    for value in cycle.astype(np.float32):
        expert.settle(0, np.array([value]), [None] * 4)
    grids = expert.expect(0, NOTHING)
    assert [grid[0, 0] for grid in grids] == pytest.approx([2.0, 2.0, 7.0, 7.0])
    assert [grid.shape for grid in grids] == [(17, 1), (3, 1), (3, 1), (3, 1)]


def test_a_maximum_that_is_not_complete_is_no_pair() -> None:
    """The last steps are like now, but what followed them for long is not known yet."""
    values = np.concatenate((np.full(60, 1.0), np.linspace(1.0, 1.2, 30)))
    expert = Analogues(1, (Target(1, EXPERT_LEVELS), Target(15, BOUNDS)), 2016)
    for value in values.astype(np.float32):
        expert.settle(0, np.array([value]), [None] * 2)
    near, far = expert.expect(0, NOTHING)
    assert np.isfinite(near).all()
    assert np.isfinite(far).all()
    assert far[-1, 0] <= 1.2
