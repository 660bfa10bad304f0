"""What is reported of a run, on examples worked out by hand."""

import numpy as np
import pytest

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
from agent.tenant import Floats

# Three tenants, four steps; the first two are class 0, the third is class 1.
CLASS_OF = np.array([0, 0, 1])


def a_run(
    demand: object, served: object, limit: object | None = None, *, step_s: float = 900.0
) -> Run:
    wanted: Floats = np.array(demand, dtype=np.float64)
    return Run(
        demand=wanted,
        served=np.array(served, dtype=np.float64),
        limit=np.full_like(wanted, np.inf) if limit is None else np.array(limit, dtype=np.float64),
        step_s=step_s,
        capacity=8.0,
        slack=1e-3,
    )


RUN = a_run(
    [[2, 2, 4], [4, 2, 0], [0, 0, 4], [1, 1, 1]],
    [[2, 1, 4], [1, 2, 0], [0, 0, 3], [1, 1, 1]],
)


def test_unmet_demand_is_a_fraction_of_all_demand() -> None:
    # 1 + 3 + 1 of 2 + 2 + 4 + 4 + 2 + 4 + 1 + 1 + 1 = 21.
    assert unmet_fraction(RUN) == pytest.approx(5 / 21)


def test_what_is_served_beyond_demand_makes_up_for_nothing() -> None:
    assert unmet_fraction(a_run([[2, 2]], [[1, 3]])) == 0.25


def test_no_demand_leaves_none_unmet() -> None:
    assert unmet_fraction(a_run([[0, 0]], [[0, 0]])) == 0.0


def test_violated_steps_are_counted_over_all_and_by_class() -> None:
    # 3 of 12; class 0: 2 of 2 x 4, class 1: 1 of 4, class 2 has nobody.
    assert violated_fraction(RUN) == pytest.approx(3 / 12)
    expected = [2 / 8, 1 / 4, np.nan]
    np.testing.assert_allclose(violated_fraction_by_class(RUN, CLASS_OF, 3), expected)


def test_a_thousandth_of_the_unit_is_not_missed() -> None:
    assert violated_fraction(a_run([[1.0, 1.0]], [[0.9991, 0.9989]])) == 0.5


def test_a_tenant_is_badly_served_above_one_step_in_a_hundred() -> None:
    # 1 and 2 violated steps of 100: 1 % is not above 1 %.
    demand = np.ones((100, 2))
    served = demand.copy()
    served[0, 0] = served[0, 1] = served[50, 1] = 0.5
    assert badly_served_tenants(a_run(demand, served)) == 1


def test_utilisation_is_what_was_served_of_capacity() -> None:
    # 7 + 3 + 3 + 3 = 16 of 4 x 8.
    assert utilisation_fraction(RUN) == pytest.approx(16 / 32)


def test_limit_changes_are_counted_per_tenant_and_hour() -> None:
    # Two tenants, from 3 steps to the next of 15 min: 1.5 tenant-hours.  The first tenant's
    # limit moves once (then by rounding only), the second's is lifted and set again.
    limit = [[1, 2], [3, np.inf], [3 * (1 + 1e-12), 2], [3, 2]]
    run = a_run(np.ones((4, 2)), np.ones((4, 2)), limit)
    assert limit_changes_per_tenant_hour(run) == pytest.approx(3 / 1.5)


def test_limits_of_a_single_step_have_not_changed() -> None:
    assert limit_changes_per_tenant_hour(a_run([[1, 1]], [[1, 1]], [[1, 1]])) == 0.0


def test_fairness_is_jains_index_over_the_steps_that_are_short() -> None:
    # Class 0, step 1: parts 1 and 1/2: (3/2)^2 / (2 x 5/4) = 0.9; step 2: 1/4 and 1:
    # (5/4)^2 / (2 x 17/16) = 0.7353; mean 0.8176.  Class 1: one tenant alone, 1.  Class 2: nobody.
    expected = [(0.9 + 25 / 34) / 2, 1.0, np.nan]
    np.testing.assert_allclose(fairness_by_class(RUN, CLASS_OF, 3), expected)


def test_one_who_has_all_while_others_have_nothing_is_one_nth_fair() -> None:
    # (1 + 0 + 0)^2 / (3 x 1); who wants nothing does not count.
    run = a_run([[1, 5, 2]], [[1, 0, 0]])
    assert fairness_by_class(run, np.zeros(3, dtype=np.int64), 1)[0] == pytest.approx(1 / 3)
    run = a_run([[1, 5, 0]], [[1, 0, 0]])
    assert fairness_by_class(run, np.zeros(3, dtype=np.int64), 1)[0] == pytest.approx(1 / 2)


def test_all_who_get_nothing_are_treated_alike() -> None:
    run = a_run([[1, 5, 2]], [[0, 0, 0]])
    assert fairness_by_class(run, np.zeros(3, dtype=np.int64), 1)[0] == 1.0


def test_attainment_is_what_is_served_in_full_of_a_classes_steps() -> None:
    # Class 0: 3 of 4 steps of either tenant; class 1: 3 of 4; class 2 has nobody.
    expected = [6 / 8, 3 / 4, np.nan]
    np.testing.assert_allclose(attainment_by_class(RUN, CLASS_OF, 3), expected)
    run = a_run([[1, 1], [np.nan, 1]], [[1, 0], [np.nan, 0]])
    np.testing.assert_allclose(attainment_by_class(run, np.array([0, 0]), 1), [1 / 3])


def test_steps_of_the_absent_count_nowhere() -> None:
    """A tenant that is never there, and a last step in which nobody is."""
    away = [[np.nan] * 4]

    def longer(rows: Floats) -> list[list[float]]:
        return [*([*list(row), np.nan] for row in rows), *away]

    run, limit = RUN, np.arange(12.0).reshape(4, 3) + 1
    moving = a_run(run.demand, run.served, limit)
    seen = a_run(longer(run.demand), longer(run.served), np.pad(limit, (0, 1), constant_values=7.0))
    class_of = np.array([0, 0, 1, 1])
    for figure in (
        unmet_fraction,
        violated_fraction,
        badly_served_tenants,
        limit_changes_per_tenant_hour,
    ):
        assert figure(seen) == figure(moving), figure
    for by_class in (violated_fraction_by_class, attainment_by_class, fairness_by_class):
        np.testing.assert_array_equal(
            by_class(seen, class_of, 2), by_class(moving, CLASS_OF, 2), err_msg=by_class.__name__
        )


def test_a_tenant_is_badly_served_by_the_steps_that_it_was_there() -> None:
    demand = np.ones((200, 1))
    served = demand.copy()
    served[:2] = 0.0
    assert badly_served_tenants(a_run(demand, served)) == 0  # 2 of 200 are 1 %, and not more
    demand[150:], served[150:] = np.nan, np.nan
    assert badly_served_tenants(a_run(demand, served)) == 1
