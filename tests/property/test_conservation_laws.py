"""Law 1, conservation: no token appears or vanishes, over any sequence of ticks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import Scenario, tenants

from agent.backtest.engine import RuleForecaster
from agent.backtest.host import Evidence, SimulatedHost
from agent.emergency import EmergencySettings
from agent.ports import Kernel
from agent.tenant import Entitlement, Floats, Resource, Roster, Tenant
from agent.tick import ControlLoop, LoopSettings
from agent.tokens import Ledger, credit_of, settled
from agent.usage import measured

from hosts import GIB, LADDER, ROUNDING
from scenes import Scene, played, policy_of, scenes

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


DEAD_BAND = 0.02  # of what is in force, as docs/laws.md has it
wants = st.lists(st.sampled_from((0.1, 0.9, 1.2, 2.4, 4.0)), min_size=2, max_size=2)


@given(st.lists(st.tuples(st.sampled_from((1.0, 20.0, 60.0)), wants), min_size=1, max_size=25))
def test_what_the_kernel_counted_and_what_is_left_of_it_is_what_came_in(
    story: list[tuple[float, list[float]]],
) -> None:
    """Spent by the counters + change of balance + expired = share x time, all but the last by hand.

    But for what is lent beyond the deepest debt, and nothing expires but from a full bank.
    """
    scenario = Scenario(tenants("one", "two", floor=1.0), step_s=60.0)
    before, opening = scenario.tick(), scenario.loop.ledgers[Resource.CPU]
    share_cores = 3.6 / 2  # of four cores, a tenth of which is the system's
    deepest = 60.0 * share_cores
    for elapsed_s, wanted in story:
        scenario.host.wants_cores[:] = wanted
        after = scenario.tick(elapsed_s=elapsed_s)
        ledger = scenario.loop.ledgers[Resource.CPU]
        spent = (after.sample.cpu_usage_us - before.sample.cpu_usage_us) / 1e6
        expired = ledger.expired - opening.expired
        left = share_cores * elapsed_s - spent - (ledger.balance - opening.balance) - expired
        is_deepest = ledger.balance <= -deepest * (1 - ROUNDING)
        assert left[~is_deepest] == pytest.approx(0.0, abs=1e-6)
        assert np.all(left <= 1e-6)
        is_full = ledger.balance >= before.resources[Resource.CPU].burst * (1 - ROUNDING)
        assert np.all(expired[~is_full] == 0)
        before, opening = after, ledger


@st.composite
def holders(draw: st.DrawFn) -> tuple[Roster, list[Floats]]:
    """Draw one to four tenants of memory, and what each wants to hold, tick by tick."""
    count = draw(st.integers(1, 4))
    floors, ceilings = st.sampled_from((0.0, GIB / 4)), st.sampled_from((np.inf, GIB, 3 * GIB))
    entitled = [{Resource.MEMORY: Entitlement(draw(floors), draw(ceilings))} for _ in range(count)]
    classes = [draw(st.sampled_from(LADDER)) for _ in range(count)]
    who = Roster.of(
        Tenant(f"t{place}", qos, given)
        for place, (qos, given) in enumerate(zip(classes, entitled, strict=True))
    )
    wanted = st.sampled_from((0.1 * GIB, 0.5 * GIB, GIB, 2 * GIB, 5 * GIB))
    rows = draw(st.lists(st.lists(wanted, min_size=count, max_size=count), min_size=2, max_size=8))
    return who, [np.array(row) for row in rows]


@given(holders())
def test_held_lent_and_free_are_the_capacity(story: tuple[Roster, list[Floats]]) -> None:
    """What cgroups hold beyond guarantees is lent, by a pool; what is kept aside is free.

    Limits may be a dead-band above what was decided; the first tick, that has seen no time pass
    yet, takes nothing back.
    """
    who, rows = story
    emergency = EmergencySettings(grant_s=150.0, cooldown_s=150.0)
    policy = policy_of(4.0, 4 * GIB, emergency=emergency)
    capacity, total = policy.capacity[Resource.MEMORY], policy.total[Resource.MEMORY]
    ceiling = np.minimum(who.terms[Resource.MEMORY].ceiling, total)
    evidence = Evidence(is_exact=False)
    host = SimulatedHost(len(who), resource=Resource.MEMORY, capacity=capacity, evidence=evidence)
    settings = LoopSettings(tick_s=60.0, step_s=300.0, is_observing=False)
    kernel, forecaster = Kernel(host, host), RuleForecaster()
    loop = ControlLoop(who, policy, settings, kernel=kernel, forecaster=forecaster, ledgers={})
    loop.tick(0.0, late_ticks=0)
    for number, wanted in enumerate(rows, 1):
        part = loop.tick(60.0 * number, late_ticks=0).resources[Resource.MEMORY]
        host.run(wanted, 60.0)
        held = host.read(60.0 * number).memory_current_bytes
        lendable = part.opportunistic + part.emergency
        dead_band = DEAD_BAND * host.limit() + 1.0
        assert np.all(np.maximum(held - part.guaranteed, 0.0) <= lendable + dead_band)
        kept = part.emergency_pool - float(part.emergency.sum())
        assert capacity - float(held.sum()) >= kept - float(dead_band.sum())
        handed_out = float((part.guaranteed + lendable).sum()) + kept
        assert handed_out <= capacity * (1 + ROUNDING)
        if handed_out < capacity * (1 - ROUNDING):
            assert np.all(part.limit[part.limit > 0] >= ceiling[part.limit > 0] * (1 - ROUNDING))


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
