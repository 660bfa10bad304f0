"""Known events for people and programs: what is coming, and what raised a profile.  Pure.

Every number was in the agenda; nothing here decides.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from agent.agenda import Agenda
from agent.answers import EventMultiplier, Events, EventStatus, Sentence
from agent.event import EventSource, Occurrence
from agent.tenant import Resource
from agent.units import three_digits

MOST_EVENTS = 500
_ONCE = three_digits(1.0)  # raised by nothing that could be shown
_NOTHING_LEARNED = "it has not been seen yet"


def events_answer(agenda: Agenda | None, *, now_s: float, problems: tuple[str, ...] = ()) -> Events:
    """Return what is on or coming at `now_s` (UNIX time), and which sources have problems."""
    if agenda is None:
        return Events((), 0, problems)
    ahead = [one for one in agenda.occurrences if one.end_s > now_s]
    shown = tuple(_event(agenda, one) for one in ahead[:MOST_EVENTS])
    return Events(shown, len(ahead) - len(shown), problems)


def raise_sentence(agenda: Agenda | None, resource: Resource, tenant: int) -> Sentence | None:
    """Return which event raised a tenant's profile of a resource, and by how much."""
    raised = None if agenda is None else agenda.raised(resource, tenant)
    if raised is None or three_digits(raised.times) == _ONCE:
        return None
    if not raised.name:
        back = "an event in which less than usual was expected ends"
        return Sentence("event", f"raised {three_digits(raised.times)} times: {back}.")
    source = (
        "as configured"
        if raised.occurrences is None
        else f"learned from {_times(raised.occurrences)}"
    )
    return Sentence(
        "event",
        f"raised {three_digits(raised.times)} times for {raised.name!r} from "
        f"{_moment_text(raised.start_s)}, which takes {three_digits(raised.multiplier)} times as "
        f"much ({source}); what the forecast has followed by itself is not added again.",
    )


def _event(agenda: Agenda, one: Occurrence) -> EventStatus:
    source = agenda.sources[one.source]
    return EventStatus(
        name=one.name,
        starts_at=_moment_text(one.start_s),
        ends_at=_moment_text(one.end_s),
        lasts_s=round(one.end_s - one.start_s, 3),
        concerns=_whom(source),
        tenants=len(_tenants(agenda, one)),
        multipliers=tuple(_multipliers(agenda, one)),
    )


def _whom(source: EventSource) -> str:
    if source.tenant:
        return f"tenant {source.tenant}"
    return f"regions {', '.join(source.regions)}" if source.regions else "all tenants"


def _tenants(agenda: Agenda, one: Occurrence) -> set[int]:
    return set((agenda.concerned[one.source].series % max(agenda.tenants, 1)).tolist())


def _multipliers(agenda: Agenda, one: Occurrence) -> Iterator[EventMultiplier]:
    """Yield what it takes of each resource; what is learned differs from tenant to tenant."""
    concerned = agenda.concerned[one.source]
    place = concerned.series // max(agenda.tenants, 1)
    for at, resource in enumerate(agenda.foreseen):
        series = concerned.series[place == at]
        if not len(series):
            continue
        configured = concerned.multiplier[place == at]
        learned, count = agenda.learned_from(one.name, series)
        is_learned = bool(np.isnan(configured).all())
        values = learned if is_learned else configured
        yield EventMultiplier(
            resource=str(resource),
            least=round(float(values.min()), 3),
            most=round(float(values.max()), 3),
            is_learned=is_learned,
            occurrences=int(count.max()),
        )


def _times(count: int) -> str:
    if not count:
        return _NOTHING_LEARNED
    return "one occurrence" if count == 1 else f"{count} occurrences"


def _moment_text(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
