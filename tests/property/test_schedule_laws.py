import math

from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import Schedule

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
