"""Known events under the real control loop: limits rise before they start, and what is learned."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calendars import EPOCH_S, HOUR_S, MINUTE_S, Clock, calendar_of, every, in_place, once, plan_of
from loops import tenants
from structlog.testing import capture_logs
from tenants import wait_until

from agent.allocation import Mode
from agent.backtest.engine import Passed, RuleForecaster, Setting, steps_of
from agent.backtest.host import Evidence
from agent.calendar import Calendar
from agent.event import EventSource, Expansion
from agent.event_words import events_answer, raise_sentence
from agent.tenant import BASIC, Floats, Resource, Roster
from forecast.fallback import fallback_profile
from forecast.profile import Profile, Source

from scenes import policy_of

SERIES = 4  # two tenants of cpu and memory
START = 60  # steps of a minute until the event


def roster() -> Roster:
    return tenants("a", "b", floor=0.0)


def profile(step: int = 0) -> Profile:
    """Return what a model says that has seen nothing but ones."""
    ruled = fallback_profile(np.ones((24, SERIES)), step=step)
    return replace(ruled, source=np.full(SERIES, Source.LIVE, dtype=np.uint8))


def raised_at(calendar: Calendar, clock: Clock, after_s: float, step: int = 0) -> float:
    """Return how many times the first tenant's cpu is expected, so long after the epoch."""
    clock.now_s = EPOCH_S + after_s
    return float(calendar.adjusted(profile(step), 1000.0 + after_s).expected[0])


def replayed(
    demand: Floats, sources: Sequence[EventSource], folder: Path, *, mode: Mode = Mode.STRICT
) -> tuple[list[Passed], Calendar]:
    """Run the demand of cpu under the real loop, a tick a minute, with these events known."""
    clock = Clock()
    calendar = calendar_of(sources, roster(), clock, folder)
    policy = policy_of(4.0, 1e9, modes=dict.fromkeys(BASIC, mode), learning_s=0.0)
    setting = Setting(roster(), policy, Resource.CPU, MINUTE_S, adjusting=(calendar,))
    clock.now_s += MINUTE_S
    passed = []
    evidence = Evidence(is_exact=False)
    for one in steps_of(demand, setting, forecaster=RuleForecaster(), evidence=evidence):
        passed.append(one)
        clock.now_s += MINUTE_S
    return passed, calendar


def sale(steps: int = 120, *, quiet: float = 0.5, busy: float = 2.0) -> Floats:
    """Return demand of two tenants, one of whom has a sale of half an hour; b wants the host."""
    demand = np.full((steps, 2), quiet)
    demand[:, 1] = 1.5
    demand[START : START + 30, 0] = busy
    return demand


# The tick before row n of the demand is at minute n + 1: that is when the sale starts.
SALE = once("sale", (START + 1) * MINUTE_S, 30 * MINUTE_S, 4.0, tenant="a")


def unmet(demand: Floats, passed: Sequence[Passed]) -> float:
    served = np.stack([one.served for one in passed])
    return float((demand - served)[START : START + 30].sum() / demand[START : START + 30].sum())


def test_the_limit_has_risen_before_the_event_starts_and_less_is_unmet(tmp_path: Path) -> None:
    demand = sale()
    without, _ = replayed(demand, [], tmp_path / "x.db")
    known, _ = replayed(demand, [SALE], tmp_path)
    limits = [np.array([one.limit[0] for one in passed]) for passed in (without, known)]
    expected = [[one.tick.expected[0] for one in passed] for passed in (without, known)]
    np.testing.assert_allclose(expected[0][: START - 5], expected[1][: START - 5])
    assert expected[1][START - 5] == pytest.approx(2.0)
    assert limits[0][START] < 2.0 <= limits[1][START]
    assert limits[1][START - 5 : START].min() >= 2.0
    missed = [unmet(demand, passed) for passed in (without, known)]
    assert missed[0] > 0.005
    assert missed[1] == 0.0


def test_what_the_rule_that_stands_in_has_seen_of_an_event_is_not_added_again(
    tmp_path: Path,
) -> None:
    known, _ = replayed(sale(), [SALE], tmp_path)
    most = 1.25 * 2.0  # who uses all of its limit counts as wanting a quarter more
    assert np.nanmax([one.tick.expected[0] for one in known]) == pytest.approx(most)
    assert np.nanmax([one.tick.upper[0] for one in known]) == pytest.approx(1.1 * most)


