"""What was recorded of one tenant, gathered into lines that a person reads.  Pure."""

import math
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np

from agent.amounts import bare_text, unit_of
from agent.history import Past
from agent.table import Column, table
from agent.tenant import Floats, Resource
from agent.units import seconds_text

_MOST_LINES = 48
# How many steps a line may stand for: usual steps make even times of these.
_NICE = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)
_WIDTH = 100
_MINUTE_S = 60.0


class Line(msgspec.Struct, frozen=True):
    """Some steps of a tenant; None is unknown, or no limit where the rest is known."""

    ended_at: str
    used: float | None
    demand: float | None
    peak: float | None
    limit: float | None


class Answer(msgspec.Struct, frozen=True):
    """What is printed."""

    tenant: str
    resource: str
    unit: str
    step_s: float
    every_s: float
    lines: tuple[Line, ...]


def steps_a_line(steps: int) -> int:
    """Return for how many steps a line stands where all are to fill a screen."""
    enough = [count for count in _NICE if count * _MOST_LINES >= steps]
    return enough[0] if enough else math.ceil(steps / _MOST_LINES)


def answer_of(past: Past, tenant: str, resource: Resource, *, each: int) -> Answer:
    """Gather `each` steps into a line; the newest line is whole, the oldest may be shorter."""
    place, steps = past.tenants.index(tenant), len(past.ended_at_s)
    ends = np.arange(steps, 0, -each)[::-1]
    cuts = [slice(max(int(end) - each, 0), int(end)) for end in ends]
    lines = tuple(_line(past, resource, place, cut) for cut in cuts)
    every_s = each * past.step_s
    return Answer(tenant, str(resource), unit_of(resource.kind), past.step_s, every_s, lines)


def _line(past: Past, resource: Resource, place: int, cut: slice) -> Line:
    ended = datetime.fromtimestamp(float(past.ended_at_s[cut][-1])).astimezone()
    demand = past.demand[resource][cut, place]
    is_known = ~np.isnan(demand)

    def mean(column: Floats) -> float | None:
        return _told(np.mean(column[cut, place][is_known])) if is_known.any() else None

    peak = past.peak[resource][cut, place]
    return Line(
        ended_at=ended.isoformat(timespec="seconds"),
        used=mean(past.usage[resource]),
        demand=mean(past.demand[resource]),
        peak=_told(np.max(peak[is_known])) if is_known.any() else None,
        limit=mean(past.limit[resource]),
    )


def _told(value: np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None


def text_lines(answer: Answer) -> Sequence[str]:
    """Lay an answer out as a table."""
    kind = Resource.parsed(answer.resource).kind
    times = [datetime.fromisoformat(line.ended_at) for line in answer.lines]
    clock = "%H:%M" if answer.every_s % _MINUTE_S == 0 else "%H:%M:%S"
    form = clock if times[0].date() == times[-1].date() else f"%b %d {clock}"

    def told(amount: float | None) -> str:
        return "-" if amount is None else bare_text(kind, amount)

    columns: list[Column[tuple[datetime, Line]]] = [
        Column("ENDED", lambda row: row[0].strftime(form), is_left=True),
        Column("USED", lambda row: told(row[1].used)),
        Column("DEMAND", lambda row: told(row[1].demand)),
        Column("PEAK", lambda row: told(row[1].peak)),
        Column("LIMIT", lambda row: told(row[1].limit)),
        Column("UNMET", lambda row: _unmet(row[1])),
    ]
    heads, body, _ = table(columns, list(zip(times, answer.lines, strict=True)), width=_WIDTH)
    what = f"{answer.tenant}: {answer.resource} in {answer.unit}"
    return [f"{what}, a line for each {seconds_text(answer.every_s)}", *heads, *body]


def _unmet(line: Line) -> str:
    if line.used is None or line.demand is None:
        return "-"
    missing = max(line.demand - line.used, 0.0)
    return f"{100 * missing / line.demand:.0f}%" if line.demand > 0 else "0%"
