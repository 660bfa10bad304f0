"""agent.emergency: who is lent what of a pool of one core, and for how long."""

import numpy as np
import pytest
from samples import column

from agent.emergency import EmergencySettings, Grants, Need, granted

SETTINGS = EmergencySettings(fraction=0.05, grant_s=30.0, cooldown_s=60.0)


def need(*shortfall: float, **given: tuple[float, ...]) -> Need:
    """Return the need of tenants of ranks 0, 1 and 2 who are hit and in no debt."""
    size = len(shortfall)
    return Need(
        shortfall=column(*shortfall),
        is_hit=np.array(given.get("hit", (1,) * size), dtype=np.bool_),
        is_in_debt=np.array(given.get("debt", (0,) * size), dtype=np.bool_),
        rank=np.array(given.get("rank", range(size)), dtype=np.int64),
        weight=column(*given.get("weight", (1.0,) * size)),
    )


@pytest.mark.parametrize(
    ("asked", "amount"),
    [
        pytest.param(need(0.6, 0.8, 0.5), (0.6, 0.4, 0), id="in order of rank"),
        pytest.param(need(0.2, 0.3, 0.1), (0.2, 0.3, 0.1), id="no more than is short"),
        pytest.param(need(-2, 0.8, 0.5), (0, 0.8, 0.2), id="one with room to spare asks nothing"),
        pytest.param(need(0.6, 0.8, 0.5, hit=(0, 1, 1)), (0, 0.8, 0.2), id="only who is hit"),
        pytest.param(need(0.1, 0.8, 0.5, debt=(0, 1, 0)), (0.1, 0, 0.5), id="no debtor"),
        pytest.param(need(0.6, 0.8, 0.5, debt=(1, 0, 0)), (0.6, 0.4, 0), id="but the first rank"),
        pytest.param(
            need(1, 1, 9, rank=(1, 1, 2), weight=(3, 1, 9)), (0.75, 0.25, 0), id="then by weight"
        ),
    ],
)
def test_one_core_is_lent(asked: Need, amount: tuple[float, ...]) -> None:
    found, _ = granted(Grants.none(3), asked, pool=1.0, settings=SETTINGS)
    assert found == pytest.approx(column(*amount))


def test_a_grant_lasts_its_time_and_then_waits_its_cool_down() -> None:
    """Of somebody who is always short: 30 s of every 90 s."""
    grants, had = Grants.none(1), []
    for _ in range(18):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants = granted(grants, need(5.0), pool=1.0, settings=SETTINGS)
        had.append(bool(amount[0]))
    assert had == ([True] * 3 + [False] * 6) * 2


def test_a_grant_goes_on_where_it_keeps_its_tenant_from_being_hit() -> None:
    _, grants = granted(Grants.none(1), need(0.5), pool=1.0, settings=SETTINGS)
    grants = grants.elapsed(10.0, SETTINGS)
    amount, grants = granted(grants, need(0.5, hit=(0,)), pool=1.0, settings=SETTINGS)
    assert amount == pytest.approx([0.5])
    assert grants.grant_left_s == pytest.approx([20.0])


def test_grants_follow_their_tenants() -> None:
    moved = Grants(column(1, 2), column(3, 4)).rearranged(np.array([1, -1]))
    assert moved.grant_left_s.tolist() == [2, 0]
    assert moved.cooldown_left_s.tolist() == [4, 0]
