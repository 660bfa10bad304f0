"""Works out when events take place, in a process of its own: `python -I -m agent.expansion`.

The library that reads iCalendar takes 10 MiB, and a hostile rule all the time that there is: both
end with this process and those that it forks.  A request on standard input, an answer on standard
output.
"""

import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from agent.portions import Budget, Cut, in_portions

if TYPE_CHECKING:
    from icalendar import Calendar

MOST_OCCURRENCES = 2000  # of one source within the time asked for
_NICENESS = 10
_MOST_CPU_S = 40  # of one process, whatever it does
_DATA_BYTES = 384 << 20  # of each process; a full MiB of recurring events takes 210 MiB
_OOM_SCORE_ADJ = "900"  # as the forecaster's: the agent itself is to go last
_MARGIN = timedelta(days=1)  # a local time differs from UTC by up to 14 hours
_NO_END_S = 3600.0  # of an event without an end
_LONGEST_NAME, _LONGEST_MESSAGE = 400, 200
_TIMES = ("DTSTART", "DTEND", "RDATE", "EXDATE", "RECURRENCE-ID")
_LENGTH = "X-TIDEGATE-LENGTH"  # of an event with a duration: all of it, and its hours


class Source(msgspec.Struct, frozen=True, array_like=True):
    """What is to be expanded: an iCalendar file, or one event with a rule (see `EventSource`)."""

    timezone: str
    calendar: bytes = b""
    name: str = ""
    starts: str = ""
    ends: str = ""
    lasts_s: float = 0.0
    repeat: str = ""


class Request(msgspec.Struct, frozen=True):
    """From when to when, in UNIX time, and of what; and how much it may come to."""

    since_s: float
    until_s: float
    sources: tuple[Source, ...]
    most_occurrences: int  # of all sources
    source_cpu_s: float  # for each source
    all_cpu_s: float
    wall_s: float


class Expanded(msgspec.Struct, frozen=True, array_like=True):
    """Name, start and end of each occurrence that is on in the time asked for; or what is wrong."""

    occurrences: tuple[tuple[str, float, float], ...] = ()
    problem: str = ""


def main() -> None:
    """Answer one request."""
    _settle_down()
    write_fd = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is a log line
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    with os.fdopen(write_fd, "wb") as stream:
        stream.write(msgspec.msgpack.encode(_answers(request)))


def _answers(request: Request) -> list[Expanded]:
    """Return when each source's events are on, or what is wrong with it; each by itself."""
    import recurring_ical_events  # noqa: F401 - once, and not in each process

    def work(place: int) -> bytes:
        return msgspec.msgpack.encode(_expanded(request.sources[place], request))

    budget = Budget(request.source_cpu_s, request.all_cpu_s, request.wall_s)
    answers, left = [], request.most_occurrences
    for one in in_portions(len(request.sources), work, budget):
        found = (
            _cut_short(one, request)
            if isinstance(one, Cut)
            else msgspec.msgpack.decode(one, type=Expanded)
        )
        if len(found.occurrences) > left:
            found = Expanded(problem=too_many(request.most_occurrences))
        answers.append(found)
        left -= len(found.occurrences)
    return answers


def _cut_short(cut: Cut, request: Request) -> Expanded:
    """Say why a source was not worked out."""
    if cut.signal == signal.SIGPROF:
        return Expanded(problem=f"takes more than {cut.cpu_s:.2g} s to expand: {_TOO_OFTEN}")
    if cut.cpu_s:
        return Expanded(problem=f"cannot be expanded: its process was ended (signal {cut.signal})")
    most = f"{request.all_cpu_s:g} s of CPU time, or {request.wall_s:g} s"
    return Expanded(problem=f"not expanded: all events together take more than {most}")


def too_many(most: int) -> str:
    """Return the problem of a source beyond what all may come to."""
    return f"more than {most} occurrences of all events together"


def _settle_down() -> None:
    """Become a background process that is bounded in memory and time."""
    os.nice(_NICENESS)
    with suppress(OSError):  # where /proc can be written
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S))


def _expanded(source: Source, request: Request) -> Expanded:
    """Return when one source's events are on; whatever it holds, this returns or is ended."""
    try:
        found = list(islice(_occurrences(source, request), MOST_OCCURRENCES + 1))
    except MemoryError:
        return Expanded(problem=f"takes too much memory to expand: {_TOO_OFTEN}")
    except Exception as error:  # noqa: BLE001 - libraries raise whatever hostile text makes them
        return Expanded(problem=f"cannot be read: {_said(error)}")
    if len(found) > MOST_OCCURRENCES:
        days = (request.until_s - request.since_s) / 86_400
        return Expanded(
            problem=f"more than {MOST_OCCURRENCES} occurrences in {days:.0f} days: {_TOO_OFTEN}"
        )
    return Expanded(tuple(found))


_TOO_OFTEN = "is there a rule that repeats every minute or second, or never matches?"


def _said(error: Exception) -> str:
    """Return what an exception says, short and on one line."""
    text = str(error).strip() or type(error).__name__
    return ascii(text[:_LONGEST_MESSAGE])[1:-1]


