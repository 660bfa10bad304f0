"""agent.pools: what is guaranteed and held back, in the numbers of docs/laws.md."""

import numpy as np
import pytest
from samples import column

from agent.pools import Guarantee, Prospect, fair_share, guarantee, risk_of
from agent.tenant import Terms

# Ten cores, weights 5, 3 and 2, risk aversion 0.9, 0.6 and 0.2, 5 % for emergencies.
WEIGHT, AVERSION = column(5, 3, 2), column(0.9, 0.6, 0.2)


def terms(*floor: float) -> Terms:
    """Return the terms of a platinum, a gold and a silver tenant with these floors."""
    return Terms(
        floor=column(*floor),
        ceiling=column(10, 10, 10),
        weight=WEIGHT,
        risk_aversion=AVERSION,
        emergency_rank=np.array([0, 1, 2]),
        burst_s=column(300, 120, 60),
    )


def promised(
    floor: tuple[float, ...],
    expected: tuple[float, ...],
    high: tuple[float, ...] | None = None,
    ceiling: tuple[float, ...] = (10, 10, 10),
    forfeited: tuple[float, ...] = (0, 0, 0),
) -> Guarantee:
    """Return the guaranteed parts on ten cores; without `high` demand is certain."""
    return guarantee(
        terms(*floor),
        Prospect(
            column(*expected), column(*(high or expected)), column(*ceiling), column(*forfeited)
        ),
        capacity=10.0,
        emergency_fraction=0.05,
    )


def test_the_worked_example() -> None:
    """floor + (expected - floor) * (1 - risk), at most the fair share: docs/laws.md."""
    found = promised(floor=(2, 1, 0), expected=(4, 3, 2), high=(4, 6, 8))
    assert found.fair == pytest.approx([5, 3, 2])
    assert found.risk == pytest.approx([0.0, 0.4 * 3 / 6, 0.8 * 6 / 8])
    assert found.amount == pytest.approx([2 + 2 * 1.0, 1 + 2 * 0.8, 0 + 2 * 0.4])
    assert found.emergency_pool == pytest.approx(0.5)
    assert not found.are_floors_scaled


def test_a_debt_takes_back_what_was_promised_beyond_the_floor() -> None:
    found = promised(floor=(2, 1, 0), expected=(4, 3, 2), forfeited=(0.5, 1, 0))
    assert found.amount == pytest.approx([2 + 2 * 0.5, 1, 2])


@pytest.mark.parametrize(
    ("expected", "high", "aversion", "risk"),
    [
        pytest.param(4, 4, 0.0, 0.0, id="certain"),
        pytest.param(4, 2, 0.0, 0.0, id="an upper half without width"),
        pytest.param(2, 4, 0.0, 0.5, id="as wide as high"),
        pytest.param(2, 8, 0.0, 0.75, id="wider"),
        pytest.param(2, 8, 0.6, 0.3, id="an aversion takes its part off"),
        pytest.param(2, 8, 1.0, 0.0, id="a full aversion all of it"),
        pytest.param(0, 3, 0.2, 0.8, id="nothing expected, all of it doubt"),
        pytest.param(0, 0, 0.2, 0.8, id="nothing at all"),
    ],
)
def test_risk(expected: float, high: float, aversion: float, risk: float) -> None:
    found = risk_of(column(expected), column(high), column(aversion))
    assert found == pytest.approx([risk])


@pytest.mark.parametrize(
    ("floor", "expected", "amount"),
    [
        pytest.param((2, 1, 0), (0, 0, 0), (2, 1, 0), id="a floor is kept for who wants less"),
        pytest.param((0, 0, 0), (1, 2, 9), (1, 2, 2), id="nobody gets more than its fair share"),
        pytest.param((0, 0, 4), (1, 2, 9), (1, 2, 4), id="or its floor, where that is more"),
        pytest.param((0, 0, 0), (9, 9, 9), (4.75, 2.85, 1.9), id="9.5 cores by weight"),
        pytest.param((0, 0, 9.5), (9, 9, 9), (0, 0, 9.5), id="floors go before shares"),
    ],
)
def test_guaranteed_parts_of_certain_demand(
    floor: tuple[float, ...], expected: tuple[float, ...], amount: tuple[float, ...]
) -> None:
    assert promised(floor, expected).amount == pytest.approx(column(*amount))


def test_the_emergency_pool_is_what_floors_leave_of_it() -> None:
    assert promised((0, 0, 9.8), (0, 0, 0)).emergency_pool == pytest.approx(0.2)


def test_floors_beyond_the_capacity_are_scaled_by_weight_and_reported() -> None:
    """A CPU went offline: 8 + 8 + 1 cores are promised, 10 are there, at 5 : 3 : 2."""
    found = promised((8, 8, 1), (9, 9, 9))
    assert found.are_floors_scaled
    assert found.floor == pytest.approx([9 * 5 / 8, 9 * 3 / 8, 1])
    assert found.amount == pytest.approx(found.floor)
    assert found.emergency_pool == pytest.approx(0.0)


def test_the_floor_of_an_absent_tenant_is_lent() -> None:
    found = promised((6, 0, 0), (9, 9, 9), ceiling=(0, 10, 10))
    assert found.floor == pytest.approx([0, 0, 0])
    assert found.fair == pytest.approx([0, 6, 4])
    assert found.amount == pytest.approx([0, 9.5 * 0.6, 9.5 * 0.4])


def test_without_anyone_present_nothing_is_shared() -> None:
    assert fair_share(WEIGHT, column(0, 0, 0), 10.0).tolist() == [0, 0, 0]
