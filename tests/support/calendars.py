"""A calendar of events given in place of files, on a clock of the test's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.calendar import Calendar, CalendarPlan
from agent.event import EventSource, Expansion, Occurrence
from agent.learned_store import LearnedStore
from agent.tenant import BASIC, Kind, Resource, Roster
from agent.uplift import Windows

EPOCH_S = 1_790_000_000.0  # UNIX time at which the test's clock begins
MINUTE_S, HOUR_S = 60.0, 3600.0


class Clock:
    """UNIX time, as the test says."""

    def __init__(self, now_s: float = EPOCH_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def once(
    name: str, start_s: float, lasts_s: float, cpu: float | None = None, tenant: str = ""
) -> EventSource:
    """Return an event `start_s` after the epoch; without a multiplier it is learned."""
    span_s = EPOCH_S + start_s, EPOCH_S + start_s + lasts_s
    multiplier = {} if cpu is None else {Kind.CPU: cpu}
    return EventSource(name, name, tenant, multiplier=multiplier, span_s=span_s)


def every(name: str, starts_s: Sequence[float], lasts_s: float) -> list[EventSource]:
    """Return one event that is learned, at several times after the epoch."""
    return [once(name, start_s, lasts_s) for start_s in starts_s]


def in_place(
    sources: Sequence[EventSource], since_s: float = EPOCH_S, _is_wanted: object = None
) -> Expansion:
    """Return all times of events that take place once, whenever that is."""
    spans = [(source.span_s or (0.0, 0.0), source.name, at) for at, source in enumerate(sources)]
    found = sorted(Occurrence(*span_s, name, at) for span_s, name, at in spans)
    return Expansion(since_s, since_s + 1e6, tuple(found), ("",) * len(sources))


def plan_of(
    sources: Sequence[EventSource], *, step_s: float = MINUTE_S, lead_s: float = 5 * MINUTE_S
) -> CalendarPlan:
    """Return what a configuration with these events says."""
    horizons_s = (5 * MINUTE_S, 10 * MINUTE_S, 15 * MINUTE_S)
    windows = Windows.of(lead_s=lead_s, step_s=step_s, horizons_s=horizons_s)
    return CalendarPlan(windows, step_s, tuple(sources), in_place(sources))


def calendar_of(
    sources: Sequence[EventSource],
    roster: Roster,
    clock: Clock,
    folder: Path,
    *,
    foreseen: Sequence[Resource] = BASIC,
    step_s: float = MINUTE_S,
) -> Calendar:
    """Return a calendar that keeps what it learns in `folder`."""
    return Calendar(
        replace(plan_of(sources, step_s=step_s)),
        roster,
        foreseen,
        clock=clock,
        store=LearnedStore(folder / "events.db"),
        expand=in_place,
    )
