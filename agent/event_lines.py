"""Known events as lines for a terminal.  Pure."""

from collections.abc import Sequence

from agent.answers import Events, EventStatus
from agent.table import Column, table
from agent.units import seconds_text

_NONE = "No known event is on or coming within two days ([[events]] and [[calendars]])."


def event_lines(answer: Events, *, width: int) -> list[str]:
    """Return a table of events, how many more there are, and sources that have problems."""
    problems = [f"Problem: {problem}" for problem in answer.problems]
    if not answer.events:
        return [_NONE, *problems]
    head, body, _ = table(_COLUMNS, answer.events, width=width)
    further = [f"and {answer.left_out} more"] if answer.left_out else []
    told = ["", *problems] if problems else []
    return [*head, *body, *further, *told]


def _takes(event: EventStatus) -> str:
    """Return in a few words what an event takes."""
    if not event.tenants:
        return "no tenant is concerned"
    texts = []
    for one in event.multipliers:
        times = f"x{one.least:g}" if one.least == one.most else f"x{one.least:g} to x{one.most:g}"
        source = f" (learned: {one.occurrences})" if one.is_learned else ""
        is_unknown = one.is_learned and not one.occurrences
        texts.append(f"{one.resource} {'unknown' if is_unknown else times + source}")
    return ", ".join(texts)


_COLUMNS: Sequence[Column[EventStatus]] = (
    Column("STARTS", lambda one: one.starts_at[:16].replace("T", " "), is_left=True),
    Column("LASTS", lambda one: seconds_text(one.lasts_s)),
    Column("EVENT", lambda one: one.name, is_left=True, shortest=16),
    Column("CONCERNS", lambda one: one.concerns, is_left=True, shortest=12),
    Column("TAKES", _takes, is_left=True),
)
