"""agent.emergency: who is lent what of a pool of one core, and for how long."""

import numpy as np
import pytest
from samples import MIB, column

from agent.emergency import EmergencySettings, Grants, Need, granted, host_need
from agent.tenant import Kind
from enforce.columns import Vitals

SETTINGS = EmergencySettings(fraction=0.05, grant_s=30.0, cooldown_s=60.0)


def need(*shortfall: float, **given: tuple[float, ...]) -> Need:
    """Return the need of tenants of ranks 0, 1 and 2 who are hit and in no debt."""
    size = len(shortfall)
    return Need(
        shortfall=column(*shortfall),
        is_hit=np.array(given.get("hit", (1,) * size), dtype=np.bool_),
        is_enforced=np.array(given.get("enforced", (1,) * size), dtype=np.bool_),
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
        pytest.param(need(0.6, 0.8, 0.5, enforced=(0, 1, 1)), (0, 0.8, 0.2), id="nobody observed"),
        pytest.param(
            need(1, 1, 9, rank=(1, 1, 2), weight=(3, 1, 9)), (0.75, 0.25, 0), id="then by weight"
        ),
    ],
)
def test_one_core_is_lent(asked: Need, amount: tuple[float, ...]) -> None:
    found, _ = granted(Grants.none(3), asked, pool=1.0, settings=SETTINGS)
    assert found == pytest.approx(column(*amount))


def test_a_grant_lasts_its_time_and_then_goes_evenly_over_its_cool_down() -> None:
    """Of somebody who is always short: all for 30 s of every 90 s, then a sixth less each 10 s."""
    grants, had = Grants.none(1), []
    for _ in range(18):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants = granted(grants, need(5.0), pool=1.2, settings=SETTINGS)
        had.append(float(amount[0]))
    assert had == pytest.approx([*[1.2] * 3, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2] * 2)


def test_a_grant_goes_on_where_it_keeps_its_tenant_from_being_hit() -> None:
    _, grants = granted(Grants.none(1), need(0.5), pool=1.0, settings=SETTINGS)
    grants = grants.elapsed(10.0, SETTINGS)
    amount, grants = granted(grants, need(0.5, hit=(0,)), pool=1.0, settings=SETTINGS)
    assert amount == pytest.approx([0.5])
    assert grants.grant_left_s == pytest.approx([20.0])


def test_grants_follow_their_tenants() -> None:
    moved = Grants(column(1, 2), column(3, 4), column(5, 6)).rearranged(np.array([1, -1]))
    assert moved.grant_left_s.tolist() == [2, 0]
    assert moved.cooldown_left_s.tolist() == [4, 0]
    assert moved.lent.tolist() == [6, 0]


@pytest.mark.parametrize(
    ("kind", "vitals", "reason"),
    [
        (Kind.MEMORY, Vitals(2048 * MIB, 100 * MIB), "4.9 % of the host's memory is available"),
        (Kind.MEMORY, Vitals(2048 * MIB, 103 * MIB), ""),
        (Kind.MEMORY, Vitals(memory_full_pct=20.5), "all wait for memory for 20.5 % of the time"),
        (Kind.CPU, Vitals(cpu_some_pct=95.0), "some task waits for a CPU for 95.0 % of the time"),
        (Kind.DISK_WRITE, Vitals(io_full_pct=61.0), "all wait for a disk for 61.0 % of the time"),
        (Kind.CPU, Vitals(2048 * MIB, 1 * MIB, memory_full_pct=99.0), ""),
        (Kind.NET_OUT, Vitals(2048 * MIB, 1 * MIB, 99.0, 99.0, 99.0), ""),
        (Kind.MEMORY, Vitals(), ""),  # what is unknown is no reason
    ],
)
def test_the_host_needs_what_is_held_back_where_it_is_in_danger(
    kind: Kind, vitals: Vitals, reason: str
) -> None:
    found = host_need(kind, vitals, SETTINGS)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_while_the_pool_is_withheld_nobody_new_is_lent_and_grants_are_taken_back_evenly() -> None:
    amount, grants = granted(Grants.none(1), need(0.6), pool=1.0, settings=SETTINGS)
    had = [float(amount[0])]
    for _ in range(7):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants = granted(grants, need(0.6), pool=1.0, settings=SETTINGS, is_withheld=True)
        had.append(float(amount[0]))
    assert had == pytest.approx([0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_the_grant_of_one_that_falls_into_debt_is_taken_back_evenly_too() -> None:
    _, grants = granted(Grants.none(1), need(0.6, rank=(1,)), pool=1.0, settings=SETTINGS)
    had = []
    for _ in range(3):
        grants = grants.elapsed(15.0, SETTINGS)
        in_debt = need(0.6, debt=(1,), rank=(1,))
        amount, grants = granted(grants, in_debt, pool=1.0, settings=SETTINGS)
        had.append(float(amount[0]))
    assert had == pytest.approx([0.6, 0.45, 0.3])
