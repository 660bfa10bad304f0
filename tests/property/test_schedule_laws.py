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


COSTS = st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=4)


@given(
    tick_s=ticks, costs=COSTS, most=st.sampled_from((0.05, 0.25, 2.0)), longest=st.integers(1, 600)
)
def test_ticks_cost_no_more_than_they_may_unless_they_are_as_rare_as_can_be(
    tick_s: float, costs: list[float], most: float, longest: int
) -> None:
    thrift = Thrift(tick_s, most, longest_s=longest * tick_s)
    for cost_s in costs:
        before = thrift.every
        for _ in range(30):
            assert thrift.every == before
            thrift = thrift.after_tick(cost_s)
        needed = cost_s / (most * tick_s)
        assert 1 <= thrift.every <= longest
        assert thrift.every >= min(needed, longest) * (1 - 1e-9)
        # And no more are left out than it takes, to a fifth.
        assert thrift.every <= max(1.2 * needed * (1 + 1e-9) + 1, 1)


def test_who_is_at_the_edge_does_not_go_back_and_forth() -> None:
    thrift, paces = Thrift(1.0, 0.25, longest_s=60.0), []
    for cost_s in (0.26, 0.24, 0.26, 0.22, 0.24, 0.2, 0.24):
        for _ in range(30):
            thrift = thrift.after_tick(cost_s)
        paces.append(thrift.every)
    assert paces == [2, 2, 2, 2, 2, 1, 1]
