"""The audit trail: emergency grants that begin or end, and what somebody else changed.

Lines go to the log, which is only ever appended to.  Nothing here decides.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import structlog

from agent.log_events import Event
from agent.record import Loss, ResourceTick, TickRecord, positions_before
from agent.tenant import Floats, Ints, Resource, carried_over
from enforce.limits import text

_DIGITS = 6
_MOST_LOGGED = 50
_log = structlog.get_logger()


def log_grants(before: TickRecord | None, after: TickRecord) -> None:
    """Log each grant that began or ended between two ticks, and each pool that was withheld.

    Where the whole host is only observed, each line says so: it is decided, and nothing is written.
    """
    observed = {"only_observed": True} if after.is_observing else {}
    for one in grant_events(before, after):
        one.log(**observed)


def log_drift(record: TickRecord) -> None:
    """Log what somebody else was seen to have changed, of very many changes only the first."""
    drift = record.drift
    if drift is None:
        return
    _log_losses([one for one in drift.losses if one.last_s == record.taken_at_s], record.number)
    for one in drift.changes[:_MOST_LOGGED]:
        is_foreign = drift.pins.is_foreign.get(one.control)
        is_pinned = is_foreign is not None and bool(is_foreign[one.tenant])
        _log.warning(
            "somebody else changed a limit",
            tick=record.number,
            tenant=record.roster.names[one.tenant],
            control=str(one.control),
            before=text(one.control, one.before),
            after=text(one.control, one.after),
            becomes="a pin" if is_pinned else "put back",
        )
    if (more := len(drift.changes) - _MOST_LOGGED) > 0:
        _log.warning("somebody else changed more limits", tick=record.number, changes=more)


def _log_losses(losses: Sequence[Loss], tick: int) -> None:
    for one in losses[:_MOST_LOGGED]:
        about = {"where": one.where, "what": one.what, "how": one.how, "tenant": one.tenant}
        said = {name: value for name, value in about.items() if value}
        _log.warning("put back what somebody else took from a network", tick=tick, **said)
    if (more := len(losses) - _MOST_LOGGED) > 0:
        _log.warning("put back more that somebody else took", tick=tick, losses=more)


def grant_events(before: TickRecord | None, after: TickRecord) -> Iterator[Event]:
    """Return what changed in the emergency pools between two ticks, the host's part first."""
    for resource, tick in after.resources.items():
        earlier = None if before is None else before.resources.get(resource)
        yield from _host_events(after, resource, tick, earlier)
        positions = positions_before(before, after)
        has_grant = tick.grant_left_s > 0
        had_grant = _earlier(earlier, "grant_left_s", positions) > 0
        is_cooling = tick.cooldown_left_s > 0
        was_cooling = _earlier(earlier, "cooldown_left_s", positions) > 0
        for position in np.flatnonzero(has_grant & ~had_grant).tolist():
            why = _begin_reason(after, resource, position)
            yield _tenant_event("emergency grant", after, resource, position, why)
        for position in np.flatnonzero(is_cooling & ~was_cooling).tolist():
            is_preempted = tick.preempted_by[position] >= 0
            event = "emergency grant pre-empted" if is_preempted else "emergency grant ends"
            why = _end_reason(after, tick, position)
            yield _tenant_event(event, after, resource, position, why)
        for position in np.flatnonzero(was_cooling & ~is_cooling).tolist():
            why = "its cool-down is over"
            yield _tenant_event("emergency grant taken back", after, resource, position, why)


def _host_events(
    after: TickRecord, resource: Resource, tick: ResourceTick, earlier: ResourceTick | None
) -> Iterator[Event]:
    was_needed = earlier is not None and bool(earlier.host_need)
    numbers = {"pool": round(float(tick.emergency_pool), _DIGITS)}
    if tick.host_need and not was_needed:
        event, why = "emergency pool kept for the host", tick.host_need
    elif was_needed and not tick.host_need:
        event, why = "emergency pool free again", "the host is out of danger"
    else:
        return
    yield Event(event, after.number, str(resource), "", why, numbers)


def _tenant_event(
    event: str, after: TickRecord, resource: Resource, position: int, why: str
) -> Event:
    tick = after.resources[resource]
    columns = {
        "amount": tick.emergency,
        "demand": tick.demand,
        "usage": tick.usage,
        "guaranteed": tick.guaranteed,
        "limit": tick.limit,
        "balance": tick.balance,
        "grant_left_s": tick.grant_left_s,
        "cooldown_left_s": tick.cooldown_left_s,
    }
    numbers = {
        name: round(float(column[position]), _DIGITS)
        for name, column in columns.items()
        if np.isfinite(column[position])
    }
    numbers["pool"] = round(float(tick.emergency_pool), _DIGITS)
    name = after.roster.names[position]
    return Event(event, after.number, str(resource), name, why, numbers)


def _begin_reason(after: TickRecord, resource: Resource, position: int) -> str:
    """Say what held a tenant back: its limit or, of what is spent, a host that is full."""
    is_throttled = after.throttled_fraction[position] > 0
    is_hit = not resource.is_spent or (resource == Resource.CPU and is_throttled)
    held_back = "its limit was hit" if is_hit else "it had to wait on a full host"
    return f"{held_back} and it is short of what it demands"


def _end_reason(after: TickRecord, tick: ResourceTick, position: int) -> str:
    if (by := int(tick.preempted_by[position])) >= 0:
        who = f"{after.roster.names[by]} ({after.roster.qos_names[by]})"
        return f"{who} is short of what it demands and ranks before it: it gets what is taken back"
    if tick.host_need:
        return f"the host itself needs the pool: {tick.host_need}"
    if after.roster.is_observed_only[position]:
        return "it is only observed now"
    return "it is in debt" if tick.balance[position] < 0 else "its time is over"


def _earlier(tick: ResourceTick | None, name: str, positions: Ints) -> Floats:
    if tick is None:
        return np.zeros(len(positions))
    return carried_over(getattr(tick, name), positions, 0.0)
