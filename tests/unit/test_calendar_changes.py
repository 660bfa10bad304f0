"""What a reload, newcomers, quiet days and failures make of known events."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from calendars import EPOCH_S, HOUR_S, MINUTE_S, Clock, calendar_of, once, plan_of
from loops import tenants
from tenants import wait_until

from agent.calendar import Calendar
from agent.event import EventSource, Expansion
from agent.expanding import expanded
from agent.learned_store import LearnedStore
from agent.tenant import BASIC, Roster
from forecast.fallback import fallback_profile
from forecast.profile import Profile, Source

SERIES = 4  # two tenants of cpu and memory


def roster() -> Roster:
    return tenants("a", "b", floor=0.0)


def profile(step: int = 0, series: int = SERIES) -> Profile:
    """Return what a model says that has seen nothing but ones."""
    ruled = fallback_profile(np.ones((24, series)), step=step)
    return replace(ruled, source=np.full(series, Source.LIVE, dtype=np.uint8))


def minutes(calendar: Calendar, clock: Clock, cpu: Sequence[float], since: int = 0) -> list[float]:
    """Return how many times the first tenant's cpu is raised in each minute of this demand."""
    raised = []
    for minute, value in enumerate(cpu, start=since):
        clock.now_s = EPOCH_S + minute * MINUTE_S
        after = calendar.adjusted(profile(minute), 1000.0 + minute * MINUTE_S)
        raised.append(float(after.expected[0]))
        calendar.learn(minute + 1, np.full(SERIES, value), 1000.0 + minute * MINUTE_S)
    return raised


def test_until_the_crowd_comes_the_profile_stays_raised(tmp_path: Path) -> None:
    clock, came = Clock(), [1.0] * 60 + [1.0] * 20 + [3.0] * 25
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    raised = minutes(calendar, clock, came)
    assert raised[60:81] == [3.0] * 21
    assert raised[104] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("before", [[], [once("sale", 0.0, 10 * HOUR_S, 3.0)]])
def test_a_reload_amid_an_event_that_it_adds_or_changes_raises_nothing(
    tmp_path: Path, before: list[EventSource]
) -> None:
    clock = Clock()
    calendar = calendar_of(before, roster(), clock, tmp_path)
    assert minutes(calendar, clock, [1.0] * 60)[-1] == 1.0
    calendar.replan(plan_of([once("sale", 0.0, 10 * HOUR_S, 9.0)]))
    assert minutes(calendar, clock, [1.0] * 3, since=60) == [1.0] * 3


def test_a_reload_shortly_before_an_event_raises_as_it_says(tmp_path: Path) -> None:
    clock = Clock()
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    minutes(calendar, clock, [1.0] * 58)
    calendar.replan(plan_of([once("sale", HOUR_S, HOUR_S, 9.0)]))
    assert minutes(calendar, clock, [1.0], since=58) == [9.0]


def test_a_newcomer_amid_an_event_is_not_raised_by_it(tmp_path: Path) -> None:
    clock = Clock()
    sources = [once("sale", 0.0, 10 * HOUR_S, 3.0)]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    minutes(calendar, clock, [1.0] * 60)
    calendar.rearrange(tenants("a", "b", "c", floor=0.0), BASIC, np.array([0, 1, -1, 2, 3, -1]))
    assert calendar.adjusted(profile(60, 6), 1000.0 + HOUR_S).expected.tolist() == [1.0] * 6


def test_a_quiet_day_that_does_not_happen_raises_nothing_at_its_end(tmp_path: Path) -> None:
    clock = Clock()
    holiday = once("holiday", 20 * MINUTE_S, 40 * MINUTE_S, 0.05)
    calendar = calendar_of([holiday], roster(), clock, tmp_path)
    assert set(minutes(calendar, clock, [1.0] * 70)) == {1.0}


def test_what_is_left_out_leaves_room_for_what_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.calendar._MOST_ENTRIES", SERIES - 1)
    clock = Clock()
    sources = [once("all", 0.0, HOUR_S, 2.0), once("own", HOUR_S, HOUR_S, 3.0, tenant="a")]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    assert minutes(calendar, clock, [1.0], since=60) == [3.0]
    assert str(calendar.problem).startswith("1 of what is on at once")


def test_a_profile_that_the_forecaster_has_not_brought_up_to_date_is_raised_as_before(
    tmp_path: Path,
) -> None:
    clock = Clock()
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    minutes(calendar, clock, [1.0] * 61 + [3.0] * 2)
    now_s = 1000.0 + 62 * MINUTE_S
    raised = [float(calendar.adjusted(profile(step), now_s).expected[0]) for step in range(60, 64)]
    assert raised[:2] == [3.0, 3.0]
    assert raised[2] == pytest.approx(3.0 / 1.6)
    assert raised[3] == pytest.approx(3.0 / 2.02)


