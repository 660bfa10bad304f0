"""Events and calendars as an operator writes them, and every fault with its place."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import ConfigError
from agent.event import EventSource
from agent.promises import event_faults, summary, warnings
from agent.settings import Config
from agent.tenant import Kind

Loader = Callable[..., Config]
CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//tests//EN
BEGIN:VEVENT
UID:1
SUMMARY:holiday
DTSTART;VALUE=DATE:20260501
END:VEVENT
END:VCALENDAR
"""


def one(host: str, load: Loader) -> EventSource:
    (event,) = load(f'[[events]]\nname = "sale"\n{host}').events
    return event


def unix_s(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]


def test_a_local_time_is_of_the_events_time_zone(load: Loader) -> None:
    event = one('start = 2026-07-01T09:00:00\nduration_s = "2h"\ntimezone = "Europe/Berlin"', load)
    assert event.span_s == (unix_s(2026, 7, 1, 7), unix_s(2026, 7, 1, 9))


def test_an_offset_outranks_the_time_zone(load: Loader) -> None:
    event = one(
        'start = 2026-07-01T09:00:00-05:00\nend = 2026-07-01T17:00:00Z\ntimezone = "Europe/Berlin"',
        load,
    )
    assert event.span_s == (unix_s(2026, 7, 1, 14), unix_s(2026, 7, 1, 17))


def test_a_date_is_a_whole_day_which_may_have_23_hours(load: Loader) -> None:
    event = one('start = 2026-03-29\ntimezone = "Europe/Berlin"', load)
    assert event.span_s == (unix_s(2026, 3, 28, 23), unix_s(2026, 3, 29, 22))


def test_a_number_is_for_all_that_is_spent_and_a_table_for_what_it_names(load: Loader) -> None:
    day = "start = 2026-03-29\n"
    number = one(f"{day}multiplier = 3", load).multiplier
    assert number == {kind: 3.0 for kind in Kind if kind is not Kind.MEMORY}
    table = one(f"{day}multiplier = {{ cpu = 2, memory = 1.5 }}", load).multiplier
    assert table == {Kind.CPU: 2.0, Kind.MEMORY: 1.5}
    assert one(day, load).multiplier == {}


def test_whose_events_they_are(load: Loader, tmp_path: Path) -> None:
    (tmp_path / "holidays.ics").write_text(CALENDAR)
    own = 'qos = "gold"\n[[events]]\nname = "backup"\nstart = 2026-03-29\n'
    config = load(
        'calendars = [{ file = "{here}/holidays.ics", regions = ["eu", "us"] }]\n',
        web=f'regions = "eu"\n{own}',
        batch='qos = "gold"\nregions = ["asia"]\n',
    )
    assert {tenant.name: tenant.regions for tenant in config.tenants} == {
        "web": ("eu",),
        "batch": ("asia",),
    }
    concerned = {
        (event.name, tenant.name): event.concerns(tenant.name, tenant.regions)
        for event in config.events
        for tenant in config.tenants
    }
    assert concerned == {
        ("", "web"): True,
        ("", "batch"): False,
        ("backup", "web"): True,
        ("backup", "batch"): False,
    }


