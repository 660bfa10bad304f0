"""forecast.mixture: which expert is believed, how soon, and what a gap changes."""

import numpy as np
import pytest

from forecast.expert import Singles, affordable_steps
from forecast.mixture import Mixture
from forecast.profile import LEVELS

MEDIAN = LEVELS.tolist().index(0.5)


def constant(value: float, series: int = 1) -> Singles:
    """An expert's grid that says one value at every level."""
    return np.full((len(LEVELS), series), value, dtype=np.float32)


def mixed_over(values: np.ndarray, *experts: float) -> list[Singles]:
    """Return what is mixed of constant experts before each of `values` (steps,)."""
    mixture, found = Mixture(len(experts), 1), []
    for value in values.astype(np.float32):
        found.append(mixture.mixed([constant(one) for one in experts]))
        mixture.settle(np.array([value]))
    return found


def test_at_first_all_experts_are_believed_alike() -> None:
    assert mixed_over(np.ones(1), 1.0, 2.0, 6.0)[0][:, 0] == pytest.approx(3.0)


def test_the_expert_that_is_right_is_soon_believed() -> None:
    found = mixed_over(np.full(300, 2.0), 1.0, 2.0, 6.0)
    assert found[-1][MEDIAN, 0] == pytest.approx(2.0, abs=0.05)


def test_after_a_change_the_other_expert_is_believed_within_the_memory() -> None:
    values = np.concatenate((np.full(300, 1.0), np.full(300, 2.0)))
    found = mixed_over(values, 1.0, 2.0)
    assert found[299][MEDIAN, 0] < 1.05
    assert found[-1][MEDIAN, 0] > 1.95


def test_an_expert_that_cannot_tell_sleeps() -> None:
    mixture = Mixture(2, 2)
    first, second = constant(1.0, 2), constant(3.0, 2)
    second[:, 1] = np.nan
    mixed = mixture.mixed([first, second])
    assert mixed[MEDIAN].tolist() == [2.0, 1.0]
    first[:, 1] = np.nan
    assert np.isnan(mixture.mixed([first, second])[:, 1]).all()


def test_a_gap_changes_nobodys_weight() -> None:
    mixture = Mixture(2, 1)
    for value in (1.0, 1.0, 2.0, 1.0):
        mixture.mixed([constant(1.0), constant(2.0)])
        mixture.settle(np.array([value], dtype=np.float32))
    before = mixture.mixed([constant(1.0), constant(2.0)])
    for _ in range(500):
        mixture.settle(np.array([np.nan], dtype=np.float32))
    after = mixture.mixed([constant(1.0), constant(2.0)])
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize(("series", "steps"), [(0, 576), (100, 576), (50_000, 100)])
def test_with_very_many_series_each_has_a_shorter_past(series: int, steps: int) -> None:
    assert affordable_steps(576, series, 5_000_000) == steps
