"""forecast.mixture: which expert is believed, how soon, and what a gap changes."""

import numpy as np
import pytest

from forecast.history import Singles
from forecast.mixture import Mixture
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.scores import pinball
from forecast.target import Target

NEXT = Target(1, EXPERT_LEVELS)
MEDIAN = EXPERT_LEVELS.tolist().index(0.5)


def constant(value: float, series: int = 1) -> Singles:
    """An expert's grid that says one value at every level."""
    return np.full((len(EXPERT_LEVELS), series), value, dtype=np.float32)


def mixed_over(values: np.ndarray, *experts: float, target: Target = NEXT) -> list[Singles]:
    """Return what is mixed of constant experts before each of `values` (steps,)."""
    mixture, found = Mixture(len(experts), 1, target), []
    for step, value in enumerate(values.astype(np.float32)):
        found.append(mixture.mixed(step, [constant(one)[: len(target.levels)] for one in experts]))
        if target.closes(step + 1):
            mixture.settle(step + 1, np.array([value]))
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
    mixture = Mixture(2, 2, NEXT)
    first, second = constant(1.0, 2), constant(3.0, 2)
    second[:, 1] = np.nan
    mixed = mixture.mixed(0, [first, second])
    assert mixed[MEDIAN].tolist() == [2.0, 1.0]
    first[:, 1] = np.nan
    assert np.isnan(mixture.mixed(0, [first, second])[:, 1]).all()


def test_a_gap_changes_nobodys_weight() -> None:
    mixture = Mixture(2, 1, NEXT)
    for step, value in enumerate((1.0, 1.0, 2.0, 1.0)):
        mixture.mixed(step, [constant(1.0), constant(2.0)])
        mixture.settle(step + 1, np.array([value], dtype=np.float32))
    before = mixture.mixed(4, [constant(1.0), constant(2.0)])
    for step in range(5, 505):
        mixture.settle(step, np.array([np.nan], dtype=np.float32))
    after = mixture.mixed(505, [constant(1.0), constant(2.0)])
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_bad_expert_does_not_delay_the_choice_among_the_good() -> None:
    """Each expert learns at its own pace: the worst does not set everybody's."""
    values = np.full(60, 2.0)
    found = mixed_over(values, 1.9, 2.0)[-1][MEDIAN, 0]
    beside = mixed_over(values, 1.9, 2.0, 1000.0)[-1][MEDIAN, 0]
    assert abs(beside - 2.0) < 0.05
    assert abs(found - 2.0) < 0.05


def test_an_average_of_two_is_found_where_it_is_better_than_either() -> None:
    mixture, values = Mixture(2, 1, NEXT), np.random.default_rng(3).normal(5.0, 0.1, 800)
    lost = {"mixture": 0.0, "low": 0.0, "high": 0.0}
    for step, value in enumerate(values):
        mixed = mixture.mixed(step, [constant(4.0), constant(6.0)])
        lost["mixture"] += abs(float(mixed[MEDIAN, 0]) - value)
        lost["low"], lost["high"] = lost["low"] + abs(4 - value), lost["high"] + abs(6 - value)
        mixture.settle(step + 1, np.array([value], dtype=np.float32))
    assert lost["mixture"] < 0.3 * min(lost["low"], lost["high"])


def test_what_is_said_of_a_window_is_judged_when_it_closes() -> None:
    """A window over four steps, of which each second opens one."""
    found = mixed_over(np.full(400, 2.0), 1.0, 2.0, target=Target(4, BOUNDS, 2))
    assert found[3][0, 0] == pytest.approx(1.5)  # none has closed yet that was opened
    assert found[-1][0, 0] == pytest.approx(2.0, abs=0.05)


def test_an_expert_that_comes_later_is_believed_once_it_would_have_been_better() -> None:
    mixture = Mixture(1, 1, NEXT)
    for step in range(50):
        mixture.mixed(step, [constant(1.0)])
        mixture.settle(step + 1, np.full(1, 2.0, dtype=np.float32))
    mixture.rearrange(np.array([0]), [0, -1])
    for step in range(50, 200):
        mixture.mixed(step, [constant(1.0), constant(2.0)])
        mixture.settle(step + 1, np.full(1, 2.0, dtype=np.float32))
    mixed = mixture.mixed(200, [constant(1.0), constant(2.0)])
    assert mixed[MEDIAN, 0] == pytest.approx(2.0, abs=0.05)


def test_losses_are_those_of_what_was_said_and_of_what_was_mixed() -> None:
    mixture, came = Mixture(2, 2, NEXT), np.array([3.0, np.nan], dtype=np.float32)
    first, second = constant(2.0, 2), constant(6.0, 2)
    mixed = mixture.mixed(0, [first, second])
    losses = mixture.losses(1, came)
    levels = EXPERT_LEVELS[:, None].astype(np.float32)
    expected = [pinball(came - grid, levels).mean(axis=0) for grid in (first, second, mixed)]
    np.testing.assert_allclose([*losses.each, losses.mixed], expected, rtol=1e-6)
    assert np.isnan(losses.mixed[1])


def test_shares_are_what_was_mixed_with_in_percent() -> None:
    mixture = Mixture(2, 2, NEXT)
    first, second = constant(1.0, 2), constant(3.0, 2)
    second[:, 1] = np.nan
    mixture.mixed(0, [first, second])
    assert mixture.shares.tolist() == [[50, 100], [50, 0]]


def test_the_largest_values_leave_weights_that_can_be_learned() -> None:
    mixture = Mixture(2, 1, NEXT)
    for step in range(400):
        mixture.mixed(step, [constant(0.0), constant(3e18)])
        mixture.settle(step + 1, np.full(1, 1e18, dtype=np.float32))
    for step in range(400, 2400):
        mixture.mixed(step, [constant(0.0), constant(2.0)])
        mixture.settle(step + 1, np.full(1, 2.0, dtype=np.float32))
    assert np.isfinite(mixture.mixed(2400, [constant(0.0), constant(2.0)])).all()
    assert np.isfinite(mixture._squares).all()
