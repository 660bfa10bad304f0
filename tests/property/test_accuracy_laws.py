"""Laws of how bounds are judged, whatever came and whatever was said."""

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.backtest.accuracy import (
    Singles,
    Tally,
    best_factor,
    figures_of,
    group_of,
    joined,
    outcomes_of,
    pinball,
    tallied,
)
from agent.tenant import Floats
from forecast.profile import BOUNDS

HORIZONS = (1, 2)
# Multiples of a quarter: sums of a few are exact in single precision too.
amounts = st.integers(0, 40).map(lambda number: number / 4)
levels = st.sampled_from([0.5, 0.8, 0.95, 0.99])


@st.composite
def demands(draw: st.DrawFn) -> Floats:
    """Draw demand of 1 to 4 tenants over 3 to 12 steps, with gaps."""
    tenants, steps = draw(st.integers(1, 4)), draw(st.integers(3, 12))
    row = st.lists(st.one_of(amounts, st.just(np.nan)), min_size=tenants, max_size=tenants)
    return np.array(draw(st.lists(row, min_size=steps, max_size=steps)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Singles]:
    """Draw demand, and bounds said from the first step on, that rise with their levels."""
    demand = draw(demands())
    shape = (len(demand), len(HORIZONS), len(BOUNDS), demand.shape[1])
    size = int(np.prod(shape))
    drawn = draw(st.lists(amounts, min_size=size, max_size=size))
    bounds = np.array(drawn, dtype=np.float32).reshape(shape)
    return demand, np.sort(bounds, axis=2)


def tally_of(demand: Floats, bounds: Singles) -> Tally:
    return tallied(outcomes_of(demand, HORIZONS, 0), bounds)


@given(cases(), st.integers(0, 100))
def test_a_constant_added_to_bounds_and_outcomes_changes_only_their_means(
    case: tuple[Floats, Singles], shift: int
) -> None:
    demand, bounds = case
    before, after = tally_of(demand, bounds), tally_of(demand + shift, bounds + np.float32(shift))
    np.testing.assert_array_equal(after.windows, before.windows)
    np.testing.assert_array_equal(after.held, before.held)
    np.testing.assert_allclose(after.loss, before.loss, atol=1e-9)
    np.testing.assert_allclose(after.outcome, before.outcome + shift * before.windows)
    np.testing.assert_allclose(after.bound, before.bound + shift * before.windows[:, None])


@given(cases(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_in_other_units_shares_and_relative_losses_are_the_same(
    case: tuple[Floats, Singles], factor: float
) -> None:
    demand, bounds = case
    names = tuple(map(str, range(demand.shape[1])))
    found = []
    for unit in (1.0, factor):
        tally = tally_of(unit * demand, np.float32(unit) * bounds)
        found.append(figures_of(tally, group_of(names, unit * demand), tally, 0, 1))
    for field in ("coverage_fraction", "relative_pinball_loss", "skill"):
        np.testing.assert_allclose(getattr(found[1], field), getattr(found[0], field), rtol=1e-12)
    np.testing.assert_allclose(found[1].mean_margin, factor * found[0].mean_margin)


@given(cases())
def test_a_higher_bound_holds_no_less(case: tuple[Floats, Singles]) -> None:
    tally = tally_of(*case)
    assert (np.diff(tally.held, axis=1) >= 0).all()
    assert (tally.held <= tally.windows[:, None]).all()


@given(cases())
def test_no_bound_loses_less_than_none_at_all_and_the_outcome_itself_loses_nothing(
    case: tuple[Floats, Singles],
) -> None:
    demand, bounds = case
    assert (tally_of(demand, bounds).loss >= 0).all()
    outcomes = outcomes_of(demand, HORIZONS, 0)
    known = np.nan_to_num(np.repeat(outcomes[:, None], len(BOUNDS), axis=1))
    perfect = tallied(outcomes, np.moveaxis(known, 2, 0))
    assert (perfect.loss == 0).all()
    np.testing.assert_array_equal(
        perfect.held, np.repeat(perfect.windows[:, None], len(BOUNDS), axis=1)
    )


@given(cases())
def test_tenants_are_judged_alike_together_and_one_by_one(case: tuple[Floats, Singles]) -> None:
    demand, bounds = case
    together = tally_of(demand, bounds)
    alone = joined(
        [tally_of(demand[:, [place]], bounds[..., [place]]) for place in range(demand.shape[1])]
    )
    for field in fields(Tally):
        np.testing.assert_allclose(getattr(alone, field.name), getattr(together, field.name))


@given(st.lists(amounts, min_size=1, max_size=30), levels, amounts)
def test_the_loss_is_least_at_the_empirical_quantile(
    outcomes: list[float], level: float, other: float
) -> None:
    came = np.array(outcomes)
    quantile = np.quantile(came, level, method="inverted_cdf")
    least = pinball(came, np.full_like(came, quantile), level).sum()
    assert least <= pinball(came, np.full_like(came, other), level).sum() + 1e-9


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=30), levels, st.floats(0.0, 50.0))
def test_no_other_factor_of_the_last_value_loses_less(
    pairs: list[tuple[float, float]], level: float, other: float
) -> None:
    columns = np.array(pairs, dtype=np.float32)
    outcomes, base = columns[:, 0], columns[:, 1]
    factor = best_factor(outcomes, base, level)

    def loss(times: float) -> float:
        return float(
            pinball(outcomes.astype(np.float64), times * base.astype(np.float64), level).sum()
        )

    assert loss(factor) <= loss(other) + 1e-6 * (1 + loss(other))
