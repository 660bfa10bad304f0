"""forecast.experts.pooled: one sample of the errors of series that are alike."""

import numpy as np

from forecast.expert import Outlook
from forecast.experts.pooled import Pooled
from forecast.history import Floats, History, Singles
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.target import Target

NEXT = Target(1, EXPERT_LEVELS)
RARE = EXPERT_LEVELS.tolist().index(0.99)


def outlook_of(level: Floats) -> Outlook:
    return Outlook(level, level, level, 0.0 * level, History(len(level), 1))


def told(errors: Floats, level: float = 10.0, pooled: Pooled | None = None) -> Singles:
    """Return what is told of the next step after `errors` (steps, series) of a level."""
    level_of = np.full(errors.shape[1], level)
    expert = pooled or Pooled(errors.shape[1], (NEXT,))
    grid = expert.expect(0, outlook_of(level_of))[0]
    for step, row in enumerate(errors, start=1):
        values = (level_of + row).astype(np.float32)
        expert.settle(step, values, [values])
        grid = expert.expect(step, outlook_of(level_of))[0]
    return grid


def normal_errors(shape: tuple[int, int], *scales: float) -> Floats:
    return np.random.default_rng(5).normal(0.0, scales, shape)


def test_quantiles_are_those_of_all_errors_times_the_own_mean_error() -> None:
    scales = np.where(np.arange(40) % 2, 1.0, 0.01)
    grid = told(normal_errors((300, 40), *scales))
    rare = (grid[RARE] - 10.0) / scales
    assert np.abs(rare / 2.326 - 1).max() < 0.25  # of the 99 % quantile of a normal distribution
    assert np.abs(rare.mean() / 2.326 - 1) < 0.05
    assert (np.diff(grid, axis=0) >= 0).all()


def test_a_newcomer_is_told_a_tail_that_it_has_not_seen() -> None:
    errors = normal_errors((200, 30), *np.ones(30))
    errors[:-10, 0] = np.nan
    grid = told(errors)
    assert grid[RARE, 0] - 10.0 > 1.5 * np.abs(errors[-10:, 0]).mean()
    assert np.isnan(told(errors[:-8])[:, 0]).all()  # not before it has a mean error of its own


def test_series_of_another_kind_are_not_in_the_sample() -> None:
    calm = normal_errors((400, 20), *np.ones(20))
    spiky = np.where(np.random.default_rng(6).random((400, 20)) < 0.02, 50.0, 0.1)
    alone, beside = told(calm), told(np.concatenate((calm, spiky), axis=1))
    # Until a series has shown its kind it may be among the others.
    assert np.abs(beside[RARE, :20] / alone[RARE] - 1).max() < 0.05
    assert (beside[RARE, 20:] > 15.0).all()


def test_nothing_is_told_before_there_is_a_sample() -> None:
    assert np.isnan(told(normal_errors((100, 1), 1.0))).all()
    assert np.isfinite(told(normal_errors((300, 1), 1.0))).all()


def test_whose_errors_they_are_decides_nothing() -> None:
    errors = normal_errors((250, 700), *np.ones(700))
    order = np.random.default_rng(7).permutation(700)
    np.testing.assert_array_equal(told(errors)[:, order], told(errors[:, order]))


def test_a_flat_series_and_a_gap_are_in_no_sample() -> None:
    errors = normal_errors((300, 3), 1.0, 1.0, 0.0)
    errors[::3, 1] = np.nan
    grid = told(errors)
    assert np.isnan(grid[:, 2]).all()
    assert np.isfinite(grid[:, :2]).all()


def test_who_wakes_up_after_long_idleness_is_told_no_absurd_error() -> None:
    errors = normal_errors((2010, 200), *np.ones(200))
    errors[20:2000] = 0.0  # its own mean error has all but vanished by then
    assert not (told(errors) > 10.0 + 200.0).any()  # millions before there was a bound


def test_newcomers_are_told_of_the_pool_that_stays() -> None:
    expert = Pooled(20, (NEXT, Target(2, BOUNDS)))
    level = np.full(20, 10.0)
    for step, row in enumerate(normal_errors((100, 20), *np.ones(20)), start=1):
        values = (level + row).astype(np.float32)
        expert.expect(step - 1, outlook_of(level))
        expert.settle(step, values, [values, values if step > 1 else None])
    expert.rearrange(np.array([-1, 3]), 1)
    grids = told_after(expert, 101)
    assert all(np.isnan(grid[:, 0]).all() and np.isfinite(grid[:, 1]).all() for grid in grids)


def told_after(expert: Pooled, step: int) -> list[Singles]:
    """Return what is told of each target by an expert of two series."""
    return expert.expect(step, outlook_of(np.full(2, 10.0)))
