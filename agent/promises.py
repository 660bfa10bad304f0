"""What a valid configuration promises of what there is, and what in it is unwise.  Pure."""

import math

from agent.schema import TENANT_KEYS
from agent.sections import exact_text
from agent.settings import Config
from agent.tenant import Resource
from agent.units import seconds_text
from agent.wording import NO_TENANT

_MOST_NAMED = 3
_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108 - of the unit's PrivateTmp=
_MAX_LEFT_ALONE_NAMED = 5
# The agent and its forecaster, measured with up to some hundred tenants.
_AGENT_BYTES = 256 << 20


def summary(config: Config) -> list[str]:
    """Return in a few lines what a valid configuration promises of what there is."""
    lines = [
        f"{len(config.tenants)} tenant(s), no faults",
        *([] if config.tenants else [NO_TENANT]),
    ]
    for resource in config.resources:
        promised = sum(tenant.entitlements[resource].floor for tenant in config.tenants)
        capacity = exact_text(resource.kind, config.capacity[resource])
        floors = exact_text(resource.kind, promised)
        lines.append(f"{resource}: floors sum to {floors} of {capacity}, {config.modes[resource]}")
    lines += [_events_text(config)] if config.events else []
    lines += [f"left alone: {text}" for text in [left_alone_text(config)] if text]
    return [*lines, *(f"warning: {text}" for text in warnings(config))]


def warnings(config: Config) -> tuple[str, ...]:
    """Name what is valid and unwise."""
    memory, found = Resource.MEMORY, [*_high_ceilings(config), *_idle_events(config)]
    found += [*_event_slips(config), *_hidden_files(config)]
    left_bytes = config.machine[memory] - config.capacity[memory]
    if left_bytes < _AGENT_BYTES:
        left, needed = exact_text(memory.kind, left_bytes), exact_text(memory.kind, _AGENT_BYTES)
        found.append(
            f"host.memory_reserve_bytes leaves {left} to all but tenants, and tidegate itself "
            f"needs about {needed}"
        )
    return tuple(found)


def _high_ceilings(config: Config) -> list[str]:
    """Name the ceilings above all that there is: they limit nothing, and may be slips."""
    found = []
    for resource in config.resources:
        kind, has = resource.kind, config.machine[resource]
        where = ".".join(filter(None, (kind.group, resource.device, TENANT_KEYS[kind][1].name)))
        high = [
            (-tenant.entitlements[resource].ceiling, tenant.name)
            for tenant in config.tenants
            if has < tenant.entitlements[resource].ceiling < math.inf
        ]
        if high:
            named = ", ".join(
                f"{name} {exact_text(kind, -ceiling)}"
                for ceiling, name in sorted(high)[:_MOST_NAMED]
            )
            found.append(
                f"{where}: {len(high)} tenant(s) with more than the {exact_text(kind, has)} that "
                f"there are, which limits nothing: {named}"
            )
    return found


def _events_text(config: Config) -> str:
    """Say how many events there are, and how often they take place in the next days."""
    calendars = sum(bool(event.path) for event in config.events)
    count = f"{len(config.events) - calendars} event(s), {calendars} calendar(s)"
    since_s = config.expansion.since_s
    ahead = sum(one.end_s > since_s for one in config.expansion.occurrences)
    return f"{count}: {ahead} occurrence(s) within two days"


def event_faults(config: Config) -> tuple[str, ...]:
    """Name the rules and iCalendar files that cannot be expanded; the agent goes on without."""
    return config.expansion.told(config.events)


def _idle_events(config: Config) -> list[str]:
    """Name events of regions that no tenant has: they raise nothing, and may be slips."""
    has = {region for tenant in config.tenants for region in tenant.regions}
    return [
        f"{event.where}: no tenant has {' or '.join(event.regions)}, so it raises nothing"
        for event in config.events
        if event.regions and not has.intersection(event.regions)
    ]


def _event_slips(config: Config) -> list[str]:
    """Name events that are over or expect less than usual, and a lead beyond what is known.

    Occurrences are known for two days, and no profile is ever lowered.
    """
    found = []
    for event in config.events:
        if event.span_s is not None and event.span_s[1] <= config.expansion.since_s:
            found.append(f"{event.where}: is over, and does not repeat, so it raises nothing")
        if low := [kind for kind, times in event.multiplier.items() if times < 1.0]:
            found.append(
                f"{event.where}: a multiplier below 1 ({', '.join(low)}) lowers nothing: "
                "no profile is ever lowered"
            )
    known_s = config.expansion.until_s - config.expansion.since_s
    if config.events and config.calendar.lead_s > known_s:
        found.append(
            f"calendar.lead_s: {seconds_text(config.calendar.lead_s)} is more than the "
            f"{seconds_text(known_s)} for which occurrences are known, so profiles rise later"
        )
    return found


def _hidden_files(config: Config) -> list[str]:
    """Name metrics files that the service cannot see: its unit has a /tmp of its own."""
    hidden = [
        f"{tenant.name} {tenant.metrics_file}"
        for tenant in config.tenants
        if tenant.metrics_file and tenant.metrics_file.startswith(_PRIVATE)
    ]
    if not hidden:
        return []
    named = ", ".join(hidden[:_MOST_NAMED])
    return [
        f"metrics.file: {len(hidden)} tenant(s) with one that is hidden from the service, "
        f"which has a /tmp of its own (PrivateTmp=; /run is seen): {named}"
    ]


def left_alone_text(config: Config) -> str:
    """Return in one line which files beside the tenants' are none, and why; "" without any."""
    named = config.left_alone[:_MAX_LEFT_ALONE_NAMED]
    further = len(config.left_alone) - len(named)
    return ", ".join([*named, *([f"and {further} more"] if further else [])])
