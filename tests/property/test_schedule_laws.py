"""agent.schedule: when ticks are due, and what they may cost."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import Schedule, Thrift

ticks = st.floats(min_value=0.01, max_value=60)
durations = st.lists(st.floats(min_value=0, max_value=300), max_size=50)


@given(tick_s=ticks, durations=durations)
def test_ticks_keep_their_phase_and_the_missed_ones_are_counted(
    tick_s: float, durations: list[float]
) -> None:
    schedule, now_s = Schedule(100.0, tick_s), 100.0
    for done, duration_s in enumerate(durations, start=1):
        now_s = max(now_s, schedule.due_s) + duration_s
        schedule = schedule.after_tick(now_s)
        # Every period since the start was either ticked or counted as late.
        periods = (schedule.due_s - 100.0) / tick_s
        assert math.isclose(periods, done + schedule.late_ticks, rel_tol=1e-6, abs_tol=1e-6)
        # The next tick is due in the future, less than one period away: never a bunch.
        assert 0 <= schedule.wait_s(now_s) <= tick_s * (1 + 1e-6)


def test_a_tick_that_takes_long_skips_what_it_missed() -> None:
    assert Schedule(10.0, 1.0).after_tick(12.3) == Schedule(13.0, 1.0, late_ticks=2)


def test_a_tick_in_time_is_followed_by_the_next() -> None:
    assert Schedule(10.0, 1.0).after_tick(10.2) == Schedule(11.0, 1.0, late_ticks=0)


@given(tick_s=ticks, durations=durations, every=st.integers(1, 20))
def test_ticks_that_are_left_out_are_not_late_and_keep_the_phase(
    tick_s: float, durations: list[float], every: int
) -> None:
    schedule, now_s = Schedule(100.0, tick_s), 100.0
    for done, duration_s in enumerate(durations, start=1):
        now_s = max(now_s, schedule.due_s) + duration_s
        schedule = schedule.after_tick(now_s, every)
        periods = (schedule.due_s - 100.0) / tick_s
        expected = done * every + schedule.late_ticks
        assert math.isclose(periods, expected, rel_tol=1e-6, abs_tol=1e-6)
        assert 0 <= schedule.wait_s(now_s) <= every * tick_s * (1 + 1e-6)


def test_a_tick_within_those_left_out_is_not_late() -> None:
    assert Schedule(10.0, 1.0).after_tick(12.3, 4) == Schedule(14.0, 1.0, late_ticks=0)
    assert Schedule(10.0, 1.0).after_tick(15.3, 4) == Schedule(16.0, 1.0, late_ticks=2)


@given(
    tick_s=ticks,
    durations=durations,
    every=st.integers(1, 20),
    passed=st.floats(min_value=0, max_value=1),
    other_s=ticks,
)
def test_after_a_reload_the_next_tick_is_less_than_a_tick_away(
    tick_s: float, durations: list[float], every: int, passed: float, other_s: float
) -> None:
    schedule, now_s = Schedule(100.0, tick_s), 100.0
    for duration_s in durations:
        now_s = max(now_s, schedule.due_s) + duration_s
        schedule = schedule.after_tick(now_s, every)
    now_s += passed * schedule.wait_s(now_s)
    under = schedule.under(other_s, now_s)
    assert under.wait_s(now_s) <= min(schedule.wait_s(now_s), other_s) * (1 + 1e-6) + 1e-6
    assert (under.tick_s, under.late_ticks) == (other_s, schedule.late_ticks)
    # It keeps the new tick's phase, and is not late: nothing was due before it.
    periods = (schedule.due_s - under.due_s) / other_s
    assert math.isclose(periods, round(periods), abs_tol=1e-3)
    assert under.due_s >= min(now_s, schedule.due_s) - 1e-6


COSTS = st.lists(st.floats(min_value=0, max_value=100), max_size=60)
BUDGETS = st.sampled_from((0.05, 0.25, 2.0))


def settled(thrift: Thrift) -> Thrift:
    """Return the state once the ticks that are left out of account are over."""
    while thrift.unlike:
        thrift = thrift.after_tick(1e3, 0.0)
    return thrift


def ran(thrift: Thrift, cost_s: float, for_s: float) -> Thrift:
    """Return the state after ticks of one cost, each run when it is due."""
    while for_s > 0:
        for_s -= thrift.period_s
        thrift = thrift.after_tick(cost_s, thrift.period_s)
    return thrift


@given(tick_s=ticks, costs=COSTS, most=BUDGETS, longest=st.sampled_from((1, 60, 10**9)))
def test_whatever_ticks_cost_they_keep_within_the_budget_unless_they_are_as_rare_as_can_be(
    tick_s: float, costs: list[float], most: float, longest: int
) -> None:
    thrift = settled(Thrift(tick_s, most, longest_s=longest * tick_s))
    spent_s = elapsed_s = 0.0
    for cost_s in costs:
        assert spent_s <= most * (elapsed_s + thrift.period_s + 60) * (1 + 1e-9) + 1e-9
        elapsed_s += thrift.period_s
        spent_s += cost_s
        thrift = thrift.after_tick(cost_s, thrift.period_s)
        assert 1 <= thrift.every <= longest
        if thrift.every == longest:
            return


@given(tick_s=ticks, parts=st.lists(st.floats(0, 1), max_size=60), most=BUDGETS)
def test_no_tick_is_left_out_while_each_costs_no_more_than_it_may(
    tick_s: float, parts: list[float], most: float
) -> None:
    thrift = settled(Thrift(tick_s, most, longest_s=600 * tick_s))
    for part in parts:
        thrift = thrift.after_tick(part * most * tick_s, tick_s)
        assert thrift.every == 1


@given(costs=COSTS, needed=st.floats(min_value=0.01, max_value=20), most=BUDGETS)
def test_within_minutes_no_more_are_left_out_than_a_lasting_cost_takes(
    costs: list[float], needed: float, most: float
) -> None:
    """Whatever ticks cost before that: to a fifth, at a second's ticks and a minute's steps."""
    thrift = settled(Thrift(1.0, most, longest_s=60.0))
    for cost_s in costs:
        thrift = thrift.after_tick(cost_s, thrift.period_s)
    debt_s = thrift.ahead_s / most  # which is repaid first
    thrift = ran(thrift, needed * most, 300 + 7 * debt_s)
    assert needed * (1 - 1e-6) <= thrift.every <= max(1.2 * needed + 1, 1)


def test_a_start_is_no_pace_and_a_minute_later_ticks_cost_about_what_they_may() -> None:
    """As with 2,000 tenants: 3 s to make their cgroups and read them first, then 0.55 s."""
    thrift, spent_s, elapsed_s = Thrift(1.0, 0.25, longest_s=60.0), 0.0, 0.0
    for _ in range(2):
        thrift = thrift.after_tick(3.0, 1.0)
        assert thrift.every == 1
    thrift = ran(thrift, 0.55, 60.0)
    while elapsed_s < 60:
        elapsed_s += thrift.period_s
        spent_s += 0.55
        thrift = thrift.after_tick(0.55, thrift.period_s)
    assert 0.16 <= spent_s / elapsed_s <= 0.25


def test_a_reload_keeps_the_pace_unless_it_changes_what_ticks_may_cost() -> None:
    before = ran(settled(Thrift(1.0, 0.25, longest_s=60.0)), 1.0, 120.0)
    assert before.every == 4
    after = before.under(Thrift(1.0, 0.25, longest_s=60.0))
    assert (after.every, after.cost_s) == (before.every, before.cost_s)
    assert after.after_tick(50.0, 4.0).after_tick(50.0, 4.0).every == 4
    changed = Thrift(1.0, 0.5, longest_s=60.0)
    assert before.under(changed) == changed


def test_who_is_at_the_edge_does_not_go_back_and_forth() -> None:
    thrift, paces = settled(Thrift(1.0, 0.25, longest_s=60.0)), []
    for cost_s in (0.26, 0.24, 0.26, 0.22, 0.24, 0.2, 0.24):
        thrift = ran(thrift, cost_s, 120.0)
        paces.append(thrift.every)
    assert paces == [2, 2, 2, 2, 2, 1, 1]
