"""The emergency pool: lent by rank, for a time, and to nobody in debt but the first rank."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import LEAST_SHARES, shares
from agent.emergency import EmergencySettings, Granted, Grants, Need, granted
from agent.tenant import Floats

from hosts import NUMBERS, ROUNDING, Host, hosts, mixed

TENANTS, POOL = 4, 1.0
SETTINGS = EmergencySettings(fraction=0.05, grant_s=30.0, cooldown_s=60.0)
_TABLES: tuple[tuple[float, ...], ...] = (
    (0.3, 1.0, 0.5, 100.0, 0.0, -1.0),  # shortfall
    (1, 1, 0),  # is hit
    (1, 1, 1, 0),  # is enforced
    (0, 0, 1),  # is in debt
    (0, 1, 2),  # rank
    (1.0, 0.25, 8.0),  # weight
)


def _need(numbers: list[int]) -> Need:
    """Read drawn numbers as tenants, one each."""
    columns = []
    rest = [mixed(number) for number in numbers]
    for table in _TABLES:
        columns.append(np.array([table[number % len(table)] for number in rest]))
        rest = [number // len(table) for number in rest]
    shortfall, is_hit, is_enforced, is_in_debt, rank, weight = columns
    return Need(
        shortfall, is_hit > 0, is_enforced > 0, is_in_debt > 0, rank.astype(np.int64), weight
    )


def _lent(grants: Grants, need: Need, is_withheld: bool) -> Granted:
    return granted(grants, need, pool=POOL, settings=SETTINGS, is_withheld=is_withheld)


needs = st.lists(NUMBERS, min_size=TENANTS, max_size=TENANTS).map(_need)


@given(needs, st.sampled_from((0.5, 1.0, 0.0, 50.0)))
def test_the_pool_is_lent_by_rank_to_those_who_may_have_it(need: Need, pool: float) -> None:
    amount = granted(Grants.none(TENANTS), need, pool=pool, settings=SETTINGS).amount
    may_ask = need.is_hit & need.is_enforced & (~need.is_in_debt | (need.rank == 0))
    asked = np.where(may_ask, np.maximum(need.shortfall, 0.0), 0.0)
    assert np.all((amount >= 0) & (amount <= asked * (1 + ROUNDING)))
    assert np.isclose(amount.sum(), min(pool, asked.sum()), rtol=ROUNDING)
    for tenant in np.flatnonzero(amount > 0):
        ahead = need.rank < need.rank[tenant]
        assert np.allclose(amount[ahead], asked[ahead], rtol=ROUNDING)


stories = st.lists(
    st.tuples(needs, st.sampled_from((1.0, 5.0, 10.0)), st.sampled_from((False, False, True))),
    max_size=40,
)


@given(stories)
def test_no_grant_outlasts_its_time_or_follows_too_soon(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """What goes on after its time is a part, smaller by the second, of the most that it was."""
    grants, now_s = Grants.none(TENANTS), 0.0
    since, ended_with = np.full(TENANTS, -np.inf), np.zeros(TENANTS)
    until, held = np.full(TENANTS, -np.inf), np.zeros(TENANTS, dtype=np.bool_)
    most = np.zeros(TENANTS)
    longest_s = SETTINGS.grant_s + SETTINGS.cooldown_s
    for need, elapsed_s, is_withheld in ticks:
        now_s += elapsed_s
        grants = grants.elapsed(elapsed_s, SETTINGS)
        had_grant = grants.grant_left_s > 0
        until[held & ~had_grant] = now_s
        amount, grants, _ = _lent(grants, need, is_withheld)
        is_new = (grants.grant_left_s > 0) & ~had_grant
        assert np.all(amount[is_new] > 0)
        assert np.all(now_s - until[is_new] >= SETTINGS.cooldown_s)
        since[is_new] = now_s
        has_grant = held = grants.grant_left_s > 0
        until[had_grant & ~has_grant] = now_s
        most = np.where(is_new, amount, np.maximum(most, amount))
        ended_with = np.where(had_grant | has_grant, most, ended_with)
        assert np.all(now_s - since[has_grant] < SETTINGS.grant_s)
        left = grants.cooldown_left_s / SETTINGS.cooldown_s
        assert np.all((amount <= ended_with * left * (1 + ROUNDING))[~has_grant])
        assert np.all(now_s - since[amount > 0] < longest_s)


@given(stories)
def test_nothing_new_is_lent_while_the_pool_is_withheld_nor_to_a_debtor_but_of_the_first_rank(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    grants = Grants.none(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        grants = grants.elapsed(elapsed_s, SETTINGS)
        amount, grants, _ = _lent(grants, need, is_withheld)
        may_not = (need.is_in_debt & (need.rank > 0)) | is_withheld
        assert np.all(grants.grant_left_s[may_not] == 0)
        assert np.all(amount[may_not] <= grants.lent[may_not])
        assert amount.sum() <= 1.0 + ROUNDING


@given(stories)
def test_who_is_still_short_loses_a_grant_no_faster_than_a_cool_down_takes_it_back(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """Holders and who is cooling down alike, whoever else asks and whatever ends a grant.

    The most that it was, divided by the cool-down: so much a second.
    """
    grants, before, most = Grants.none(TENANTS), np.zeros(TENANTS), np.zeros(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        had_grant = grants.grant_left_s > 0
        grants = grants.elapsed(elapsed_s, SETTINGS)
        amount, grants, _ = _lent(grants, need, is_withheld)
        kept = before - most * elapsed_s / SETTINGS.cooldown_s
        kept = np.where(need.is_enforced, np.minimum(kept, need.shortfall), 0.0)
        assert np.all(amount >= kept - ROUNDING)
        assert amount.sum() <= POOL * (1 + ROUNDING)
        is_new = (grants.grant_left_s > 0) & ~had_grant
        before, most = amount, np.where(is_new, amount, np.maximum(most, amount))


@given(stories)
def test_who_is_short_gets_what_is_free_at_once_by_rank_and_the_rest_from_worse_ranks(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """Where somebody stays short no grant of a worse rank goes on, and it is said who ended it."""
    grants = Grants.none(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        grants = grants.elapsed(elapsed_s, SETTINGS)
        had_grant, was_cooling = grants.grant_left_s > 0, grants.cooldown_left_s > 0
        may_have = need.is_enforced & (~need.is_in_debt | (need.rank == 0)) & (not is_withheld)
        asks = (need.is_hit | had_grant) & may_have & ~was_cooling
        amount, grants, preempted_by = _lent(grants, need, is_withheld)
        is_unmet = asks & (need.shortfall - amount > ROUNDING)
        if is_unmet.any():
            assert np.isclose(amount.sum(), POOL, rtol=ROUNDING)
        is_new = (grants.grant_left_s > 0) & ~had_grant
        best = need.rank[is_unmet].min(initial=9)
        assert np.all(need.rank[is_new] <= best)
        goes_on = (grants.grant_left_s > 0) & (amount > 0)
        assert np.all(need.rank[goes_on] <= best)
        for tenant in np.flatnonzero(preempted_by >= 0).tolist():
            by = int(preempted_by[tenant])
            assert is_unmet[by]
            assert need.rank[by] == best < need.rank[tenant]
            assert had_grant[tenant]
            assert amount[tenant] > 0
            assert grants.cooldown_left_s[tenant] == SETTINGS.cooldown_s
            assert grants.lent[tenant] >= amount[tenant]


@given(stories)
def test_who_is_only_observed_holds_no_grant_and_takes_none_from_others(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """Also one whose grant began while it was enforced: the others fare as if it asked nothing."""
    grants = Grants.none(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        grants = grants.elapsed(elapsed_s, SETTINGS)
        asking = [need, replace(need, shortfall=np.where(need.is_enforced, need.shortfall, 0.0))]
        (amount, after, _), (without, _, _) = (_lent(grants, one, is_withheld) for one in asking)
        assert np.all(amount[~need.is_enforced] == 0)
        assert np.all(after.grant_left_s[~need.is_enforced] == 0)
        assert np.array_equal(amount, without)
        grants = after


@given(hosts())
def test_emergency_grants_come_out_of_the_pool_alone(host: Host) -> None:
    allocation = host.allocated()
    pool = allocation.guarantee.emergency_pool
    assert allocation.emergency.sum() <= pool * (1 + ROUNDING)
    assert pool <= host.emergency.fraction * host.total * (1 + ROUNDING)


@given(hosts(min_guests=2), NUMBERS, st.booleans())
def test_whoever_holds_a_grant_has_a_larger_share_or_a_larger_limit_than_without_it(
    host: Host, number: int, has_saved: bool
) -> None:
    """In both modes; but for one that has all already that the others are not promised.

    (Least shares are promised to all.)
    """
    who = mixed(number) % len(host.guests)
    changes = {"demand": 1e6, "ceiling": 1e6, "hold": 0.0, "credit": float(has_saved)}
    host = host.changed(who, is_present=True, **changes)
    claims, is_hit = host.claims(), np.zeros(len(host.guests), dtype=np.bool_)
    without = host.allocated(claims=replace(claims, is_hit=is_hit))
    is_hit[who] = True
    allocation = host.allocated(claims=replace(claims, is_hit=is_hit))
    assert np.array_equal(without.guarantee.amount, allocation.guarantee.amount)
    slack = ROUNDING * host.total
    if allocation.emergency[who] <= slack * 1e3:
        return
    promised = allocation.guarantee.amount[who] + allocation.emergency[who]
    assert allocation.share[who] >= (1 - LEAST_SHARES) * promised - slack
    rises = (allocation.share - without.share, allocation.limit - without.limit)
    assert min(rise[who] for rise in rises) >= -slack
    least = LEAST_SHARES * host.total / max(int((claims.ceiling > 0).sum()), 1)
    promised = np.maximum(without.guarantee.amount, least)
    is_all = not np.delete(without.share > promised + slack, who).any()
    assert is_all or max(rise[who] for rise in rises) > slack


@given(hosts(min_guests=1), st.sampled_from((0.9, 0.5, 0.0)))
def test_a_share_falls_by_no_more_than_its_grant(host: Host, left: float) -> None:
    """And nobody else's by anything, as grants are taken back."""
    claims, allocation = host.claims(), host.allocated()
    amount, weight = allocation.emergency, claims.terms.weight

    def shared(emergency: Floats) -> Floats:
        guaranteed = allocation.guarantee.amount
        return shares(guaranteed, weight, claims.ceiling, host.total, emergency=emergency)

    fallen, slack = shared(amount) - shared(left * amount), ROUNDING * host.total
    assert np.all(fallen <= (1 - left) * amount + slack)
