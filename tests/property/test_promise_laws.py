"""Law 2, no overcommit of promises: what is promised, and what limits sum to, fits the host."""

from dataclasses import replace

import numpy as np
from hypothesis import given

from agent.allocation import LEAST_SHARES, Mode

from hosts import ROUNDING, Host, hosts


@given(hosts())
def test_guarantees_and_the_emergency_pool_fit_the_capacity(host: Host) -> None:
    guarantee = host.allocated().guarantee
    assert guarantee.amount.sum() + guarantee.emergency_pool <= host.total * (1 + ROUNDING)


@given(hosts(modes=(Mode.STRICT,)))
def test_strict_limits_sum_to_at_most_the_capacity(host: Host) -> None:
    assert host.allocated().limit.sum() <= host.total * (1 + ROUNDING)


@given(hosts())
def test_every_limit_is_its_three_pools_and_none_is_negative(host: Host) -> None:
    a = host.allocated()
    pools = np.stack((a.guarantee.amount, a.opportunistic, a.emergency))
    assert np.all(pools >= -ROUNDING * host.total)
    assert np.allclose(pools.sum(axis=0), a.limit, rtol=ROUNDING, atol=ROUNDING * host.total)


@given(hosts(modes=(Mode.ELASTIC,)))
def test_elastic_limits_lie_between_strict_ones_and_their_ceilings(host: Host) -> None:
    """The gate opens from the strict division upwards: nothing else bounds their sum."""
    elastic, strict = host.allocated(), replace(host, mode=Mode.STRICT).allocated()
    slack = ROUNDING * host.total
    assert np.all(elastic.limit >= strict.limit - slack)
    assert np.all(elastic.limit <= host.claims().ceiling + slack)


@given(hosts())
def test_shares_keep_every_guarantee_and_grant_and_sum_to_at_most_the_capacity(host: Host) -> None:
    """Weights in proportion to these keep promises at any instant, whatever the limits are.

    Emergency grants too.  Whole wherever the least shares fit beside them, and but for those
    everywhere.
    """
    claims, allocation = host.claims(), host.allocated()
    guaranteed, granted = allocation.guarantee.amount, allocation.emergency
    slack = ROUNDING * host.total
    beside = np.maximum(guaranteed, least_share(host) * (claims.ceiling > 0)).sum() + granted.sum()
    kept = 1.0 if beside <= host.total else 1.0 - LEAST_SHARES
    assert np.all(allocation.share >= kept * (guaranteed + granted) - slack)
    assert np.all(allocation.promised >= kept * (guaranteed + granted) - slack)
    assert allocation.share.sum() <= host.total + slack


@given(hosts())
def test_nobody_who_is_present_is_left_without_a_share(host: Host) -> None:
    """Whatever its class, weight and debt, and whatever others are promised."""
    share = host.allocated().share[host.claims().ceiling > 0]
    assert np.all(share >= least_share(host) * (1 - ROUNDING))


def least_share(host: Host) -> float:
    """Return the equal part of what is kept for that of the capacity."""
    return LEAST_SHARES * host.total / max(int((host.claims().ceiling > 0).sum()), 1)


@given(hosts())
def test_what_cannot_be_taken_back_now_is_left_where_it_fits(host: Host) -> None:
    """Holds: limits adopted while learning, memory that cannot be reclaimed."""
    claims, allocation = host.claims(), host.allocated()
    least = np.maximum(claims.hold, allocation.guarantee.amount)
    if least.sum() <= host.total:
        assert np.all(allocation.limit >= least - ROUNDING * host.total)
