"""agent.event_lines: what comes often hides nothing that comes once."""

from agent.answers import EventMultiplier, Events, EventStatus
from agent.event_lines import event_lines


def event(name: str, starts_at: str, concerns: str = "all tenants") -> EventStatus:
    takes = (EventMultiplier("cpu", least=2.0, most=2.0, is_learned=False, occurrences=0),)
    return EventStatus(name, f"{starts_at}:00+00:00", "", 900.0, concerns, 3, takes)


HOURLY = [event("hourly", f"2026-03-01T{hour:02}:30") for hour in range(24)]
SALE = event("sale", "2026-03-01T20:00")
ANSWER = Events((*HOURLY[:20], SALE, *HOURLY[20:]), left_out=7)


def test_an_event_that_comes_often_has_one_line() -> None:
    assert event_lines(ANSWER, width=100) == [
        "STARTS            AGAIN  LASTS  EVENT   CONCERNS     TAKES",
        "2026-03-01 00:30     23    15m  hourly  all tenants  cpu x2",
        "2026-03-01 20:00      -    15m  sale    all tenants  cpu x2",
        "and 7 more, later",
    ]


def test_all_of_them_are_listed_where_that_is_asked_for() -> None:
    lines = event_lines(ANSWER, width=100, is_whole=True)
    assert lines[0] == "STARTS            LASTS  EVENT   CONCERNS     TAKES"
    assert len(lines) == 1 + 25 + 1


def test_events_of_one_name_that_concern_others_are_others() -> None:
    other = event("hourly", "2026-03-01T00:45", "tenant web")
    lines = event_lines(Events((*HOURLY, other), left_out=0), width=100)
    assert [line.split()[2] for line in lines[1:]] == ["23", "-"]