def test_time_without_any_event_is_booked_to_none(tmp_path: Path) -> None:
    clock, sale = Clock(), once("sale", HOUR_S + 10.0, HOUR_S, 3.0)
    calendar = calendar_of([sale], roster(), clock, tmp_path)
    minutes(calendar, clock, [1.0] * 5)
    calendar.replan(plan_of([]))
    clock.now_s = EPOCH_S + HOUR_S
    calendar.replan(plan_of([sale]))
    for after_s in (HOUR_S, HOUR_S + 10.0, HOUR_S + 60.0):
        clock.now_s = EPOCH_S + after_s
        calendar.adjusted(profile(), 1000.0 + after_s)
    on = (10 * 1.0 + 50 * 3.0) / 60
    calendar.learn(6, np.full(SERIES, on), 1060.0 + HOUR_S)
    raised = calendar.adjusted(profile(6), 1060.0 + HOUR_S).expected[0]
    assert raised == pytest.approx(3.0 / (1.0 + 0.3 * (on - 1.0)))


def failing(calendar: Calendar, asked: list[float], may_end: Event) -> None:
    def expand(sources: Sequence[EventSource], since_s: float, _: object) -> Expansion:
        asked.append(since_s)
        may_end.wait(10.0)
        return Expansion(since_s, since_s + 1, (), ("no process left",) * len(sources))

    calendar._expand = expand


def test_what_fails_again_and_again_is_tried_less_and_less_often(tmp_path: Path) -> None:
    clock, asked, may_end = Clock(), list[float](), Event()
    may_end.set()
    calendar = calendar_of([once("x", 1e6, HOUR_S, 2.0)], roster(), clock, tmp_path)
    failing(calendar, asked, may_end)
    for minute in range(6 * 60, 36 * 60, 5):
        clock.now_s = EPOCH_S + minute * MINUTE_S
        calendar.adjusted(profile(), clock.now_s)
        wait_until(lambda: calendar._further is None or calendar._further.is_done)
    gaps_s = np.diff(asked)
    assert gaps_s[0] <= 20 * MINUTE_S
    assert (np.diff(gaps_s) >= 0).all()
    assert 5 * HOUR_S < gaps_s[-1] < 7 * HOUR_S


def test_one_process_at_a_time_works_events_out(tmp_path: Path) -> None:
    clock, asked, may_end = Clock(), list[float](), Event()
    sources = [once("x", 1e6, HOUR_S, 2.0)]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    failing(calendar, asked, may_end)
    clock.now_s = EPOCH_S + 7 * HOUR_S
    calendar.adjusted(profile(), clock.now_s)
    wait_until(lambda: len(asked) == 1)
    for _ in range(3):
        calendar.replan(plan_of(sources))
        clock.now_s += HOUR_S
        calendar.adjusted(profile(), clock.now_s)
    assert len(asked) == 1
    assert calendar._further is not None
    assert not calendar._further.is_wanted
    may_end.set()
    wait_until(lambda: calendar._further is None or calendar._further.is_done)
    calendar.adjusted(profile(), clock.now_s)
    assert calendar.problem is None, "that was of another configuration"
    wait_until(lambda: len(asked) == 2)


def test_of_events_whose_names_never_return_only_the_last_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.lessons.MOST_ROWS", 3 * SERIES)
    clock = Clock()
    sources = [once(f"job {at}", at * HOUR_S, 20 * MINUTE_S) for at in range(1, 9)]
    sources += [once(f"never {at}", 1e5 + at, HOUR_S) for at in range(50)]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    minutes(calendar, clock, [1.0] * 9 * 60)
    assert len(calendar._lessons.learned.key) == 3 * SERIES
    assert list(calendar._lessons.numbers) == ["job 6", "job 7", "job 8"]


def test_an_event_that_ended_just_before_a_start_is_in_what_is_forecast(tmp_path: Path) -> None:
    clock = Clock(EPOCH_S + HOUR_S)
    sources = [
        once("sale", 30 * MINUTE_S, 25 * MINUTE_S, 3.0),
        once("sale", HOUR_S + 2 * MINUTE_S, HOUR_S, 3.0),
    ]
    calendar = Calendar(
        replace(plan_of(sources), expansion=expanded(sources, clock.now_s)),
        roster(),
        BASIC,
        clock=clock,
        store=LearnedStore(tmp_path / "events.db"),
        expand=expanded,
    )
    raised = calendar.adjusted(profile(), 1000.0)
    assert raised.expected[0] == pytest.approx(3.0 / (1.0 + 2.0 * 0.7**5), rel=1e-3)
    ruled = fallback_profile(np.ones((24, SERIES)), step=0)
    raised = calendar.adjusted(ruled, 1000.0)
    np.testing.assert_array_equal(raised.maximum, ruled.maximum)
