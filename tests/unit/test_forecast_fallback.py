"""forecast.fallback: the rule that stands in where no model does."""

import numpy as np
import pytest

from forecast.fallback import fallback_profile
from forecast.profile import LEVELS, Source

MEDIAN, P95 = LEVELS.tolist().index(0.5), LEVELS.tolist().index(0.95)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


def test_one_point_gives_a_spread_around_it() -> None:
    profile = fallback_profile(column(2.0), step=1)
    assert profile.expected[0] == 2.0
    assert profile.grid[0, 0] < profile.grid[MEDIAN, 0] == 2.0 < profile.grid[-1, 0]
    assert profile.upper[0] == pytest.approx(2.2)
    assert profile.source[0] == Source.LEARNING


@pytest.mark.parametrize("history", [np.empty((0, 3)), np.full((5, 3), np.nan)])
def test_no_point_at_all_is_unknown(history: np.ndarray) -> None:
    profile = fallback_profile(history, step=0)
    assert profile.grid.shape == (len(LEVELS), 3)
    assert np.isnan(profile.grid).all()
    assert np.isnan(profile.expected).all()
    assert np.isnan(profile.upper).all()
    assert (profile.source == Source.LEARNING).all()


def test_a_flat_series_keeps_a_prior() -> None:
    profile = fallback_profile(np.full((30, 1), 4.0), step=30)
    assert profile.grid[MEDIAN, 0] == 4.0
    assert 4.0 < profile.grid[-1, 0] <= profile.upper[0] == pytest.approx(4.4)
    assert profile.source[0] == Source.FALLBACK


def test_a_spike_stays_in_the_bound_while_it_is_recent() -> None:
    spiky = np.full(30, 0.1)
    spiky[-20] = 3.0
    assert fallback_profile(spiky[:, None], step=30).upper[0] == pytest.approx(3.3)
    spiky = np.append(spiky, np.full(10, 0.1))
    assert fallback_profile(spiky[:, None], step=40).upper[0] == pytest.approx(0.11)


def test_a_gap_does_not_hide_what_came_before_it() -> None:
    profile = fallback_profile(column(1.0, 3.0, np.nan, np.nan), step=4)
    assert profile.expected[0] == 3.0
    assert profile.upper[0] == pytest.approx(3.3)
    assert profile.grid[P95, 0] >= 3.0


def test_enough_points_are_no_longer_learning() -> None:
    history = np.ones((12, 2))
    history[0, 1] = np.nan
    source = fallback_profile(history, step=12, min_points=12).source
    assert source.tolist() == [Source.FALLBACK, Source.LEARNING]


def test_a_series_has_the_same_rule_however_many_others_there_are() -> None:
    """They are worked on some thousand at a time."""
    history = np.random.default_rng(1).gamma(1.0, 1.0, (24, 9_000))
    history[:10, ::7] = np.nan
    whole = fallback_profile(history, step=0)
    for series in (0, 4_095, 4_096, 8_191, 8_192, 8_999):
        alone = fallback_profile(history[:, [series]], step=0)
        np.testing.assert_array_equal(whole.grid[:, [series]], alone.grid)
        np.testing.assert_array_equal(whole.maximum[..., [series]], alone.maximum)
        assert (whole.expected[series], whole.source[series]) == (alone.expected, alone.source)
