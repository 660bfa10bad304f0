"""The emergency pool: lent by rank, for a time, and to nobody in debt but the first rank."""

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
    shortfall, is_hit, is_in_debt, rank, weight = columns
    return Need(shortfall, is_hit > 0, is_in_debt > 0, rank.astype(np.int64), weight)


needs = st.lists(NUMBERS, min_size=TENANTS, max_size=TENANTS).map(_need)


@given(needs, st.sampled_from((0.5, 1.0, 0.0, 50.0)))
def test_the_pool_is_lent_by_rank_to_those_who_may_have_it(need: Need, pool: float) -> None:
    amount, _ = granted(Grants.none(TENANTS), need, pool=pool, settings=SETTINGS)
    may_ask = need.is_hit & (~need.is_in_debt | (need.rank == 0))
    asked = np.where(may_ask, np.maximum(need.shortfall, 0.0), 0.0)
    assert np.all((amount >= 0) & (amount <= asked * (1 + ROUNDING)))
    assert np.isclose(amount.sum(), min(pool, asked.sum()), rtol=ROUNDING)
    for tenant in np.flatnonzero(amount > 0):
        ahead = need.rank < need.rank[tenant]
        assert np.allclose(amount[ahead], asked[ahead], rtol=ROUNDING)


@given(st.lists(st.tuples(needs, st.sampled_from((1.0, 5.0, 10.0))), max_size=40))
def test_no_grant_outlasts_its_time_or_follows_too_soon(
    ticks: list[tuple[Need, float]],
) -> None:
    grants, now_s = Grants.none(TENANTS), 0.0
    since, until = np.full(TENANTS, np.nan), np.full(TENANTS, -np.inf)
    for need, elapsed_s in ticks:
        now_s += elapsed_s
        grants = grants.elapsed(elapsed_s, SETTINGS)
        amount, grants = granted(grants, need, pool=1.0, settings=SETTINGS)
        for tenant in np.flatnonzero(amount > 0):
            if np.isnan(since[tenant]) or now_s - since[tenant] >= SETTINGS.grant_s:
                assert now_s >= until[tenant] + SETTINGS.cooldown_s
                since[tenant] = now_s
                until[tenant] = now_s + SETTINGS.grant_s
            assert now_s < until[tenant]


@given(hosts())
def test_emergency_grants_come_out_of_the_pool_alone(host: Host) -> None:
    allocation = host.allocated()
    pool = allocation.guarantee.emergency_pool
    assert allocation.emergency.sum() <= pool * (1 + ROUNDING)
    assert pool <= host.emergency.fraction * host.total * (1 + ROUNDING)