def test_long_after_the_start_it_is_as_if_nothing_had_been_known(tmp_path: Path) -> None:
    runs = [replayed(sale(), known, tmp_path)[0] for known in ([], [SALE])]
    late = slice(START + 25, START + 30)
    for name in ("expected", "upper"):
        ends = [[getattr(one.tick, name)[0] for one in passed[late]] for passed in runs]
        np.testing.assert_allclose(ends[0], ends[1])


def test_an_event_that_was_called_off_lowers_nothing(tmp_path: Path) -> None:
    quiet = sale(busy=0.5)
    runs = [replayed(quiet, known, tmp_path)[0] for known in ([], [SALE])]
    for without, known in zip(*runs, strict=True):
        assert not (known.tick.expected < without.tick.expected - 1e-12).any()


def test_the_profile_rises_from_the_lead_on_and_once(tmp_path: Path) -> None:
    clock = Clock()
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    assert raised_at(calendar, clock, 0.0) == 1.0
    assert raised_at(calendar, clock, HOUR_S - 5 * MINUTE_S - 1) == 1.0
    assert raised_at(calendar, clock, HOUR_S - 5 * MINUTE_S) == 3.0
    assert raised_at(calendar, clock, HOUR_S) == 3.0
    assert raised_at(calendar, clock, 2 * HOUR_S) == 1.0


def test_the_maximum_rises_as_soon_as_its_horizon_reaches_the_event(tmp_path: Path) -> None:
    clock, plain = Clock(), profile()
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    for minutes, times in ((16, (1, 1, 1)), (14, (1, 1, 3)), (9, (1, 3, 3)), (4, (3, 3, 3))):
        clock.now_s = EPOCH_S + HOUR_S - minutes * MINUTE_S
        found = calendar.adjusted(plain, 1000.0 + clock.now_s - EPOCH_S).maximum / plain.maximum
        np.testing.assert_allclose(found[:, 1, 0], times)


