"""Laws of what is reported of a run, whatever was wanted and served."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.backtest.score import (
    Run,
    attainment_by_class,
    badly_served_tenants,
    fairness_by_class,
    limit_changes_per_tenant_hour,
    unmet_fraction,
    utilisation_fraction,
    violated_fraction,
    violated_fraction_by_class,
)
from agent.tenant import Floats, Ints

CLASSES = 3
# Multiples of a half: what is missing is never near the slack, at any scale of a power of two.
amounts = st.integers(0, 40).map(lambda number: number / 2)
Case = tuple[Run, Ints]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a run of 1 to 5 tenants over 1 to 8 steps, never over capacity, and their classes."""
    tenants, steps = draw(st.integers(1, 5)), draw(st.integers(1, 8))

    def table(values: st.SearchStrategy[float]) -> Floats:
        row = st.lists(values, min_size=tenants, max_size=tenants)
        return np.array(draw(st.lists(row, min_size=steps, max_size=steps)))

    demand, limit = table(amounts), table(st.one_of(amounts, st.just(np.inf)))
    served = np.minimum(demand, limit)
    class_of = draw(st.lists(st.integers(0, CLASSES - 1), min_size=tenants, max_size=tenants))
    capacity = max(float(served.sum(axis=1).max()), 1.0)
    return Run(demand, served, limit, 300.0, capacity, slack=1e-3), np.array(class_of)


def report(run: Run, class_of: Ints) -> Floats:
    """Return all that is reported, in one row."""
    return np.concatenate(
        (
            [unmet_fraction(run), violated_fraction(run), utilisation_fraction(run)],
            [limit_changes_per_tenant_hour(run), float(badly_served_tenants(run))],
            violated_fraction_by_class(run, class_of, CLASSES),
            fairness_by_class(run, class_of, CLASSES),
            attainment_by_class(run, class_of, CLASSES),
        )
    )


@given(cases())
def test_fractions_are_between_0_and_1_and_fairness_at_least_one_nth(case: Case) -> None:
    run, class_of = case
    made = report(run, class_of)
    fractions = np.delete(made, (3, 4))
    fractions = fractions[~np.isnan(fractions)]
    assert ((fractions >= 0) & (fractions <= 1 + 1e-12)).all()
    fairness = fairness_by_class(run, class_of, CLASSES)
    members = np.bincount(class_of, minlength=CLASSES)
    known = ~np.isnan(fairness)
    assert (fairness[known] >= 1 / members[known] - 1e-12).all()
    assert 0 <= made[3] <= 3600.0 / run.step_s
    assert 0 <= made[4] <= len(class_of)


@given(cases(), st.permutations(range(5)))
def test_the_order_of_tenants_does_not_matter(case: Case, shuffled_five: list[int]) -> None:
    run, class_of = case
    order = [tenant for tenant in shuffled_five if tenant < len(class_of)]
    shuffled = replace(
        run,
        demand=run.demand[:, order],
        served=run.served[:, order],
        limit=run.limit[:, order],
    )
    np.testing.assert_allclose(report(shuffled, class_of[order]), report(run, class_of))


@given(cases(), st.integers(0, 30))
def test_the_unit_does_not_matter(case: Case, doublings: int) -> None:
    run, class_of = case
    scale = 2.0**doublings
    scaled = replace(
        run,
        demand=run.demand * scale,
        served=run.served * scale,
        limit=run.limit * scale,
        capacity=run.capacity * scale,
    )
    np.testing.assert_allclose(report(scaled, class_of), report(run, class_of))


@given(cases())
def test_a_class_attains_what_is_not_violated(case: Case) -> None:
    run, class_of = case
    violated = violated_fraction_by_class(run, class_of, CLASSES)
    np.testing.assert_allclose(attainment_by_class(run, class_of, CLASSES), 1 - violated)


@given(cases())
def test_everything_served_is_a_run_without_fault(case: Case) -> None:
    run, class_of = case
    whole = replace(run, served=run.demand)
    assert unmet_fraction(whole) == violated_fraction(whole) == badly_served_tenants(whole) == 0
    assert np.isnan(fairness_by_class(whole, class_of, CLASSES)).all()
    present = np.bincount(class_of, minlength=CLASSES) > 0
    assert (attainment_by_class(whole, class_of, CLASSES)[present] == 1).all()
