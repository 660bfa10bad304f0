"""forecast.conformal: bounds hold as often as they say."""

import numpy as np
import pytest

from forecast.conformal import Calibrator
from forecast.profile import EXPERT_LEVELS

RNG = np.random.default_rng(11)
NONE = np.zeros(1)


def coverage(scores: np.ndarray, levels: np.ndarray, score_steps: int = 144) -> np.ndarray:
    """Share of scores (steps, series) within their bounds in the second half, per level."""
    calibrator = Calibrator(scores.shape[1], levels, score_steps)
    spread = np.zeros(scores.shape[1])
    covered = []
    for row in scores:
        bounds = calibrator.quantiles(spread, spread)
        covered.append(row <= bounds)
        calibrator.enter(row)
        calibrator.adapt(row, bounds)
    return np.asarray(np.mean(covered[len(covered) // 2 :], axis=(0, 2)))


@pytest.mark.parametrize("law", ["normal", "exponential", "heavy"])
def test_bounds_cover_as_often_as_they_say_whatever_the_scores(law: str) -> None:
    size = (1500, 20)
    scores = {
        "normal": RNG.normal(size=size),
        "exponential": RNG.exponential(size=size),
        "heavy": RNG.standard_t(2, size=size),
    }[law]
    np.testing.assert_allclose(coverage(scores, EXPERT_LEVELS), EXPERT_LEVELS, atol=0.012)


@pytest.mark.parametrize("change", ["drifting", "swelling"])
def test_upper_bounds_keep_covering_while_scores_change(change: str) -> None:
    scores, upper = RNG.normal(size=(1500, 20)), EXPERT_LEVELS[EXPERT_LEVELS >= 0.5]
    along = np.linspace(0, 30, len(scores))[:, None]
    changed = scores + along if change == "drifting" else scores * (1 + along)
    np.testing.assert_allclose(coverage(changed, upper), upper, atol=0.012)


def test_adapting_is_what_keeps_coverage_when_the_ring_cannot() -> None:
    # Scores that outgrow any ring: without adapting, coverage of 95 % would be 79 %.
    growing = np.cumsum(np.abs(RNG.normal(size=(1500, 10))), axis=0) / 50 + RNG.normal(
        size=(1500, 10)
    )
    assert coverage(growing, np.array([0.95]))[0] == pytest.approx(0.95, abs=0.01)


def test_an_empty_ring_bounds_like_a_normal_distribution() -> None:
    bounds = Calibrator(1, np.array([0.05, 0.5, 0.95]), 20).quantiles(np.array([2.0]), NONE)
    np.testing.assert_allclose(bounds[:, 0], [-3.2897, 0, 3.2897], atol=1e-3)


def test_a_flat_ring_keeps_the_least_spread() -> None:
    calibrator = Calibrator(1, np.array([0.05, 0.5, 0.95]), 20)
    for _ in range(40):
        calibrator.enter(NONE)
    bounds = calibrator.quantiles(NONE, np.array([0.1]))
    np.testing.assert_allclose(bounds[:, 0], [-0.16449, 0, 0.16449], atol=1e-4)


def test_a_gap_enters_nothing_and_moves_nothing() -> None:
    calibrator, twin = Calibrator(1, EXPERT_LEVELS, 20), Calibrator(1, EXPERT_LEVELS, 20)
    for score in RNG.normal(size=30):
        for one in (calibrator, twin):
            one.enter(np.array([score]))
        bounds = twin.quantiles(NONE, NONE)
        twin.enter(np.array([np.nan]))
        twin.adapt(np.array([np.nan]), bounds)
        twin.adapt(np.array([score]), np.full_like(bounds, np.nan))
    assert calibrator.count[0] == twin.count[0] == 20
    np.testing.assert_array_equal(calibrator.quantiles(NONE, NONE), twin.quantiles(NONE, NONE))


def test_misses_beyond_the_ring_push_the_bound_further() -> None:
    calibrator = Calibrator(1, np.array([0.95]), 20)
    for score in np.linspace(0, 1, 20):
        calibrator.enter(np.array([score]))
    before = calibrator.quantiles(NONE, NONE)[0, 0]
    for _ in range(20):
        calibrator.adapt(np.array([9.0]), np.array([[1.0]]))
    assert calibrator.quantiles(NONE, NONE)[0, 0] > max(before, 1.0)
