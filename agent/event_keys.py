"""Kinds of values that tell of events: times, time zones, rules, regions, multipliers.  Pure.

What a rule means the library says that expands it; here only its length and letters are checked.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from agent.keys import Kind, PartError, number, shown, unknown_text
from agent.tenant import Kind as ResourceKind

LEAST_MULTIPLIER, MOST_MULTIPLIER = 0.05, 100.0
_REGION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_RULE = re.compile(r"(?:RRULE:)?(FREQ=[A-Z]{5,8}(?:;[A-Z]{3,10}=[A-Z0-9,+-]{1,200}){0,12})")
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+/-]{0,62}", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1970, 2200  # within what UNIX time, and time zones, can tell
_MOST_NAME = 80
_MOST_REGIONS = 100
_TIMES = number("times as much", least=LEAST_MULTIPLIER, most=MOST_MULTIPLIER)


def event_name() -> Kind:
    """Return the kind of names of events: a line that any terminal can show."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value != shown_name(value) or not value:
            raise ValueError("no name")
        return value

    return Kind(f"a name of 1 to {_MOST_NAME} printable characters", read)


def shown_name(text: str) -> str:
    """Return what of `text` a terminal can show on one line, at most 80 characters of it."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable[: 4 * _MOST_NAME].split())[:_MOST_NAME].rstrip()


def moment() -> Kind:
    """Return the kind of dates and times as TOML has them."""

    def read(value: Any) -> date:
        if not isinstance(value, date):
            raise TypeError("no date")
        if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
            raise ValueError("beyond what anyone plans")
        return value

    return Kind("a date or a date and time without quotes, such as 2026-11-27T09:00:00", read)


def is_whole_day(value: date) -> bool:
    """Say whether this is a date without a time."""
    return not isinstance(value, datetime)


# Intervals of nothing, and counts of nothing: libraries look for the next occurrence for ever.
_NEVER_ENDING = re.compile(r"(?:INTERVAL|COUNT)=(?:-|0+(?:;|$))", re.IGNORECASE)


def rule() -> Kind:
    """Return the kind of recurrence rules (RFC 5545, 3.3.10)."""

    def read(value: Any) -> str:
        match = _RULE.fullmatch(value) if isinstance(value, str) else None
        if match is None or _NEVER_ENDING.search(match[1]):
            raise ValueError("no rule")
        return match[1]

    return Kind('an iCalendar rule, such as "FREQ=WEEKLY;BYDAY=MO"', read)


def time_zone() -> Kind:
    """Return the kind of IANA time zones that this host knows."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not _ZONE.fullmatch(value):
            raise ValueError("no time zone")
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(value).key
        except (KeyError, OSError) as error:  # unknown; a folder
            raise ValueError("no time zone") from error

    return Kind('a time zone that this host knows, such as "Europe/Berlin"', read)


def regions() -> Kind:
    """Return the kind of tags: one, or a list of them."""

    def read(value: Any) -> tuple[str, ...]:
        tags = [value] if isinstance(value, str) else value
        if not isinstance(tags, list) or not 1 <= len(tags) <= _MOST_REGIONS:
            raise ValueError("no tags")
        if not all(isinstance(tag, str) and _REGION.fullmatch(tag) for tag in tags):
            raise ValueError("not a tag")
        return tuple(sorted(set(tags)))

    return Kind('a tag or a list of tags of a-z, 0-9, "_" and "-"', read)


def multiplier() -> Kind:
    """Return the kind of multipliers: a number for all that is spent, or a table of resources."""

    def read(value: Any) -> dict[ResourceKind, float]:
        if not isinstance(value, Mapping):
            times = float(_TIMES.read(value))
            return {kind: times for kind in ResourceKind if kind is not ResourceKind.MEMORY}
        return {_resource(name): _times(name, times) for name, times in value.items()}

    text = f"from {LEAST_MULTIPLIER:g} to {MOST_MULTIPLIER:g}"
    return Kind(f"a multiplier {text}, or a table of them by resource", read)


def _resource(name: str) -> ResourceKind:
    if name not in list(ResourceKind):
        raise PartError(name, unknown_text("resource", name, list(ResourceKind)))
    return ResourceKind(name)


def _times(name: str, value: Any) -> float:
    try:
        return float(_TIMES.read(value))
    except (TypeError, ValueError) as error:
        message = f"expected {_TIMES.expectation}, got {shown(value)}"
        raise PartError(name, message) from error
