"""Coverage, loss, sharpness and skill of bounds, by examples computed by hand."""

import numpy as np
import pytest

from agent.backtest.accuracy import (
    FEWEST_JUDGED,
    Group,
    Singles,
    Tally,
    best_factor,
    figures_of,
    group_of,
    joined,
    loss_ratios,
    naive_bounds,
    outcomes_of,
    pinball,
    tallied,
)

NAN = np.nan
HORIZONS = (1, 2, 3)
AT_95, AT_99 = 1, 2  # positions among the levels 80, 95 and 99 %
LONGEST = 2


def flat(bounds: list[float], origins: int) -> Singles:
    """Return the same bound for all horizons and levels, one a tenant."""
    shape = (origins, len(HORIZONS), 3, len(bounds))
    return np.broadcast_to(np.array(bounds, dtype=np.float32), shape).copy()


def group(tenants: int, *, mean: float = 1.0, steady: tuple[int, ...] = ()) -> Group:
    is_steady = np.isin(np.arange(tenants), steady)
    return Group(tuple(f"t{place}" for place in range(tenants)), np.full(tenants, mean), is_steady)


def of_held(held: list[int], windows: int) -> Tally:
    """Return tallies that differ in what the bounds held alone."""
    shape = (len(HORIZONS), 3, len(held))
    return Tally(
        windows=np.full((len(HORIZONS), len(held)), windows),
        outcome=np.zeros((len(HORIZONS), len(held))),
        held=np.broadcast_to(held, shape),
        loss=np.ones(shape),
        bound=np.zeros(shape),
    )


def test_outcomes_are_the_maximum_of_the_steps_after_each_origin() -> None:
    values = np.array([[9.0], [1.0], [2.0], [4.0], [3.0]])
    found = outcomes_of(values, HORIZONS, first=1)
    expected = [[2, 4, 3, NAN], [4, 4, NAN, NAN], [4, NAN, NAN, NAN]]
    np.testing.assert_array_equal(found[:, :, 0], expected)


def test_a_window_with_a_gap_in_it_or_right_before_it_does_not_count() -> None:
    values = np.array([[1.0], [NAN], [2.0], [3.0], [4.0], [5.0]])
    expected = [
        [NAN, NAN, 3, 4, 5, NAN],
        [NAN, NAN, 4, 5, NAN, NAN],
        [NAN, NAN, 5, NAN, NAN, NAN],
    ]
    np.testing.assert_array_equal(outcomes_of(values, HORIZONS, first=0)[:, :, 0], expected)


def test_a_bound_that_is_the_outcome_holds_it_and_costs_nothing() -> None:
    outcomes = np.full((3, 4, 1), 0.1, dtype=np.float32)
    tally = tallied(outcomes, flat([0.1], 4))
    assert (tally.held == 4).all()
    assert (tally.loss == 0).all()


def test_losses_weigh_what_is_above_by_the_level_and_what_is_below_by_the_rest() -> None:
    outcomes = np.full((3, 2, 1), NAN, dtype=np.float32)
    outcomes[LONGEST, :, 0] = (3.0, 1.0)  # one above the bound of 2, the other below
    tally = tallied(outcomes, flat([2.0], 2))
    assert tally.windows[:, 0].tolist() == [0, 0, 2]
    assert tally.held[LONGEST, :, 0].tolist() == [1, 1, 1]
    assert tally.loss[LONGEST, :, 0] == pytest.approx([1.0, 1.0, 1.0])
    assert tally.bound[LONGEST, AT_95, 0] == 4.0
    assert tally.outcome[LONGEST, 0] == 4.0
    assert pinball(np.array([3.0]), np.array([2.0]), 0.95) == pytest.approx([0.95])
    assert pinball(np.array([1.0]), np.array([2.0]), 0.95) == pytest.approx([0.05])


def test_a_window_that_counts_needs_a_bound() -> None:
    outcomes = np.ones((3, 2, 1), dtype=np.float32)
    bounds = flat([2.0], 2)
    bounds[1, 0, 0, 0] = NAN
    with pytest.raises(ValueError, match="has no bound"):
        tallied(outcomes, bounds)
    outcomes[:, 1] = NAN
    assert tallied(outcomes, bounds).windows.tolist() == [[1]] * 3


def test_a_tenant_is_steady_when_more_than_half_of_its_steps_are_as_the_one_before() -> None:
    steady, half, moving = [1, 1, 1, 2, 2], [1, 1, 2, 2, 3], [5, 4, 3, 2, 1]
    gaps = [1, 1, NAN, 2, 3]  # of two pairs that are known, one is unchanged
    found = group_of(("s", "h", "m", "g"), np.array([steady, half, moving, gaps], dtype=float).T)
    assert found.is_steady.tolist() == [True, False, False, False]
    assert found.mean_demand.tolist() == pytest.approx([1.4, 1.8, 3.0, 1.75])


