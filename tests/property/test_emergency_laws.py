"""The emergency pool: lent by rank, for a time, and to nobody in debt but the first rank."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.emergency import EmergencySettings, Grants, Need, granted

from hosts import NUMBERS, ROUNDING, Host, hosts, mixed

TENANTS = 4
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


needs = st.lists(NUMBERS, min_size=TENANTS, max_size=TENANTS).map(_need)


@given(needs, st.sampled_from((0.5, 1.0, 0.0, 50.0)))
def test_the_pool_is_lent_by_rank_to_those_who_may_have_it(need: Need, pool: float) -> None:
    amount, _ = granted(Grants.none(TENANTS), need, pool=pool, settings=SETTINGS)
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
    """What goes on after its time is a part, smaller by the second, of what it ended with."""
    grants, now_s = Grants.none(TENANTS), 0.0
    since, ended_with = np.full(TENANTS, -np.inf), np.zeros(TENANTS)
    until, held = np.full(TENANTS, -np.inf), np.zeros(TENANTS, dtype=np.bool_)
    longest_s = SETTINGS.grant_s + SETTINGS.cooldown_s
    for need, elapsed_s, is_withheld in ticks:
        now_s += elapsed_s
        grants = grants.elapsed(elapsed_s, SETTINGS)
        had_grant = grants.grant_left_s > 0
        until[held & ~had_grant] = now_s
        amount, grants = granted(grants, need, pool=1.0, settings=SETTINGS, is_withheld=is_withheld)
        is_new = (grants.grant_left_s > 0) & ~had_grant
        assert np.all(amount[is_new] > 0)
        assert np.all(now_s - until[is_new] >= SETTINGS.cooldown_s)
        since[is_new] = now_s
        has_grant = held = grants.grant_left_s > 0
        until[had_grant & ~has_grant] = now_s
        ended_with = np.where(has_grant, amount, ended_with)
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
        amount, grants = granted(grants, need, pool=1.0, settings=SETTINGS, is_withheld=is_withheld)
        may_not = (need.is_in_debt & (need.rank > 0)) | is_withheld
        assert np.all(grants.grant_left_s[may_not] == 0)
        assert np.all(amount[may_not] <= grants.lent[may_not])
        assert amount.sum() <= 1.0 + ROUNDING


@given(stories)
def test_an_ended_grant_is_never_taken_back_all_at_once(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """Whoever else asks: who is as short as ever loses no more than the seconds' even part."""
    grants, before = Grants.none(TENANTS), np.zeros(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        grants = grants.elapsed(elapsed_s, SETTINGS)
        always_short = replace(need, shortfall=np.full(TENANTS, 5.0))
        amount, grants = granted(
            grants, always_short, pool=1.0, settings=SETTINGS, is_withheld=is_withheld
        )
        is_cooling = (grants.cooldown_left_s > 0) & need.is_enforced
        most = grants.lent * elapsed_s / SETTINGS.cooldown_s
        assert np.all((before - amount)[is_cooling] <= most[is_cooling] + ROUNDING)
        before = amount


@given(stories)
def test_who_is_only_observed_holds_no_grant_and_takes_none_from_others(
    ticks: list[tuple[Need, float, bool]],
) -> None:
    """Also one whose grant began while it was enforced: the others fare as if it asked nothing."""
    grants = Grants.none(TENANTS)
    for need, elapsed_s, is_withheld in ticks:
        grants = grants.elapsed(elapsed_s, SETTINGS)
        asking = [need, replace(need, shortfall=np.where(need.is_enforced, need.shortfall, 0.0))]
        (amount, after), (without, _) = (
            granted(grants, one, pool=1.0, settings=SETTINGS, is_withheld=is_withheld)
            for one in asking
        )
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
