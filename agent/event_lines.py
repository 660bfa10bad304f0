"""Known events as lines for a terminal.  Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agent.answers import Events, EventStatus
from agent.table import Column, table
from agent.units import seconds_text

_NONE = "No known event is on or coming within two days ([[events]] and [[calendars]])."


@dataclass(frozen=True, slots=True)
class _Row:
    """One occurrence of an event, and how many more of it are coming."""

    event: EventStatus
    again: int


def event_lines(answer: Events, *, width: int, is_whole: bool = False) -> list[str]:
    """Return a table of events, how many more there are, and sources that have problems.

    An event that comes several times has one line, its first, unless the list is to be whole: one
    that comes every minute would hide all others.
    """
    problems = [f"Problem: {problem}" for problem in answer.problems]
    if not answer.events:
        return [_NONE, *problems]
    rows = [_Row(one, 0) for one in answer.events] if is_whole else _firsts(answer.events)
    head, body, _ = table(_COLUMNS if not is_whole else _EACH, rows, width=width)
    further = [f"and {answer.left_out} more, later"] if answer.left_out else []
    told = ["", *problems] if problems else []
    return [*head, *body, *further, *told]


def _firsts(events: Sequence[EventStatus]) -> list[_Row]:
    """Return the first occurrence of each event; `events` are in the order in which they start."""
    times = Counter((one.name, one.concerns) for one in events)
    firsts = {(one.name, one.concerns): one for one in reversed(events)}
    rows = [_Row(one, times[key] - 1) for key, one in firsts.items()]
    return sorted(rows, key=lambda row: (row.event.starts_at, row.event.name))


def _takes(row: _Row) -> str:
    """Return in a few words what an event takes."""
    event = row.event
    if not event.tenants:
        return "no tenant is concerned"
    texts = []
    for one in event.multipliers:
        times = f"x{one.least:g}" if one.least == one.most else f"x{one.least:g} to x{one.most:g}"
        source = f" (learned: {one.occurrences})" if one.is_learned else ""
        is_unknown = one.is_learned and not one.occurrences
        texts.append(f"{one.resource} {'unknown' if is_unknown else times + source}")
    return ", ".join(texts)


_COLUMNS: Sequence[Column[_Row]] = (
    Column("STARTS", lambda row: row.event.starts_at[:16].replace("T", " "), is_left=True),
    Column("AGAIN", lambda row: str(row.again or "-")),
    Column("LASTS", lambda row: seconds_text(row.event.lasts_s)),
    Column("EVENT", lambda row: row.event.name, is_left=True, shortest=16),
    Column("CONCERNS", lambda row: row.event.concerns, is_left=True, shortest=12),
    Column("TAKES", _takes, is_left=True),
)
_EACH = tuple(column for column in _COLUMNS if column.title != "AGAIN")
