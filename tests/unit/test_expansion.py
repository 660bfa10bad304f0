"""When events take place: rules, iCalendar files, time zones, and what hostile ones cost."""

import re
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import psutil
import pytest
from tenants import wait_until

from agent.event import EventSource, Expansion, Occurrence
from agent.expanding import expanded

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time: what is hostile is told by the CPU time that it takes."""
    monkeypatch.setattr("agent.expanding._WALL_S", 300.0)
    monkeypatch.setattr("agent.expanding._PATIENCE_S", 320.0)


def unix_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def calendar(*events: str) -> bytes:
    """Return an iCalendar file of events, a line for each property."""
    body = "\n".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT" for event in events)
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//tests//EN\n{body}\nEND:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def around(day: str, *sources: EventSource) -> Expansion:
    """Return what is on within two days from the beginning of a day."""
    found = expanded(sources, unix_s(day))
    assert set(found.problems) <= {""}
    return found


def starts(found: Expansion) -> list[tuple[str, str]]:
    return [
        (one.name, datetime.fromtimestamp(one.start_s, UTC).isoformat()[:16])
        for one in found.occurrences
    ]


def rule(repeat: str, zone: str = "UTC", start: str = "2026-01-01T09:00:00") -> EventSource:
    end = datetime.fromisoformat(start).replace(hour=11).isoformat()
    return EventSource("x", "job", starts=start, ends=end, repeat=repeat, timezone=zone)


WEEKLY = "UID:1\nSUMMARY:x\nDTSTART:20260603T090000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY"


def test_what_takes_place_once_needs_no_process() -> None:
    source = EventSource("x", "once", span_s=(unix_s("2026-05-01T09:00"), unix_s("2026-05-02")))
    assert not source.needs_expansion
    assert starts(around("2026-05-01", source)) == [("once", "2026-05-01T09:00")]
    assert starts(around("2026-05-02T02:59", source)) == [("once", "2026-05-01T09:00")]
    assert around("2026-05-02T03:00", source).occurrences == ()


def test_what_is_on_already_counts_and_what_is_over_or_far_does_not() -> None:
    found = around("2026-05-01T10:00", rule("FREQ=DAILY"))
    days = [unix_s(f"2026-05-0{day}T09:00") for day in (1, 2, 3)]
    assert found.occurrences == tuple(Occurrence(s, s + 2 * HOUR_S, "job", 0) for s in days)


def test_nine_o_clock_stays_nine_o_clock_over_the_change_to_summer_time() -> None:
    found = around("2026-03-28", rule("FREQ=DAILY", "Europe/Berlin"))
    assert starts(found) == [("job", "2026-03-28T08:00"), ("job", "2026-03-29T07:00")]


def test_in_utc_it_stays_where_it_is() -> None:
    found = around("2026-03-28", rule("FREQ=DAILY"))
    assert starts(found) == [("job", "2026-03-28T09:00"), ("job", "2026-03-29T09:00")]


def test_a_whole_day_is_of_the_time_zone_and_has_23_hours_in_spring() -> None:
    day = calendar("UID:1\nSUMMARY:fair\nDTSTART;VALUE=DATE:20260329")
    found = around("2026-03-28", EventSource("x", calendar=day, timezone="Europe/Berlin"))
    (one,) = found.occurrences
    assert (one.start_s, one.end_s) == (unix_s("2026-03-28T23:00"), unix_s("2026-03-29T22:00"))


BERLIN = "TZID=Europe/Berlin"


@pytest.mark.parametrize(
    ("length", "hours"),
    [
        ("DURATION:PT24H", 24.0),
        ("DURATION:P1D", 23.0),
        ("DURATION:P1DT1H", 24.0),
        (f"DTEND;{BERLIN}:20260329T120000", 23.0),
    ],
)
@pytest.mark.parametrize("repeat", ["", "\nRRULE:FREQ=WEEKLY"])
def test_hours_are_exact_and_days_are_those_of_the_calendar(
    length: str, hours: float, repeat: str
) -> None:
    alarm = "\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDURATION:PT5M\nREPEAT:2\nEND:VALARM"
    text = calendar(f"UID:1\nSUMMARY:x\nDTSTART;{BERLIN}:20260328T120000\n{length}{repeat}{alarm}")
    (one,) = around("2026-03-28", EventSource("x", calendar=text)).occurrences
    assert one.start_s == unix_s("2026-03-28T11:00")
    assert one.end_s - one.start_s == hours * HOUR_S


def test_a_repeated_length_in_seconds_is_exact_over_the_change() -> None:
    day = EventSource("x", "job", starts="2026-03-27T12:00:00", timezone="Europe/Berlin")
    found = around("2026-03-28", replace(day, lasts_s=24 * HOUR_S, repeat="FREQ=DAILY"))
    lengths = {one.end_s - one.start_s for one in found.occurrences}
    assert len(found.occurrences) == 3
    assert lengths == {24 * HOUR_S}


@pytest.mark.parametrize("repeat", ["", "\nRRULE:FREQ=DAILY"])
def test_an_event_in_the_hour_that_spring_leaves_out_keeps_its_length(repeat: str) -> None:
    span = f"DTSTART;{BERLIN}:20260329T024500\nDTEND;{BERLIN}:20260329T031500"
    text = calendar(f"UID:1\nSUMMARY:x\n{span}{repeat}")
    first = around("2026-03-28", EventSource("x", calendar=text)).occurrences[0]
    assert (first.start_s, first.end_s) == (unix_s("2026-03-29T01:45"), unix_s("2026-03-29T02:15"))


def test_exceptions_moved_and_cancelled_occurrences_are_as_the_file_says() -> None:
    text = calendar(
        "UID:1\nSUMMARY:batch\nDTSTART;TZID=Europe/Berlin:20260601T090000\nDURATION:PT2H\n"
        "RRULE:FREQ=DAILY\nEXDATE;TZID=Europe/Berlin:20260610T090000",
        "UID:1\nSUMMARY:late batch\nRECURRENCE-ID;TZID=Europe/Berlin:20260611T090000\n"
        "DTSTART;TZID=Europe/Berlin:20260611T150000\nDURATION:PT1H",
        "UID:2\nSUMMARY:off\nSTATUS:CANCELLED\nDTSTART:20260610T080000Z\nDTEND:20260610T090000Z",
    )
    found = around("2026-06-10", EventSource("x", calendar=text))
    assert starts(found) == [("late batch", "2026-06-11T13:00")]
    assert found.occurrences[0].end_s - found.occurrences[0].start_s == HOUR_S


def test_a_time_that_names_no_zone_is_of_the_calendars() -> None:
    text = calendar("UID:1\nSUMMARY:call\nDTSTART:20260610T090000\nDTEND:20260610T100000")
    found = around("2026-06-09T12:00", EventSource("x", calendar=text, timezone="Asia/Tokyo"))
    assert starts(found) == [("call", "2026-06-10T00:00")]


def test_an_event_without_an_end_lasts_an_hour_and_names_control_no_terminal() -> None:
    text = calendar("UID:1\nSUMMARY:la\x1b[2Junch  now\nDTSTART:20260610T090000Z")
    (one,) = around("2026-06-10", EventSource("x", calendar=text)).occurrences
    assert one.end_s - one.start_s == HOUR_S
    assert one.name == "la [2Junch now"


def test_a_zone_that_a_file_describes_itself_is_understood() -> None:
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Office\nBEGIN:STANDARD\nDTSTART:19700101T000000\n"
        "TZOFFSETFROM:+0500\nTZOFFSETTO:+0500\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT"
    )
    text = calendar("UID:1\nSUMMARY:x\nDTSTART;TZID=Office:20260610T090000")
    text = text.replace(b"BEGIN:VEVENT", zone.replace("\n", "\r\n").encode(), 1)
    assert starts(around("2026-06-10", EventSource("x", calendar=text))) == [
        ("x", "2026-06-10T04:00")
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (rule("FREQ=MINUTELY;COUNT=5000000"), "more than 2000 occurrences in 2 days"),
        (rule("FREQ=DAILY;INTERVAL=0"), "takes more than 0.5 s to expand"),
        (rule("FREQ=OFTEN"), "cannot be read: Expected frequency"),
        (EventSource("x", calendar=b"\xff\xfe\0"), "cannot be read: "),
        (EventSource("x", calendar=calendar()), "cannot be read: no VEVENT"),
        (
            EventSource(
                "x",
                calendar=calendar(
                    "UID:1\nSUMMARY:tick\nDTSTART:19700101T000000Z\nRRULE:FREQ=SECONDLY"
                ),
            ),
            "takes more than 0.5 s to expand",
        ),
        (
            EventSource("x", calendar=calendar("UID:1\nDTSTART;TZID=Nowhere:20260610T090000")),
            "DTSTART: no time zone Nowhere is known",
        ),
        *(
            (
                EventSource("x", calendar=calendar(f"{WEEKLY}\n{line}")),
                f"{re.split('[;:]', line)[0]}: no time zone Nowhere is known",
            )
            for line in (
                "RDATE;TZID=Nowhere:20260611T090000",
                "EXDATE:20260617T090000Z\nEXDATE;TZID=Nowhere:20260610T090000",
                "RECURRENCE-ID;TZID=Nowhere:20260610T090000",
                "RDATE;TZID=Nowhere;VALUE=PERIOD:20260611T090000/PT2H",
            )
        ),
        (
            EventSource("x", calendar=calendar(f"{WEEKLY}\nEXRULE:FREQ=MONTHLY")),
            "EXRULE: not understood, name what does not take place in EXDATE",
        ),
        (
            EventSource("x", calendar=calendar(WEEKLY, "UID:2\nSUMMARY:fair\nDURATION:PT1H")),
            "DTSTART: the event 'fair' has none",
        ),
    ],
)
def test_a_hostile_source_is_told_and_takes_nothing_from_the_others(
    source: EventSource, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "takes more" in problem:
        monkeypatch.setattr("agent.expanding._SOURCE_CPU_S", 0.5)
    day = unix_s("2026-06-10")
    found = expanded([rule("FREQ=DAILY"), source, rule("FREQ=DAILY")], day)
    assert problem in found.problems[1]
    assert found.problems[::2] == ("", "")
    assert [one.source for one in found.occurrences] == [0, 2, 0, 2]


def test_all_events_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.expanding.MOST_OCCURRENCES", 125)
    many = [rule("FREQ=HOURLY", start=f"2026-01-01T0{at}:00:00") for at in range(3)]
    found = expanded(many, unix_s("2026-06-10"))
    assert len(found.occurrences) == 61 + 60
    problem = "more than 125 occurrences of all events together"
    assert found.problems == ("", "", problem)


def test_a_rule_that_many_tenants_have_is_worked_out_once_and_counts_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = rule("FREQ=HOURLY")
    found = expanded([replace(one, tenant=f"t{at}") for at in range(500)], unix_s("2026-06-10"))
    assert set(found.problems) == {""}
    assert len(found.occurrences) == 500 * 52
    few = 2 * 52 + 10
    monkeypatch.setattr("agent.expanding.MOST_OCCURRENCES", few)
    found = expanded([replace(one, tenant=f"t{at}") for at in range(500)], unix_s("2026-06-10"))
    assert len(found.occurrences) == 2 * 52
    assert found.problems[2] == f"more than {few} occurrences of all events together"


def endless(name: str) -> EventSource:
    """Return an event whose rule never matches, of another name than the others."""
    return replace(rule("FREQ=DAILY;INTERVAL=0"), name=name)


def test_however_many_are_hostile_the_others_have_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.expanding._ALL_CPU_S", 2.0)
    sources = [*(endless(f"{at}") for at in range(12)), rule("FREQ=DAILY")]
    found = expanded(sources, unix_s("2026-06-10"))
    assert found.problems[-1] == ""
    assert {one.source for one in found.occurrences} == {12}
    assert all("takes more than 0." in problem for problem in found.problems[:-1])


def test_what_is_no_longer_wanted_is_ended_with_all_its_processes() -> None:
    answers: list[Expansion] = []
    is_wanted = threading.Event()
    is_wanted.set()
    asked = ([endless("x")], unix_s("2026-06-10"), is_wanted.is_set)
    thread = threading.Thread(target=lambda: answers.append(expanded(*asked)))
    thread.start()
    wait_until(lambda: len(processes()) == 2)
    ours = processes()
    is_wanted.clear()
    thread.join(10.0)
    assert answers[0].problems == ("cannot be expanded: another configuration is in its place",)
    wait_until(lambda: not any(is_working(one) for one in ours), limit_s=3.0)


def processes() -> list[psutil.Process]:
    """Return the processes of ours that work events out."""
    return [one for one in psutil.Process().children(recursive=True) if is_working(one)]


def is_working(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "agent.expansion" in process.cmdline()
    return False


def test_all_of_it_ends_in_time_and_what_was_found_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [rule("FREQ=DAILY"), endless("x"), endless("y")]

    def found_in(wall_s: float) -> Expansion:
        monkeypatch.setattr("agent.expanding._WALL_S", wall_s)
        return expanded(sources, unix_s("2026-06-10"))

    found = found_in(1.5)
    if found.problems[0]:  # a busy machine needs more for the first
        found = found_in(15.0)
    assert found.problems[0] == ""
    for problem in found.problems[1:]:
        assert "not expanded: all events together take more than" in problem


def test_one_large_file_in_many_time_zones_is_sent_so_often_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.expanding._MOST_CALENDAR_BYTES", 1 << 20)  # or it takes seconds
    day = calendar("SUMMARY:sale\nDTSTART:20260610T090000\nDTEND:20260610T100000")
    large = day + b"\r\n" * ((3 << 17) // 2)  # three eighths of that, of nothing
    zones = ("Europe/Berlin", "Asia/Tokyo", "America/New_York")
    sources = [EventSource("x", calendar=large, timezone=zone) for zone in zones]
    found = expanded(sources, unix_s("2026-06-09T12:00"))
    assert [problem != "" for problem in found.problems] == [False, False, True]
    assert "larger than 8 MiB" in found.problems[2]
