"""agent.emergency: who is lent what of a pool of one core, and for how long."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from samples import MIB, column

from agent.emergency import EmergencySettings, Grants, Need, granted, host_need
from agent.tenant import Kind
from enforce.columns import Vitals

SETTINGS = EmergencySettings(fraction=0.05, grant_s=30.0, cooldown_s=60.0)
FROM_ONE_CORE: Any = {"pool": 1.0, "settings": SETTINGS}


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
    found = granted(Grants.none(3), asked, pool=1.0, settings=SETTINGS).amount
    assert found == pytest.approx(column(*amount))


def test_a_grant_lasts_its_time_and_then_goes_evenly_over_its_cool_down() -> None:
    """Of somebody who is always short: all for 30 s of every 90 s, then a sixth less each 10 s."""
    grants, had = Grants.none(1), []
    for _ in range(18):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants, _ = granted(grants, need(5.0), pool=1.2, settings=SETTINGS)
        had.append(float(amount[0]))
    assert had == pytest.approx([*[1.2] * 3, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2] * 2)


def test_a_grant_goes_on_where_it_keeps_its_tenant_from_being_hit() -> None:
    _, grants, _ = granted(Grants.none(1), need(0.5), pool=1.0, settings=SETTINGS)
    grants = grants.elapsed(10.0, SETTINGS)
    amount, grants, _ = granted(grants, need(0.5, hit=(0,)), pool=1.0, settings=SETTINGS)
    assert amount == pytest.approx([0.5])
    assert grants.grant_left_s == pytest.approx([20.0])


def test_a_grant_that_a_better_rank_needs_shrinks_from_what_it_was_and_that_gets_the_rest() -> None:
    """Rank 2 holds all of one core; from the second tick on rank 0 is short of as much."""
    grants, had = Grants.none(3), []
    for asked in (need(0, 0, 1), *[need(1, 0, 1)] * 4):
        amount, grants, by = granted(grants.elapsed(10.0, SETTINGS), asked, **FROM_ONE_CORE)
        had.append((*amount[[0, 2]].tolist(), int(by[2])))
    left = [1.0, 5 / 6, 4 / 6, 3 / 6]
    assert np.array(had) == pytest.approx(
        np.array([(0, 1, -1), (0, 1, 0), *[(1 - part, part, -1) for part in left[1:]]])
    )


def test_what_is_free_goes_to_a_fresh_emergency_before_a_cool_down_gets_more_than_it_held() -> None:
    """Rank 2 had 0.6, and has 0.2 less each 20 s; meanwhile it wants little, once, and more again.

    Rank 0 is short of 1, and has at once what rank 2 does not.
    """
    _, grants, _ = granted(Grants.none(3), need(0, 0, 0.6), **FROM_ONE_CORE)
    grants, had = grants.elapsed(20.0, SETTINGS), []
    for asked in (need(0, 0, 0.6), need(1, 0, 0.6), need(0.7, 0, 0.1), need(1, 0, 0.6)):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants, _ = granted(grants, asked, **FROM_ONE_CORE)
        had.append(amount[[0, 2]].tolist())
    assert np.array(had) == pytest.approx(np.array([[0, 0.6], [0.5, 0.5], [0.7, 0.1], [1.0, 0.0]]))


def test_who_is_not_short_as_its_time_ends_still_has_a_cool_down_from_the_most_that_it_had() -> (
    None
):
    grants, had = Grants.none(1), []
    for short in (0.4, 1.0, 0.0, 1.0, 1.0):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants, _ = granted(grants, need(short), **FROM_ONE_CORE)
        had.append(float(amount[0]))
    assert had == pytest.approx([0.4, 1.0, 0.0, 1.0, 5 / 6])


def test_among_equals_who_came_first_keeps_its_grant() -> None:
    amount, grants, _ = granted(Grants.none(2), need(0.8, 0, rank=(1, 1)), **FROM_ONE_CORE)
    grants = grants.elapsed(10.0, SETTINGS)
    amount, _, by = granted(grants, need(0.8, 0.8, rank=(1, 1)), **FROM_ONE_CORE)
    assert amount == pytest.approx([0.8, 0.2])
    assert by.tolist() == [-1, -1]


def test_without_a_cool_down_a_grant_is_gone_with_its_time() -> None:
    at_once = replace(SETTINGS, cooldown_s=0.0)
    _, grants, _ = granted(Grants.none(1), need(1.0), pool=1.0, settings=at_once)
    grants = grants.elapsed(30.0, at_once)
    amount, *_ = granted(grants, need(1.0, hit=(0,)), pool=1.0, settings=at_once)
    assert amount == pytest.approx([0.0])


def test_grants_follow_their_tenants() -> None:
    moved = Grants(column(1, 2), column(3, 4), column(5, 6), column(7, 8)).rearranged(
        np.array([1, -1])
    )
    assert moved.grant_left_s.tolist() == [2, 0]
    assert moved.cooldown_left_s.tolist() == [4, 0]
    assert moved.lent.tolist() == [6, 0]
    assert moved.held.tolist() == [8, 0]


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
    amount, grants, _ = granted(Grants.none(1), need(0.6), pool=1.0, settings=SETTINGS)
    had = [float(amount[0])]
    for _ in range(7):
        grants = grants.elapsed(10.0, SETTINGS)
        amount, grants, _ = granted(
            grants, need(0.6), pool=1.0, settings=SETTINGS, is_withheld=True
        )
        had.append(float(amount[0]))
    assert had == pytest.approx([0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


def test_the_grant_of_one_that_falls_into_debt_is_taken_back_evenly_too() -> None:
    _, grants, _ = granted(Grants.none(1), need(0.6, rank=(1,)), pool=1.0, settings=SETTINGS)
    had = []
    for _ in range(3):
        grants = grants.elapsed(15.0, SETTINGS)
        in_debt = need(0.6, debt=(1,), rank=(1,))
        amount, grants, _ = granted(grants, in_debt, pool=1.0, settings=SETTINGS)
        had.append(float(amount[0]))
    assert had == pytest.approx([0.6, 0.45, 0.3])
