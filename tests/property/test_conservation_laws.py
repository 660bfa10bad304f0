"""Law 1, conservation: no token appears or vanishes, over any sequence of ticks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import Mode
from agent.tokens import Ledger, credit_of, settled
from agent.usage import measured

from hosts import ROUNDING, Host, hosts
from scenes import Scene, played, scenes

rates = st.sampled_from((0.0, 1.0, 1 / 3, 0.1, 1e-6, 1e6))
usages = rates | st.just(float("nan"))
bookings = st.lists(
    st.tuples(
        st.lists(rates, min_size=3, max_size=3).map(np.array),  # guaranteed
        st.lists(usages, min_size=3, max_size=3).map(np.array),
        st.lists(rates, min_size=3, max_size=3).map(np.array),  # burst
        st.sampled_from((1.0, 0.0, 0.1, 300.0)),  # elapsed_s
    ),
    max_size=12,
)


@given(bookings)
def test_tokens_issued_are_spent_banked_or_expired(
    sequence: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]],
) -> None:
    ledger, guaranteed_total, spent_total = Ledger.opened(3), np.zeros(3), np.zeros(3)
    for guaranteed, usage, burst, elapsed_s in sequence:
        ledger = settled(ledger, income=guaranteed, usage=usage, burst=burst, elapsed_s=elapsed_s)
        guaranteed_total += np.where(np.isnan(usage), 0.0, guaranteed * elapsed_s)
        spent_total += np.where(np.isnan(usage), 0.0, usage * elapsed_s)
        slack = ROUNDING * (ledger.issued + ledger.spent)
        assert np.all(
            np.abs(ledger.issued - ledger.spent - ledger.expired - ledger.balance) <= slack
        )
        assert np.allclose(ledger.spent, spent_total, rtol=ROUNDING)
        assert np.all(ledger.issued >= guaranteed_total - slack)
        known = ~np.isnan(usage)
        assert np.all(ledger.balance[known] >= -burst[known])
        assert np.all(ledger.balance[known] <= 2 * burst[known] * (1 + ROUNDING))


@given(bookings)
def test_tokens_expire_only_from_a_full_bank_and_are_given_only_beyond_all_debt(
    sequence: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]],
) -> None:
    ledger = Ledger.opened(3)
    for guaranteed, usage, burst, elapsed_s in sequence:
        before = ledger
        ledger = settled(ledger, income=guaranteed, usage=usage, burst=burst, elapsed_s=elapsed_s)
        has_expired = ledger.expired > before.expired
        income = np.where(np.isnan(usage), 0.0, guaranteed * elapsed_s)
        has_been_given = ledger.issued - before.issued > income * (1 + ROUNDING)
        full = (burst * before.allowance)[has_expired]
        assert np.all(ledger.balance[has_expired] == full)
        is_lent = has_been_given & (ledger.issued - before.issued - income > 1e-6)
        assert np.all(ledger.balance[is_lent] <= -burst[is_lent] + ROUNDING)


@given(bookings)
def test_a_bank_is_never_below_its_class_nor_above_twice_that_and_moves_slowly(
    sequence: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]],
) -> None:
    """Up over an hour, down over ten minutes; without income, or unknown, not at all."""
    ledger = Ledger.opened(3)
    for guaranteed, usage, burst, elapsed_s in sequence:
        before = ledger.allowance
        ledger = settled(ledger, income=guaranteed, usage=usage, burst=burst, elapsed_s=elapsed_s)
        allowance = ledger.allowance
        assert np.all((allowance >= 1.0) & (allowance <= 2.0))
        assert np.all(allowance - before <= (2.0 - before) * elapsed_s / 3600.0 + ROUNDING)
        assert np.all(before - allowance <= before * elapsed_s / 600.0 + ROUNDING)
        is_idle = np.isnan(usage) | (guaranteed * elapsed_s == 0)
        assert np.array_equal(allowance[is_idle], before[is_idle])
        overspends = ~is_idle & (usage >= guaranteed)
        assert np.all(allowance[overspends] <= before[overspends])


@given(bookings, st.sampled_from((0.0, 0.5, 0.9)))
def test_who_uses_less_may_bank_no_less(
    sequence: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]], part: float
) -> None:
    more, less = Ledger.opened(3), Ledger.opened(3)
    for guaranteed, usage, burst, elapsed_s in sequence:
        more = settled(more, income=guaranteed, usage=usage, burst=burst, elapsed_s=elapsed_s)
        less = settled(
            less, income=guaranteed, usage=part * usage, burst=burst, elapsed_s=elapsed_s
        )
        assert np.all(less.allowance >= more.allowance - ROUNDING)


@given(scenes())
def test_ledgers_balance_over_any_sequence_of_ticks(scene: Scene) -> None:
    """Spent is what was used, where it could be known."""
    spendable = [resource for resource in scene.policy.resources if resource.is_spent]
    spent = {resource: np.zeros(len(scene.pairs)) for resource in spendable}
    for tick in played(scene):
        usage = tick.seen.usage
        for resource in spendable:
            ledger = tick.decision.state.ledgers[resource]
            spent[resource] += np.nan_to_num(measured(resource, usage) * usage.elapsed_s)
            assert np.allclose(ledger.spent, spent[resource], rtol=ROUNDING)
            left = ledger.issued - ledger.spent - ledger.expired - ledger.balance
            assert np.all(np.abs(left) <= ROUNDING * (ledger.issued + ledger.spent))


@given(hosts(modes=(Mode.STRICT,)))
def test_held_lent_and_free_are_the_capacity(host: Host) -> None:
    """What is held, not spent: guaranteed is held, the other pools are lent, and some is free."""
    allocation = host.allocated()
    lent = allocation.opportunistic + allocation.emergency
    free = host.total - allocation.limit.sum()
    assert free >= -ROUNDING * host.total
    total = allocation.guarantee.amount.sum() + lent.sum() + free
    assert np.isclose(total, host.total, rtol=ROUNDING)


balances = rates | rates.map(lambda rate: -rate)
bursts = st.sampled_from((0.0, 1.0, 10.0))


@given(st.lists(st.tuples(balances, bursts, rates), max_size=30))
def test_credit_has_the_sign_of_the_balance_and_grows_with_it_up_to_one(
    tenants: list[tuple[float, float, float]],
) -> None:
    balance, burst, expected = np.array(tenants).reshape(-1, 3).T
    credit = credit_of(balance, burst=burst, expected=expected)
    assert np.all(np.abs(credit) <= 1)
    assert np.all(np.sign(credit) == np.where(burst > 0, np.sign(balance), 0))
    richer = credit_of(balance + 0.5, burst=burst, expected=expected)
    assert np.all(richer >= credit)
    assert np.all(credit_of(balance, burst=2 * burst, expected=expected) >= credit)