def test_far_from_any_event_the_profile_is_the_very_same(tmp_path: Path) -> None:
    clock, plain = Clock(), profile()
    calendar = calendar_of([once("sale", 5 * HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    assert calendar.adjusted(plain, 1000.0) is plain
    assert calendar_of([], roster(), clock, tmp_path).adjusted(plain, 1.0) is plain


def test_the_same_profile_is_not_raised_anew_with_each_tick(tmp_path: Path) -> None:
    clock, plain = Clock(), profile()
    calendar = calendar_of([once("sale", MINUTE_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    first = calendar.adjusted(plain, 1000.0)
    clock.now_s += 1
    assert calendar.adjusted(plain, 1001.0) is first


@pytest.mark.parametrize("jump_s", [-2 * 86_400.0, 86_400.0, -30 * MINUTE_S])
def test_a_clock_that_is_set_moves_events_and_harms_nothing(tmp_path: Path, jump_s: float) -> None:
    clock = Clock()
    calendar = calendar_of([once("sale", HOUR_S, HOUR_S, 3.0)], roster(), clock, tmp_path)
    clock.now_s = EPOCH_S + HOUR_S - MINUTE_S
    assert calendar.adjusted(profile(), 5000.0).expected[0] == 3.0
    clock.now_s += jump_s
    with capture_logs() as logs:
        assert calendar.adjusted(profile(), 5001.0).expected[0] == 1.0
    assert logs[0]["event"] == "the clock was set: events are where it says"
    clock.now_s += MINUTE_S
    calendar.learn(1, np.ones(SERIES), 5001.0)
    clock.now_s = EPOCH_S + HOUR_S - MINUTE_S
    assert calendar.adjusted(profile(1), 5003.0).expected[0] == pytest.approx(3.0, rel=0.5)


def days(count: int, *, did_happen: Sequence[bool] | None = None, busy: float = 1.5) -> Floats:
    """Return quiet demand in which tenant a takes three times as much each day for an hour.

    A day has five hours here.
    """
    demand = np.full((count * 300, 2), 0.5)
    for day in range(count):
        if did_happen is None or did_happen[day]:
            demand[day * 300 + 200 : day * 300 + 260, 0] = busy
    return demand


def daily(count: int) -> list[EventSource]:
    return every("match", [(day * 300 + 201) * MINUTE_S for day in range(count)], HOUR_S)


def learned_of(calendar: Calendar, series: int = 0) -> tuple[float, int]:
    assert calendar.agenda is not None
    multiplier, count = calendar.agenda.learned_from("match", np.array([series]))
    return float(multiplier[0]), int(count[0])


def test_uplift_is_learned_from_one_occurrence_to_the_next(tmp_path: Path) -> None:
    passed, calendar = replayed(days(4), daily(4), tmp_path)
    multiplier, count = learned_of(calendar)
    assert count == 4
    assert 2.0 < multiplier < 3.0
    assert learned_of(calendar, series=1)[0] == pytest.approx(1.0)
    before = [passed[day * 300 + 199].tick.expected[0] for day in range(4)]
    assert before[0] == pytest.approx(0.5)
    assert before[0] < before[1] < before[2] < before[3] < 1.5
    assert before[1] == pytest.approx(0.5 * 3**0.5, rel=0.02)
    # In the midst of the first, what is learned is of what the models have seen.
    midst = [one.tick.expected[0] for one in passed[240:259]]
    assert max(midst) == pytest.approx(1.5)


def test_an_occurrence_that_did_not_happen_lowers_what_is_learned(tmp_path: Path) -> None:
    learned = [
        learned_of(replayed(days(3, did_happen=happened), daily(3), tmp_path / str(at))[1])[0]
        for at, happened in enumerate(([True, True, True], [True, True, False]))
    ]
    assert 1.0 < learned[1] < learned[0]


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("0", "1", "x.db"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize(("absent", "count"), [((180, 300), 0), ((205, 225), 0), ((205, 212), 1)])
def test_what_was_mostly_not_seen_teaches_nothing(
    tmp_path: Path, absent: tuple[int, int], count: int
) -> None:
    demand = days(1)
    demand[slice(*absent), 0] = np.nan
    _, calendar = replayed(demand, daily(1), tmp_path)
    assert learned_of(calendar)[1] == count


def test_what_begins_while_another_event_is_on_teaches_nothing(tmp_path: Path) -> None:
    other = once("fair", 100 * MINUTE_S, 3 * HOUR_S, 2.0, tenant="a")
    _, calendar = replayed(days(1), [*daily(1), other], tmp_path)
    assert learned_of(calendar)[1] == 0
    assert learned_of(calendar, series=1)[1] == 1


def test_what_is_learned_outlives_the_agent(tmp_path: Path) -> None:
    _, calendar = replayed(days(2), daily(2), tmp_path)
    learned = learned_of(calendar)
    later, clock = once("match", HOUR_S, HOUR_S), Clock()
    again = calendar_of([later], roster(), clock, tmp_path)
    assert raised_at(again, clock, HOUR_S - MINUTE_S) == pytest.approx(learned[0])
    assert learned_of(again) == learned


def test_a_damaged_file_is_set_aside_and_costs_only_what_was_learned(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"no database" * 1000)
    clock = Clock()
    calendar = calendar_of([once("match", HOUR_S, HOUR_S)], roster(), clock, tmp_path)
    assert raised_at(calendar, clock, HOUR_S) == 1.0
    assert list(tmp_path.glob("events.db.damaged-*"))


def test_further_occurrences_are_worked_out_beside_the_ticks(tmp_path: Path) -> None:
    clock, asked = Clock(), []
    calendar = calendar_of([], roster(), clock, tmp_path)
    sources = [once("sale", 7 * HOUR_S, HOUR_S, 3.0)]

    def expand(asked_for: Sequence[EventSource], since_s: float, _: object) -> Expansion:
        asked.append(since_s)
        return in_place(asked_for, since_s)

    calendar._expand = expand
    calendar.replan(replace(plan_of(sources), expansion=Expansion(EPOCH_S, EPOCH_S + 86_400)))
    assert raised_at(calendar, clock, 5 * HOUR_S) == 1.0
    assert asked == []
    after_s = 7 * HOUR_S
    raised_at(calendar, clock, after_s)
    wait_until(lambda: raised_at(calendar, clock, after_s + 1) == 3.0)
    assert asked == [EPOCH_S + after_s]


def test_what_cannot_be_worked_out_now_stays_as_it_was_and_is_tried_again(tmp_path: Path) -> None:
    clock, asked = Clock(), []
    sources = [once("sale", 7 * HOUR_S, HOUR_S, 3.0)]
    calendar = calendar_of(sources, roster(), clock, tmp_path)

    def expand(asked_for: Sequence[EventSource], since_s: float, _: object) -> Expansion:
        asked.append(since_s)
        if len(asked) == 1:
            raise RuntimeError("a fault of ours")
        return Expansion(since_s, since_s + 1, (), ("no process left",))

    calendar._expand = expand
    for round_ in range(1, 4):
        after_s = 6.0 * HOUR_S + (2**round_ - 1) * 400
        raised_at(calendar, clock, after_s)
        assert calendar._further is not None
        wait_until(lambda: calendar._further is None or calendar._further.is_done)
        raised_at(calendar, clock, after_s + 1)
        assert len(asked) == round_
    assert calendar.problem == "event 'sale': no process left"
    assert raised_at(calendar, clock, 7 * HOUR_S) == 3.0


def test_more_than_columns_may_be_made_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.calendar._MOST_ENTRIES", 2 * SERIES)
    clock = Clock()
    sources = [once(f"{at}", HOUR_S + at, HOUR_S, 2.0 + at) for at in range(4)]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    assert raised_at(calendar, clock, HOUR_S) == 3.0
    assert calendar.problem is not None
    assert calendar.problem.startswith("2 of what is on at once")
    assert raised_at(calendar, clock, 5 * HOUR_S) == 1.0
    assert calendar.problem is None


def test_it_follows_the_roster(tmp_path: Path) -> None:
    clock = Clock()
    sources = [once("sale", HOUR_S, 10 * HOUR_S, 3.0, tenant="b")]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    for minute in range(50, 120):
        clock.now_s = EPOCH_S + minute * MINUTE_S
        calendar.adjusted(profile(), minute * MINUTE_S)
        times = 3.0 if minute > 60 else 1.0
        calendar.learn(minute, np.array([1.0, times, 1.0, times]), minute * MINUTE_S)
    three = tenants("a", "aa", "b", floor=0.0)
    calendar.rearrange(three, BASIC, np.array([0, -1, 1, 2, -1, 3]))
    found = calendar.adjusted(fallback_profile(np.ones((24, 6)), step=119), 120 * MINUTE_S)
    assert found.expected.tolist() == [1.0] * 6, "b's models have seen the event"
    calendar.rearrange(tenants("b", "c", floor=0.0), BASIC, np.array([-1, -1, -1, -1]))
    found = calendar.adjusted(profile(119), 121 * MINUTE_S)
    assert found.expected.tolist() == [1.0] * 4, "a newcomer's have seen nothing else"


def test_the_return_to_the_usual_after_a_quiet_event_is_foreseen_and_told(tmp_path: Path) -> None:
    clock = Clock()
    calendar = calendar_of(
        [once("holiday", 20 * MINUTE_S, 40 * MINUTE_S, 0.5)], roster(), clock, tmp_path
    )
    told = []
    for minute in range(64):
        told.append(round(raised_at(calendar, clock, minute * MINUTE_S, minute), 2))
        value = np.full(SERIES, 1.0 if minute <= 20 else 0.5)
        calendar.learn(minute + 1, value, 1000.0 + minute * MINUTE_S)
    assert told[:54] == [1.0] * 54
    assert told[56:61] == [2.0] * 5
    assert 1.0 < told[63] < told[62] < 2.0
    for minute in (58, 63):
        raised_at(calendar, clock, minute * MINUTE_S, minute)
        sentence = raise_sentence(calendar.agenda, Resource.CPU, 0)
        assert sentence is not None
        assert sentence.text.endswith("times: an event in which less than usual was expected ends.")


def test_what_raised_a_profile_is_told(tmp_path: Path) -> None:
    clock = Clock()
    sources = [
        once("sale", HOUR_S, HOUR_S, 3.0),
        once("fair", HOUR_S, HOUR_S, 2.0),
        once("match", HOUR_S, HOUR_S),
    ]
    calendar = calendar_of(sources, roster(), clock, tmp_path)
    raised_at(calendar, clock, HOUR_S - MINUTE_S)
    sentence = raise_sentence(calendar.agenda, Resource.CPU, 1)
    assert sentence is not None
    assert sentence.text.startswith("raised 3.00 times for 'sale' from 2026-")
    assert "3.00 times as much (as configured)" in sentence.text
    assert raise_sentence(calendar.agenda, Resource.MEMORY, 1) is None
    answer = events_answer(calendar.agenda, now_s=clock.now_s)
    assert [(one.name, one.tenants) for one in answer.events] == [
        ("fair", 2),
        ("match", 2),
        ("sale", 2),
    ]
    by_name = {one.name: one.multipliers[0] for one in answer.events}
    assert (by_name["sale"].least, by_name["sale"].is_learned) == (3.0, False)
    assert (by_name["match"].occurrences, by_name["match"].is_learned) == (0, True)
    assert events_answer(calendar.agenda, now_s=clock.now_s + 1e6).events == ()
