"""agent.allocation: the steps from a claim to a limit, one by one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from samples import column

from agent.allocation import Mode, crowding_of, opened, pressure_of, shares, surprised
from agent.emergency import Grants

from hosts import EMERGENCY, GOLD, PLATINUM, SILVER, Guest, Host


def certain(amount: float, **terms: object) -> Guest:
    """Return a guest who is known to want `amount` and wants it now."""
    return replace(Guest(low=amount, width=0.0, demand=amount), **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expected", "high", "pressure"),
    [
        pytest.param((4, 5), (4, 5), 0.0, id="certain to fit"),
        pytest.param((6, 5), (6, 5), 1.0, id="certain not to"),
        pytest.param((5, 5), (6, 7), 0.5, id="as likely as not"),
        pytest.param((6, 0), (7.645, 0), 0.5 * math.erfc(4 / math.sqrt(2)), id="4 deviations"),
        pytest.param(
            (4, 4), (5.645, 5.645), 0.5 * math.erfc(2 / math.sqrt(4.4)), id="variance 0.9*2 + 0.1*4"
        ),
        pytest.param((), (), 0.0, id="nobody"),
    ],
)
def test_pressure_on_ten_cores(
    expected: tuple[float, ...], high: tuple[float, ...], pressure: float
) -> None:
    assert pressure_of(column(*expected), column(*high), 10.0) == pytest.approx(pressure)


def test_a_surprise_lifts_the_forecast_and_keeps_its_spread() -> None:
    """Forecast anything up to 1, expected 0.5: 2 is demanded now."""
    claims = Host((Guest(demand=2.0), Guest(demand=0.9)), capacity=10.0).claims()
    expected, grid = surprised(claims)
    assert expected == pytest.approx([2.0, 0.5])
    assert grid[-1] == pytest.approx([2.0 + 1.0 - 0.5, 1.0])
    assert grid[:, 1] == pytest.approx(claims.grid[:, 1])
    assert np.all(grid[:, 0] >= 2.0)


def test_what_the_forecast_has_seen_is_no_surprise() -> None:
    claims = replace(Host((Guest(demand=2.0),), capacity=10.0).claims(), is_foreseen=True)
    expected, grid = surprised(claims)
    assert expected == pytest.approx([0.5])
    assert grid == pytest.approx(claims.grid)


def test_a_debt_costs_nothing_while_there_is_enough_for_all() -> None:
    """Each may need anything from 0 to 20, all as likely; one is in full debt."""
    guests = (Guest(width=20.0, mean=0.2, credit=-1.0), Guest(width=20.0, mean=0.2))
    plenty, shortage = (Host(guests, capacity=capacity).allocated() for capacity in (1000.0, 12.0))
    assert plenty.pressure == pytest.approx(0.0, abs=1e-12)
    assert plenty.limit[0] == pytest.approx(plenty.limit[1])
    assert shortage.pressure > 0.1
    assert shortage.limit[0] < shortage.limit[1] - 1.0


@pytest.mark.parametrize(
    ("guaranteed", "share"),
    [
        pytest.param((0, 0, 0), (20 / 3, 10 / 3, 0), id="by weight, among who is present"),
        pytest.param((4, 2, 0), (20 / 3, 10 / 3, 0), id="whatever is guaranteed of that"),
        pytest.param((4, 4, 0), (6, 4, 0), id="but no less than the guarantee"),
        pytest.param((4, 6, 0), (4, 6, 0), id="where guarantees are all that there is"),
        pytest.param((0, 10, 0), (0.1, 9.9, 0), id="but for an equal part of a fiftieth"),
    ],
)
def test_shares(guaranteed: tuple[float, ...], share: tuple[float, ...]) -> None:
    none = np.zeros(3)
    found = shares(column(*guaranteed), column(2, 1, 7), column(9, 9, 0), 10.0, emergency=none)
    assert found == pytest.approx(share)


@pytest.mark.parametrize(
    ("guaranteed", "share"),
    [
        pytest.param((0, 0, 0), (6, 4, 0), id="by weight, but for the grant"),
        pytest.param((4, 4, 0), (5, 5, 0), id="guarantees fit beside it"),
        pytest.param((1, 8, 0), (1, 9, 0), id="where that is all that there is"),
        pytest.param((0, 9, 0), (0.1, 9.9, 0), id="but for an equal part of a fiftieth"),
    ],
)
def test_a_grant_comes_on_top_of_a_share(
    guaranteed: tuple[float, ...], share: tuple[float, ...]
) -> None:
    """The second is granted a core of ten."""
    granted = column(0, 1, 0)
    found = shares(column(*guaranteed), column(2, 1, 7), column(9, 9, 0), 10.0, emergency=granted)
    assert found == pytest.approx(share)


@pytest.mark.parametrize(
    ("expected", "crowding"), [(5.0, 0.0), (8.0, 0.0), (9.0, 0.5), (10.0, 1.0), (20.0, 1.0)]
)
def test_debts_count_from_four_fifths_of_the_capacity(expected: float, crowding: float) -> None:
    assert crowding_of(column(expected), 10.0) == pytest.approx(crowding)


def test_on_an_idle_host_elastic_limits_stand_at_the_ceiling_whatever_the_debt() -> None:
    host = Host((certain(1.0, ceiling=4.0, credit=-1.0), certain(1.0, ceiling=2.0)), capacity=10.0)
    elastic = replace(host, mode=Mode.ELASTIC).allocated()
    assert elastic.pressure == 0.0
    assert elastic.limit == pytest.approx([4.0, 2.0])


@pytest.mark.parametrize(
    ("credit", "limit"),
    [
        pytest.param(-1.0, 4.0, id="in full debt: all the way"),
        pytest.param(-0.25, 6.0, id="in some debt: half-way"),
        pytest.param(0.0, 8 - 4 / 3, id="without balance: a third of it"),
        pytest.param(0.5, 8.0, id="with half the credit: not at all"),
    ],
)
def test_under_full_pressure_debtors_close_first(credit: float, limit: float) -> None:
    """A ceiling of 8; the other uses 7 of 10 cores: 3 are left, and a tenth of the host."""
    guests = (certain(8.0, ceiling=8.0, credit=credit), certain(7.0, ceiling=7.0))
    host = Host(guests, capacity=10.0)
    claims = host.claims()
    found = opened(column(2.0, 7.0), claims, claims.grid, pressure=1.0, capacity=10.0)
    assert found[0] == pytest.approx(limit)


def test_a_closed_limit_leaves_what_others_need_for_sure_and_no_more() -> None:
    """The other may need anything from 0 to 7 of 10 cores: 5 % of that is sure."""
    guests = (certain(8.0, ceiling=20.0, credit=-1.0), Guest(width=7.0, demand=6.0))
    claims = Host(guests, capacity=10.0).claims()
    found = opened(column(2.0, 7.0), claims, claims.grid, pressure=1.0, capacity=10.0)
    assert found[0] == pytest.approx(11.0 - 0.05 * 7.0)


def test_a_closed_limit_leaves_nothing_for_what_debtors_need() -> None:
    """The other is certain to use 7 of 10 cores, but owes as much itself."""
    guests = (certain(8.0, ceiling=8.0, credit=-1.0), certain(7.0, ceiling=7.0, credit=-0.1))
    claims = Host(guests, capacity=10.0).claims()
    found = opened(column(2.0, 7.0), claims, claims.grid, pressure=1.0, capacity=10.0)
    assert found[0] == pytest.approx(8.0)


def test_a_closed_limit_does_not_fall_below_what_cannot_be_taken_back_now() -> None:
    """Closed it would be 4, as above."""
    guests = (certain(8.0, ceiling=8.0, credit=-1.0, hold=6.0), certain(7.0, ceiling=7.0))
    claims = Host(guests, capacity=10.0).claims()
    found = opened(column(2.0, 7.0), claims, claims.grid, pressure=1.0, capacity=10.0)
    assert found[0] == pytest.approx(6.0)


def test_strict_limits_in_a_shortage() -> None:
    """Ten cores, 9.5 to promise; each is certain to want 9: weights 8, 4 and 1 get their parts.

    What is kept for emergencies is lent meanwhile, where need weighs most.
    """
    host = Host((certain(9.0, qos=PLATINUM), certain(9.0, qos=GOLD), certain(9.0)), capacity=10.0)
    allocation = host.allocated()
    promised = 9.5 * np.array([8, 4, 1]) / 13
    assert allocation.guarantee.amount == pytest.approx(promised)
    assert allocation.limit == pytest.approx(promised + np.array([0.5, 0, 0]))
    assert allocation.emergency == pytest.approx([0, 0, 0])


def test_memory_kept_for_emergencies_is_not_lent() -> None:
    """What is held is not back with the next tick."""
    host = Host((certain(9.0, qos=PLATINUM), certain(9.0)), capacity=10.0)
    claims = replace(host.claims(), is_spent=False)
    assert host.allocated(claims=claims).limit.sum() == pytest.approx(9.5)
    assert host.allocated().limit.sum() == pytest.approx(10.0)


def test_a_pool_that_the_host_itself_needs_is_lent_to_nobody_new() -> None:
    """A grant goes on being taken back: half of its cool-down is left."""
    host = Host((certain(9.0, qos=GOLD, is_hit=True), certain(9.0)), capacity=10.0)
    allocation = host.allocated(is_pool_withheld=True)
    assert allocation.emergency == pytest.approx([0.0, 0.0])
    assert allocation.limit.sum() == pytest.approx(9.5)
    half = EMERGENCY.cooldown_s / 2
    grants = Grants(column(0.0, 0.0), column(half, 0.0), column(0.4, 0.0), column(0.2, 0.0))
    allocation = host.allocated(grants=grants, is_pool_withheld=True)
    assert allocation.emergency == pytest.approx([0.2, 0.0])
    assert allocation.limit.sum() == pytest.approx(9.7)


@pytest.mark.parametrize(
    ("in_use", "amount"),
    [
        pytest.param(9.0, 0.2, id="what is in use goes as the cool-down says"),
        pytest.param(7.7, 0.1, id="what is not in use goes at once"),
        pytest.param(3.0, 0.0, id="all of it"),
        pytest.param(math.nan, 0.2, id="nobody knows how much is in use"),
    ],
)
def test_of_memory_that_the_host_itself_needs_a_grant_leaves_only_what_is_in_use(
    in_use: float, amount: float
) -> None:
    """7.6 is placed: gold's four fifths of 9.5.  Half of the cool-down of 0.4 is left."""
    host = Host((certain(9.0, qos=GOLD, is_hit=True), certain(9.0)), capacity=10.0)
    half = EMERGENCY.cooldown_s / 2
    grants = Grants(column(0.0, 0.0), column(half, 0.0), column(0.4, 0.0), column(0.2, 0.0))
    claims = replace(host.claims(), is_spent=False, in_use=column(in_use, 0.0))
    allocation = host.allocated(claims=claims, grants=grants, is_pool_withheld=True)
    assert allocation.limit[0] - allocation.emergency[0] == pytest.approx(7.6)
    assert allocation.emergency == pytest.approx([amount, 0.0])