BERLIN = 'timezone = "Europe/Berlin"'


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        # 24 hours are that, whatever the clock on the wall does meanwhile.
        ('start = 2026-03-28T12:00:00\nduration_s = "24h"', ((28, 11, 0), (29, 11, 0))),
        ("start = 2026-03-28T12:00:00\nend = 2026-03-29T12:00:00", ((28, 11, 0), (29, 10, 0))),
        # Times that the spring leaves out are told in the time before (RFC 5545, 3.3.5).
        ("start = 2026-03-29T01:30:00\nend = 2026-03-29T02:30:00", ((29, 0, 30), (29, 1, 30))),
        ("start = 2026-03-29T02:45:00\nend = 2026-03-29T03:15:00", ((29, 1, 45), (29, 2, 15))),
    ],
)
def test_a_length_is_exact_and_an_end_is_local_where_the_clock_changes(
    load: Loader, span: str, expected: tuple[tuple[int, int, int], ...]
) -> None:
    event = one(f"{span}\n{BERLIN}", load)
    assert event.span_s == tuple(unix_s(2026, 3, *when) for when in expected)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("start = 2026-01-01", "events[0].name: expected a name of 1 to 80"),
        ('name = "\\u001b[2J"\nstart = 2026-01-01', "events[0].name: expected a name"),
        ('name = "x"', "events[0].start: expected a date or a date and time"),
        ('name = "x"\nstart = "2026-01-01"', "events[0].start: expected a date or a date"),
        ('name = "x"\nstart = 09:00:00', "events[0].start: expected a date or a date"),
        ('name = "x"\nstart = 2026-01-01T09:00:00', "events[0].end: expected an end or a dur"),
        (
            'name = "x"\nstart = 2026-01-01T09:00:00\nend = 2026-01-01T08:00:00',
            "events[0].end: expected a time after the start",
        ),
        (
            'name = "x"\nstart = 2026-01-01T09:00:00\nend = 2026-01-02',
            "events[0].end: expected a local time as the start has, got a date",
        ),
        (
            'name = "x"\nstart = 2026-01-01T09:00:00\nend = 2026-01-02T09:00:00Z',
            "events[0].end: expected a local time as the start has, got a time with an offset",
        ),
        ('name = "x"\nstart = 2026-01-01\nduration_s = 5', "events[0].duration_s: expected a sta"),
        (
            'name = "x"\nstart = 2026-01-01T09:00:00Z\nduration_s = 5\nend = 2026-01-02T09:00:00Z',
            "events[0].duration_s: expected either",
        ),
        (
            'name = "x"\nstart = 2026-01-01\ntimezone = "Europe/Berlim"',
            "events[0].timezone: expected a time zone that this host knows",
        ),
        ('name = "x"\nstart = 2026-01-01\ntimezone = "../etc/passwd"', "events[0].timezone: "),
        ('name = "x"\nstart = 2026-01-01\ntimezone = "Europe"', "events[0].timezone: "),
        ('name = "x"\nstart = 2026-01-01\nmultiplier = 0', "events[0].multiplier: expected a mul"),
        (
            'name = "x"\nstart = 2026-01-01\nmultiplier = { cpus = 2 }',
            "events[0].multiplier.cpus: unknown resource (did you mean 'cpu'?)",
        ),
        (
            'name = "x"\nstart = 2026-01-01\nmultiplier = { cpu = 3, ram = 2 }',
            "events[0].multiplier.ram: unknown resource (known: cpu, memory, ",
        ),
        (
            'name = "x"\nstart = 2026-01-01\nmultiplier = { cpu = "2" }',
            "events[0].multiplier.cpu: expected times as much from 0.05 to 100, got '2'",
        ),
        (
            "start = 2026-02-30\nname = 'fair' # x\n[[events]]\nname = 'other'",
            "Invalid date or datetime (at line 2, column 9), in event 'fair'",
        ),
        ('name = "x"\nstart = 2026-01-01\nregions = []', "events[0].regions: expected a tag"),
        ('name = "x"\nstart = 2026-01-01\nrepeat = "weekly"', "events[0].repeat: expected an iC"),
        ('name = "x"\nstart = 2026-01-01\nrepaet = "x"', "unknown setting (did you mean 'repeat'"),
    ],
)
def test_a_fault_names_its_place_and_what_was_expected(
    faults: Callable[..., list[str]], entry: str, fault: str
) -> None:
    found = faults(f"[[events]]\n{entry}\n")
    assert len(found) == 1
    assert found[0].startswith("tidegate.toml: ")
    assert fault in found[0]


def test_the_summary_counts_events_and_warns_of_regions_that_nobody_has(
    load: Loader, tmp_path: Path
) -> None:
    (tmp_path / "holidays.ics").write_text(CALENDAR)
    day = 'name = "x"\nstart = 2026-01-01T09:00:00\nduration_s = 60\n'
    config = load(
        f'[[events]]\n{day}regions = ["eu", "us"]\n[[events]]\n{day}regions = "asia"\n'
        f'[[events]]\n{day}repeat = "FREQ=DAILY"\n[[calendars]]\nfile = "{{here}}/holidays.ics"\n',
        web='qos = "gold"\nregions = "us"\n',
    )
    (line,) = (line for line in summary(config) if line.startswith("3 event(s), 1 calendar(s): "))
    assert re.fullmatch(r".*: [23] occurrence\(s\) within two days", line)
    assert warnings(config)[0] == "event 'x': no tenant has asia, so it raises nothing"
    assert not any("event" in line for line in summary(load()))


def test_a_tenant_cannot_name_regions_of_an_event(faults: Callable[..., list[str]]) -> None:
    own = '[[events]]\nname = "x"\nstart = 2026-01-01\nregions = "eu"\n'
    (found,) = faults(web=f'qos = "gold"\n{own}')
    assert found.startswith("tenants.d/web.toml: events[0].regions: unknown setting")