def test_tenants_within_three_points_are_counted_with_and_without_the_steady() -> None:
    """Of 100 windows each: just within, too low, too high, and too high but steady."""
    tally = of_held([92, 91, 99, 100], 100)
    found = figures_of(tally, group(4, steady=(3,)), tally, LONGEST, AT_95)
    assert found.coverage_fraction == pytest.approx(382 / 400)
    assert found.tenants_within_fraction == 0.25
    assert found.moving_tenants_within_fraction == pytest.approx(1 / 3)
    assert found.tenants_within_or_steady_over_fraction == 0.5
    assert (found.worst_tenant, found.worst_coverage_fraction) == ("t3", 1.0)


def test_a_steady_tenant_that_covers_too_little_is_not_excused() -> None:
    tally = of_held([80], 100)
    found = figures_of(tally, group(1, steady=(0,)), tally, LONGEST, AT_95)
    assert found.tenants_within_or_steady_over_fraction == 0.0


def test_who_has_few_windows_is_pooled_and_not_judged_alone() -> None:
    few = of_held([0], FEWEST_JUDGED - 1)
    found = figures_of(few, group(1), few, LONGEST, AT_95)
    assert found.coverage_fraction == 0.0
    assert found.worst_tenant is None
    assert np.isnan([found.tenants_within_fraction, found.worst_coverage_fraction]).all()


def test_losses_are_in_base_units_and_in_units_of_each_tenants_own_demand() -> None:
    """Both lose 1 a window; the small one loses half of what it wants, the large one a tenth."""
    tally = of_held([100, 100], 100)
    tally = Tally(tally.windows, tally.outcome, tally.held, 100 * tally.loss, tally.bound)
    who = Group(("small", "large"), np.array([2.0, 10.0]), np.zeros(2, dtype=bool))
    found = figures_of(tally, who, tally, LONGEST, AT_99)
    assert found.pinball_loss == pytest.approx(1.0)
    assert found.relative_pinball_loss == pytest.approx(0.3)
    assert (found.skill, found.relative_skill) == (0.0, 0.0)


def test_who_wants_nothing_has_no_relative_loss() -> None:
    tally = of_held([100, 100], 100)
    who = Group(("idle", "busy"), np.array([0.0, 0.5]), np.zeros(2, dtype=bool))
    assert figures_of(tally, who, tally, LONGEST, AT_99).relative_pinball_loss == 0.02


def test_skill_is_what_is_lost_less_than_by_the_naive_forecast() -> None:
    ours, naive = of_held([100], 100), of_held([100], 100)
    naive = Tally(naive.windows, naive.outcome, naive.held, 4 * naive.loss, naive.bound)
    assert figures_of(ours, group(1), naive, LONGEST, AT_95).skill == 0.75
    assert figures_of(naive, group(1), ours, LONGEST, AT_95).relative_skill == -3.0


def test_losses_are_compared_tenant_by_tenant() -> None:
    """A tenant that the other forecaster loses nothing on has no ratio."""
    ours = of_held([100, 100, 100], 100)
    losses = np.broadcast_to([4.0, 0.0, 0.5], ours.loss.shape)
    other = Tally(ours.windows, ours.outcome, ours.held, losses, ours.bound)
    assert loss_ratios(ours, other, AT_95).tolist() == [0.25, 2.0]


def test_sharpness_is_the_mean_bound_and_how_far_it_is_from_what_came() -> None:
    outcomes = np.full((3, 4, 1), 1.0, dtype=np.float32)
    tally = tallied(outcomes, flat([1.75], 4))
    found = figures_of(tally, group(1), tally, LONGEST, AT_95)
    assert (found.mean_bound, found.mean_margin) == (1.75, 0.75)


def test_the_naive_forecast_is_the_last_value_times_one_factor() -> None:
    """Each tenant's next value is twice or three times its last: at 80 % and above, thrice."""
    values = np.array([[1.0, 10.0], [3.0, 20.0]])
    outcomes = outcomes_of(values, (1,), first=0)
    bounds = naive_bounds(values, outcomes, first=0)
    assert bounds[0, 0].tolist() == [[2.0, 20.0], [3.0, 30.0], [3.0, 30.0]]


def test_the_factor_of_what_is_always_nothing_is_one() -> None:
    zero = np.zeros((2, 1), dtype=np.float32)
    assert best_factor(zero + 1, zero, 0.95) == 1.0


def test_some_tenants_of_a_tally_are_what_they_were_alone() -> None:
    whole = of_held([92, 91, 99, 100], 100)
    parts = [whole.only(np.array([0, 1])), whole.only(np.array([2, 3]))]
    assert parts[1].held[0, 0].tolist() == [99, 100]
    assert joined(parts).held.tolist() == whole.held.tolist()
    assert group(4, steady=(3,)).only(np.array([3, 0])).is_steady.tolist() == [True, False]
