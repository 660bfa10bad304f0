"""agent.tokens: one tenant's account, booked by hand."""

import math

import numpy as np
import pytest
from samples import NAN, column

from agent.tokens import Ledger, credit_of, priority, settled


@pytest.mark.parametrize(
    ("guaranteed", "used", "balance", "issued", "spent", "expired"),
    [
        pytest.param(2, 1, 10, 20, 10, 0, id="what is left is banked"),
        pytest.param(2, 0.5, 12, 20, 5, 3, id="up to the burst: the rest expires"),
        pytest.param(1, 2, -10, 10, 20, 0, id="more is drawn, into debt"),
        pytest.param(1, 4, -12, 28, 40, 0, id="beyond all debt it costs nothing"),
        pytest.param(2, NAN, 0, 0, 0, 0, id="unknowable: nothing is booked"),
        pytest.param(2, 2, 0, 20, 20, 0, id="as much as guaranteed"),
    ],
)
def test_ten_seconds_with_a_burst_of_twelve(
    guaranteed: float, used: float, balance: float, issued: float, spent: float, expired: float
) -> None:
    ledger = settled(
        Ledger.opened(1),
        income=column(guaranteed),
        usage=column(used),
        burst=column(12),
        elapsed_s=10.0,
    )
    booked = [ledger.balance, ledger.issued, ledger.spent, ledger.expired]
    assert np.concatenate(booked) == pytest.approx([balance, issued, spent, expired])


def test_a_bank_shrinks_with_its_burst_and_the_rest_expires() -> None:
    full = Ledger(column(12), column(12), column(0), column(0), column(0))
    ledger = settled(full, income=column(1), usage=column(1), burst=column(5), elapsed_s=1.0)
    assert (ledger.balance[0], ledger.expired[0]) == pytest.approx((5, 7))


def test_who_leaves_tokens_for_an_hour_may_bank_more_and_loses_that_sooner() -> None:
    """All of it: 1 + (1 - 1/e) after an hour.  Overspent by as much as comes in: 10 minutes."""
    one, sixty = column(1), column(60)
    ledger, hour = Ledger.opened(1), 1 - 1 / np.e
    for _ in range(60):
        ledger = settled(ledger, income=one, usage=column(0), burst=sixty, elapsed_s=60.0)
    assert ledger.allowance == pytest.approx([1 + hour])
    assert ledger.balance == pytest.approx([60 * (1 + hour)], rel=0.01)
    for _ in range(5):
        ledger = settled(ledger, income=one, usage=column(2), burst=sixty, elapsed_s=60.0)
    half = np.exp(-0.5)
    assert ledger.allowance == pytest.approx([1 + max(hour * half - (1 - half), 0.0)])


@pytest.mark.parametrize(
    ("balance", "burst", "expected_cores", "credit"),
    [
        pytest.param(60, 300, 1.0, 1.0, id="pays for a step of what is expected"),
        pytest.param(30, 300, 1.0, 0.5, id="pays for half of it"),
        pytest.param(30, 30, 1.0, 0.5, id="however full that makes it"),
        pytest.param(30, 30, 0.25, 1.0, id="pays for longer than a step"),
        pytest.param(1, 30, 0.0, 1.0, id="nothing is expected"),
        pytest.param(-15, 30, 1.0, -0.5, id="half as deep in debt as can be"),
        pytest.param(-90, 30, 1.0, -1.0, id="and no deeper"),
        pytest.param(0, 0, 1.0, 0.0, id="held, not spent"),
    ],
)
def test_credit(balance: float, burst: float, expected_cores: float, credit: float) -> None:
    worth = credit_of(column(balance), burst=column(burst), expected=column(expected_cores))
    assert worth == pytest.approx([credit])


def test_newcomers_open_at_zero() -> None:
    ledger = Ledger(column(1), column(2), column(3), column(4), column(0.5)).rearranged(
        np.array([-1, 0])
    )
    assert ledger.balance.tolist() == [0, 1]
    assert ledger.expired.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("credit", "factor"), [(1, 2), (0.5, math.sqrt(2)), (0, 1), (-0.5, 0.5), (-1, 0.25)]
)
def test_balance_buys_priority(credit: float, factor: float) -> None:
    assert priority(column(credit)) == pytest.approx([factor])