def test_a_list_that_is_none_and_too_many_entries_are_refused(
    faults: Callable[..., list[str]],
) -> None:
    assert "events: expected a list of tables ([[events]]), got a table" in faults("[events]")[0]
    many = '[[calendars]]\nfile = "/x"\n' * 201
    assert "calendars: expected at most 200 in one file, got 201" in faults(many)[0]


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: not a regular file"),
        (lambda path: path.write_bytes(b"x" * (1 << 20) + b"x"), "larger than 1024 KiB"),
        (lambda path: path.write_bytes(b"\n"), "got an empty one"),
        (lambda path: path.write_bytes(b"hello"), "cannot be read: "),
        (
            lambda path: path.write_text(CALENDAR.replace("DATE:20260501", "DATE:2026")),
            "cannot be read: DTSTART",
        ),
    ],
)
def test_a_calendar_that_cannot_be_read_is_told(
    load: Loader, tmp_path: Path, make: Callable[[Path], object], fault: str
) -> None:
    make(tmp_path / "x.ics")
    own = '[[calendars]]\nfile = "{here}/x.ics"\n'
    day = '[[events]]\nname = "x"\nstart = 2026-01-01\nrepeat = "FREQ=DAILY"\n'
    config = load(day, web=f'qos = "gold"\n{own}')
    (found,) = event_faults(config)
    assert found.startswith(f"tenant web: {tmp_path}/x.ics: ")
    assert fault in found
    assert len(config.tenants) == 1
    assert {one.name for one in config.expansion.occurrences} == {"x"}


def test_what_raises_nothing_is_warned_of(load: Loader) -> None:
    entry = '[[events]]\nname = "{}"\nstart = {}\nmultiplier = {}\n'
    text = entry.format("past", "2020-01-01", 2) + entry.format("low", "2190-01-01", 0.5)
    metrics = 'qos = "gold"\n[metrics]\nfile = "{}/web.json"\n'
    config = load(f'{text}[calendar]\nlead_s = "3d"\n', web=metrics.format("/tmp"))  # noqa: S108
    over, low, lead, hidden = warnings(config)
    assert over.startswith("event 'past': is over")
    assert low.startswith("event 'low': a multiplier below 1 (cpu, ")
    assert lead.startswith("calendar.lead_s: 3d is more than the 2d for which")
    assert hidden.startswith("metrics.file: 1 tenant(s) with one that is hidden")
    assert hidden.endswith("web /tmp/web.json")
    fine = entry.format("fine", "2190-01-01", 1)
    assert warnings(load(fine, web=metrics.format("/run/x"))) == ()


def test_a_rule_that_only_the_library_understands_is_told_and_refuses_nothing(load: Loader) -> None:
    config = load('[[events]]\nname = "x"\nstart = 2026-01-01\nrepeat = "FREQ=OFTEN"\n')
    (found,) = event_faults(config)
    assert found.startswith("event 'x': cannot be read: ")


def test_where_no_process_can_be_had_the_configuration_is_good_all_the_same(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.expanding._COMMAND", ("/nowhere/python",))
    config = load('[[events]]\nname = "x"\nstart = 2026-01-01\nrepeat = "FREQ=DAILY"\n')
    (found,) = event_faults(config)
    assert found.startswith("event 'x': cannot be expanded: ")


def test_calendars_are_bounded_all_together_and_one_file_counts_once(
    load: Loader, tmp_path: Path
) -> None:
    padding = f"X-PADDING:{'x' * (1 << 20)}"[: (1 << 20) - len(CALENDAR) - 1]
    text = CALENDAR.replace("BEGIN:VEVENT", f"{padding}\nBEGIN:VEVENT", 1)
    names = [f"{at}.ics" for at in range(5)]
    for name in names:
        (tmp_path / name).write_text(text)
    entry = '[[calendars]]\nfile = "{{here}}/{}"\n'
    assert len(load(entry.format("0.ics") * 8).events) == 8
    (found,) = event_faults(load("".join(entry.format(name) for name in names)))
    assert found.startswith(f"{tmp_path}/4.ics: ")
    assert "all such files together are larger than 4096 KiB" in found


@pytest.mark.parametrize("part", ["INTERVAL=0", "INTERVAL=-5", "COUNT=0", "COUNT=000;BYDAY=MO"])
def test_a_rule_that_never_comes_to_its_next_is_refused(part: str, load: Loader) -> None:
    with pytest.raises(ConfigError, match="expected an iCalendar rule"):
        load(f'[[events]]\nname = "x"\nstart = 2026-01-01\nrepeat = "FREQ=DAILY;{part}"\n')
