"""Law 3, floors and ceilings: no limit below what was promised or above what is allowed."""

import numpy as np
from hypothesis import given

from hosts import ROUNDING, Host, hosts


@given(hosts())
def test_a_limit_is_at_least_the_guarantee_and_at_most_the_ceiling(host: Host) -> None:
    claims, allocation = host.claims(), host.allocated()
    slack = ROUNDING * host.total
    assert np.all(allocation.limit >= allocation.guarantee.amount - slack)
    assert np.all(allocation.guarantee.amount >= allocation.guarantee.floor - slack)
    assert np.all(allocation.limit <= claims.ceiling * (1 + ROUNDING))


@given(hosts())
def test_floors_are_kept_in_full_where_they_fit(host: Host) -> None:
    claims, guarantee = host.claims(), host.allocated().guarantee
    promised = np.minimum(claims.terms.floor, claims.ceiling)
    fits = promised.sum() <= host.total
    assert guarantee.are_floors_scaled == (promised.sum() > host.total * (1 + 1e-12))
    if fits:
        assert np.array_equal(guarantee.floor, promised)
    else:
        assert np.all(guarantee.floor <= promised)
        assert np.isclose(guarantee.floor.sum(), host.total, rtol=ROUNDING)


@given(hosts())
def test_floors_that_do_not_fit_are_scaled_by_weight(host: Host) -> None:
    """Nobody gets less of its floor than another gets for the same weight, unless it has all."""
    claims, floor = host.claims(), host.allocated().guarantee.floor
    promised = np.minimum(claims.terms.floor, claims.ceiling)
    is_cut = floor < promised * (1 - ROUNDING)
    level = floor / claims.terms.weight
    if is_cut.any():
        assert np.all(level[is_cut] >= level.max() * (1 - 1e-6))


@given(hosts())
def test_an_absent_tenant_holds_nothing(host: Host) -> None:
    absent = host.column("is_present") == 0
    assert np.all(host.allocated().limit[absent] == 0)
