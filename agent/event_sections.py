"""Tables of events and calendars: TOML in, `EventSource`s out, every fault of them at once.

Nothing here expands a rule: `agent.expanding` does, and says what is wrong with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.event import EventSource
from agent.event_keys import (
    event_name,
    is_whole_day,
    moment,
    multiplier,
    regions,
    rule,
    time_zone,
)
from agent.keys import Faults, Key, absolute_path, read_table, seconds, shown

EVENTS, CALENDARS = "events", "calendars"
EVENT_GROUPS = (EVENTS, CALENDARS)
MOST_ENTRIES = 200  # of one file
_LONGEST_S = 366 * 86_400.0
_SHARED = (Key("timezone", time_zone(), "timezone"), Key("multiplier", multiplier(), "multiplier"))
_REGIONS = Key("regions", regions(), "regions")
EVENT_KEYS = (
    Key("name", event_name(), "name", is_required=True),
    Key("start", moment(), "start", is_required=True),
    Key("end", moment(), "end"),
    Key("duration_s", seconds(above=0.0), "duration_s"),
    Key("repeat", rule(), "repeat"),
    *_SHARED,
    _REGIONS,
)
CALENDAR_KEYS = (Key("file", absolute_path(), "path", is_required=True), *_SHARED, _REGIONS)

Reading = Callable[[Path], bytes]


def event_sources(
    document: Mapping[str, Any], faults: Faults, *, tenant: str = "", read: Reading
) -> tuple[EventSource, ...]:
    """Return the events and calendars of one file, which is the host's or a tenant's own.

    `read` returns a file's contents and raises OSError where it cannot: that is no fault.
    """
    found: list[EventSource] = []
    for place, table in _entries(document, EVENTS, faults):
        settings = _settings(table, EVENT_KEYS, place, faults, tenant)
        source = None if settings is None else _event(place, settings, faults)
        found += [] if source is None else [replace(source, tenant=tenant)]
    for place, table in _entries(document, CALENDARS, faults):
        settings = _settings(table, CALENDAR_KEYS, place, faults, tenant)
        source = None if settings is None else _calendar(place, settings, read)
        found += [] if source is None else [replace(source, tenant=tenant)]
    return tuple(found)


def _entries(
    document: Mapping[str, Any], group: str, faults: Faults
) -> list[tuple[str, dict[str, Any]]]:
    """Return each table of a list of them, with its place for messages."""
    entries = document.get(group, [])
    if not isinstance(entries, list):
        faults.add(group, f"expected a list of tables ([[{group}]]), got {shown(entries)}")
        return []
    if len(entries) > MOST_ENTRIES:
        faults.add(group, f"expected at most {MOST_ENTRIES} in one file, got {len(entries)}")
        return []
    return [(f"{group}[{position}]", entry) for position, entry in enumerate(entries)]


def _settings(
    table: Any, keys: tuple[Key, ...], place: str, faults: Faults, tenant: str
) -> dict[str, Any] | None:
    """Return an entry's settings, or None and its faults; only the host's file has regions."""
    before = len(faults.lines)
    own = [key for key in keys if not (tenant and key is _REGIONS)]
    found = read_table(table, own, where=place, faults=faults)
    return None if len(faults.lines) > before else found


def _calendar(place: str, settings: dict[str, Any], read: Reading) -> EventSource:
    """Return a calendar; a file that cannot be read now is no fault: it is tried again later."""
    path = settings.pop("path")
    try:
        contents = read(path)
    except OSError:
        contents = b""
    return EventSource(place=place, path=str(path), calendar=contents, **settings)


def _event(place: str, settings: dict[str, Any], faults: Faults) -> EventSource | None:
    start, zone = settings.pop("start"), settings.get("timezone", "UTC")
    lasts_s = settings.pop("duration_s", None)
    end = _end(place, start, settings.pop("end", None), lasts_s, faults)
    if end is None:
        return None
    start_s = _unix_s(start, zone)
    end_s = _unix_s(end, zone) if lasts_s is None else start_s + lasts_s
    if end_s <= start_s and end > start:  # in the hour that spring leaves out
        end_s = start_s + (end - start).total_seconds()
    if not 0 < end_s - start_s <= _LONGEST_S:
        faults.add(f"{place}.end", f"expected a time after the start, within a year, got {end}")
        return None
    if "repeat" not in settings:
        return EventSource(place=place, span_s=(start_s, end_s), **settings)
    span = {"ends": end.isoformat()} if lasts_s is None else {"lasts_s": lasts_s}
    return EventSource(place=place, starts=start.isoformat(), **span, **settings)


def _end(
    place: str, start: date, end: date | None, duration_s: float | None, faults: Faults
) -> date | None:
    """Return when an event ends, of the start's type, or None and what is wrong."""
    if end is not None and duration_s is not None:
        faults.add(f"{place}.duration_s", "expected either an end or a duration, got both")
    elif duration_s is not None and is_whole_day(start):
        faults.add(f"{place}.duration_s", "expected a start with a time, got one of whole days")
    elif duration_s is not None:
        return start + timedelta(seconds=duration_s)
    elif end is None and is_whole_day(start):
        return start + timedelta(days=1)
    elif end is None:
        faults.add(f"{place}.end", "expected an end or a duration_s, got neither")
    elif _sort(end) != _sort(start):
        faults.add(f"{place}.end", f"expected {_sort(start)} as the start has, got {_sort(end)}")
    else:
        return end
    return None


def _sort(value: date) -> str:
    if not isinstance(value, datetime):
        return "a date"
    return "a local time" if value.tzinfo is None else "a time with an offset"


def _unix_s(value: date, zone: str) -> float:
    """Return UNIX time; a local one is of `zone`, a date is its first moment there."""
    from zoneinfo import ZoneInfo

    at = value if isinstance(value, datetime) else datetime.combine(value, datetime.min.time())
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp()
