"""The audit trail of forecasts: one line, with its numbers, when one is found poor or good again.

Nothing here judges: the forecaster does (`forecast.judge`).
"""

from collections.abc import Iterator, Mapping

import numpy as np

from agent.accuracy import quality_rows
from agent.log_events import Event
from agent.record import TickRecord, positions_before
from agent.tenant import Ints, Resource
from forecast.quality import POOR_COVERAGE, POOR_SKILL, Quality, Verdict

_BADLY = (
    f"its bound at 95 % held less than {POOR_COVERAGE:.0%} of the time, or it lost over "
    f"{-POOR_SKILL:.0%} more than the naive forecast"
)
# What it means to come to a verdict from another one; other changes are no news.
_EVENTS: Mapping[tuple[Verdict, Verdict], tuple[str, str]] = {
    (Verdict.UNJUDGED, Verdict.POOR): ("forecast poor: refitted early", _BADLY),
    (Verdict.GOOD, Verdict.POOR): ("forecast poor: refitted early", _BADLY),
    (Verdict.POOR, Verdict.REPLACED): (
        "forecast replaced by the fallback rule",
        "it stayed poor after it was refitted, and lost more than the rule",
    ),
    (Verdict.REPLACED, Verdict.POOR): (
        "forecast back from the fallback rule",
        "the model, scored in the shadow, lost less than the rule",
    ),
    (Verdict.POOR, Verdict.GOOD): ("forecast good again", "its figures are"),
}


def log_verdicts(before: TickRecord | None, after: TickRecord) -> None:
    """Log each forecast of which another verdict was come to between two ticks."""
    for one in verdict_events(before, after):
        one.log()


def verdict_events(before: TickRecord | None, after: TickRecord) -> Iterator[Event]:
    """Return what changed between two ticks, resource by resource."""
    for resource, tick in after.resources.items():
        earlier = None if before is None else before.resources.get(resource)
        was = None if earlier is None else earlier.quality
        if tick.quality is None or tick.quality is was:
            continue
        verdict = _earlier(was, positions_before(before, after))
        for position in np.flatnonzero(tick.quality.verdict != verdict).tolist():
            change = Verdict(verdict[position]), Verdict(tick.quality.verdict[position])
            if change in _EVENTS:
                yield _event(after, resource, tick.quality, position, *_EVENTS[change])


def _earlier(was: Quality | None, positions: Ints) -> Ints:
    """Return what was made of today's tenants' forecasts; at first nothing."""
    unjudged = np.full(len(positions), Verdict.UNJUDGED, dtype=np.int64)
    if was is None or not len(was.verdict):
        return unjudged
    return np.where(positions >= 0, was.verdict[np.maximum(positions, 0)], unjudged)


def _event(
    after: TickRecord,
    resource: Resource,
    quality: Quality,
    position: int,
    event: str,
    reason: str,
) -> Event:
    (found,) = quality_rows(quality, np.array([position]))
    numbers = (
        {}
        if found is None
        else {
            name: value
            for name in found.__struct_fields__
            if isinstance(value := getattr(found, name), float)
        }
    )
    return Event(event, after.number, str(resource), after.roster.names[position], reason, numbers)