def test_who_is_short_for_long_gets_a_grant_for_its_time_and_then_less_and_less_of_it() -> None:
    """The forecast knows all along that it wants 9, of which there is not enough."""
    host = Host((certain(9.0, qos=GOLD, is_hit=True), certain(9.0, qos=SILVER)), capacity=10.0)
    grants, had = Grants.none(2), []
    for _ in range(9):
        grants = grants.elapsed(10.0, EMERGENCY)
        allocation = host.allocated(grants=grants)
        grants = allocation.grants
        had.append(float(allocation.emergency[0]))
    parts = np.array([1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert had == pytest.approx(0.5 * parts)


def test_the_emergency_pool_goes_to_who_is_hit() -> None:
    host = Host((certain(9.0, qos=GOLD, is_hit=True), certain(9.0, qos=SILVER)), capacity=10.0)
    allocation = host.allocated()
    assert allocation.emergency == pytest.approx([0.5, 0.0])
    assert allocation.limit.sum() == pytest.approx(10.0)
    assert allocation.grants.grant_left_s == pytest.approx([30.0, 0.0])


def test_a_hit_that_the_forecast_has_seen_is_no_emergency() -> None:
    """It asks for 9, and the forecast knows: what it gets is placed, and 30 s later it still is."""
    host = Host((certain(9.0, qos=GOLD, is_hit=True), certain(9.0, qos=SILVER)), capacity=10.0)
    allocation = host.allocated(claims=replace(host.claims(), is_foreseen=True))
    assert not allocation.emergency.any()
    assert not allocation.grants.grant_left_s.any()


def test_what_must_be_held_goes_before_the_emergency_pool() -> None:
    """9.9 cannot be taken back now, but the other's guaranteed core comes first."""
    host = Host((certain(1.0, hold=9.9), certain(1.0, floor=0.1)), capacity=10.0)
    allocation = host.allocated()
    assert allocation.limit == pytest.approx([9.0, 1.0])
    assert allocation.guarantee.emergency_pool == pytest.approx(0.0)