def _occurrences(source: Source, request: Request) -> Iterator[tuple[str, float, float]]:
    """Yield each occurrence that is on between the two times of a request."""
    import recurring_ical_events

    zone = ZoneInfo(source.timezone)
    since = datetime.fromtimestamp(request.since_s, UTC) - _MARGIN
    until = datetime.fromtimestamp(request.until_s, UTC) + _MARGIN
    query = recurring_ical_events.of(_calendar(source, zone))
    for component in query.between(since, until):  # `after` would ask for each quarter of an hour
        start_s, end_s = _span_s(component, zone)
        is_near = start_s < request.until_s and end_s > request.since_s
        if is_near and str(component.get("STATUS", "")).upper() != "CANCELLED":
            name = str(component.get("SUMMARY") or component.get("UID") or source.name)
            yield name[:_LONGEST_NAME], start_s, end_s


def _span_s(component: Any, zone: ZoneInfo) -> tuple[float, float]:
    """Return when an occurrence starts and ends.

    An end is a local time; a duration's days are those of the calendar, and its hours are exact
    (RFC 5545, 3.3.6), which the library knows nothing of.
    """
    start, end = component["DTSTART"].dt, component["DTEND"].dt
    start_s, end_s = _unix_s(start, zone), _unix_s(end, zone)
    length, hours = component.get(_LENGTH) or (None, timedelta())
    if isinstance(start, datetime) and end - start == length:  # in RDATE there may be others
        end_s = _unix_s(end - hours, zone) + hours.total_seconds()
    if end_s <= start_s and end > start:  # in the hour that spring leaves out
        end_s = start_s + (end - start).total_seconds()
    return start_s, end_s if end_s > start_s else start_s + _NO_END_S


def _calendar(source: Source, zone: ZoneInfo) -> "Calendar":
    """Return an iCalendar file as the library reads it; of one event with a rule, one like it."""
    from icalendar import Calendar, Event, vRecur

    if not source.repeat:
        return _parsed(source.calendar)
    event = Event()
    event.add("uid", "event")
    event.add("summary", source.name)
    event.add("dtstart", _local(source.starts, zone))
    if source.lasts_s:
        length = timedelta(seconds=source.lasts_s)
        event.add("duration", length)
        event[_LENGTH] = length, length
    else:
        event.add("dtend", _local(source.ends, zone))
    event.add("rrule", vRecur.from_ical(source.repeat))
    calendar = Calendar()
    calendar.add_component(event)
    return calendar


def _parsed(contents: bytes) -> "Calendar":
    from icalendar import Calendar

    calendar: Any = Calendar.from_ical(contents)
    if not isinstance(calendar, Calendar):
        raise TypeError("no VCALENDAR in it")
    if not calendar.walk("VEVENT"):
        raise ValueError("no VEVENT in it")
    for event, text in zip(calendar.walk("VEVENT"), _lengths(contents), strict=True):
        _check(event)
        _note_length(event, text)
    return calendar


def _note_length(event: Any, text: str) -> None:
    """Keep an event's length apart from its hours; `text` is its DURATION, if it has one."""
    event[_LENGTH] = None
    if text:
        length = event["DURATION"].dt
        event[_LENGTH] = length, length - _whole_days(text)


def _lengths(contents: bytes) -> list[str]:
    """Return the DURATION of each VEVENT as it is written, "" where there is none."""
    found: list[str] = []
    inside: list[str] = []
    text = re.sub(r"\n+", "\n", contents.decode("utf-8", "replace").replace("\r\n", "\n"))
    for line in text.replace("\n ", "").replace("\n\t", "").split("\n"):
        name, _, value = line.partition(":")
        name = name.partition(";")[0].upper()
        if name == "BEGIN":
            inside.append(value.strip().upper())
            found += [""] if inside[-1] == "VEVENT" else []
        elif name == "END":
            inside[-1:] = []
        elif name == "DURATION" and inside[-1:] == ["VEVENT"]:
            found[-1] = line.rpartition(":")[2]
    return found


def _whole_days(text: str) -> timedelta:
    """Return the weeks and days of a DURATION: those of the calendar, not of 24 hours each."""
    weeks, days = (re.search(rf"(\d+){unit}", text.partition("T")[0]) for unit in "WD")
    sign = -1 if text.strip().startswith("-") else 1
    return sign * timedelta(weeks=int(weeks[1]) if weeks else 0, days=int(days[1]) if days else 0)


def _check(event: Any) -> None:
    """Refuse what the library would pass over: values that it cannot read, zones that none knows.

    Raises:
        ValueError: There is such a thing.

    """
    for name, problem in event.errors:
        raise ValueError(f"{name}: {problem}")
    if "DTSTART" not in event:
        raise ValueError(f"DTSTART: the event {str(event.get('SUMMARY', ''))[:40]!r} has none")
    if "EXRULE" in event:
        raise ValueError("EXRULE: not understood, name what does not take place in EXDATE")
    for name in _TIMES:
        values = event.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            zone = value.params.get("TZID")
            if zone and any(_is_of_no_zone(one.dt) for one in getattr(value, "dts", [value])):
                raise ValueError(f"{name}: no time zone {zone} is known")


def _is_of_no_zone(value: Any) -> bool:
    """Say so of a time; of a period, its start counts."""
    at = value[0] if isinstance(value, tuple) else value
    return isinstance(at, datetime) and at.tzinfo is None


def _local(text: str, zone: ZoneInfo) -> date:
    """Return the date, or the time in its own offset or in `zone`, that is meant by ISO 8601."""
    if "T" not in text:
        return date.fromisoformat(text)
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _unix_s(value: date, zone: ZoneInfo) -> float:
    at = value if isinstance(value, datetime) else datetime.combine(value, datetime.min.time())
    return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()


if __name__ == "__main__":
    main()
