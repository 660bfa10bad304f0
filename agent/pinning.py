"""Pins that are asked for at the control socket: checked, then kept.

Nothing here decides what a pin does to a limit.
"""

import math
import time
from collections.abc import Callable, Mapping

import msgspec

from agent.amounts import amount_text
from agent.answers import TenantPins
from agent.options import LONGEST_S
from agent.pin_words import pins_at
from agent.pinboard import PinBoard
from agent.pins import Pin
from agent.record import TickRecord
from agent.tenant import BASIC, Resource
from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight

_LIMIT = {"cpu": Control.CPU_MAX, "memory": Control.MEMORY_HIGH}
_CONTROLS: Mapping[str, Callable[[AnyControl], bool]] = {
    "cpu": lambda control: isinstance(control, Control) and control.startswith("cpu."),
    "memory": lambda control: isinstance(control, Control) and control.startswith("memory."),
    "disk": lambda control: isinstance(control, DiskControl | DiskWeight),
    "network": lambda control: isinstance(control, ClassControl),
}


class PinError(Exception):
    """A pin cannot be as it was asked for; `hint` says what can."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class PinRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to pin: limits by resource, in cores or bytes, and for how many seconds."""

    limits: dict[str, float]
    for_s: float


class UnpinRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to unpin, of cpu, memory, disk and network; nothing is all of them."""

    resources: tuple[str, ...] = ()


def pin(board: PinBoard, record: TickRecord, name: str, body: bytes) -> TenantPins:
    """Pin limits of the tenant `name`, who exists, from the next tick on.

    Raises:
        PinError: A limit is outside of what the tenant may have, or it is only observed.
        msgspec.DecodeError: The body is no such request.

    """
    wanted, place = msgspec.json.decode(body, type=PinRequest), record.roster.names.index(name)
    if record.is_observing or record.roster.is_observed_only[place]:
        hint = "take `observe = true` out of its file (or the host's), and reload"
        raise PinError(f"{name} is only observed: no limit of it is written", hint)
    if not wanted.limits:
        raise PinError("expected at least one of cpu and memory")
    if not 0 < wanted.for_s <= LONGEST_S:
        raise PinError("expected a time above 0, and at most ten years")
    limits = {_known(resource): value for resource, value in wanted.limits.items()}
    _check(record, name, limits)
    until_s = time.monotonic() + wanted.for_s
    board.put(Pin(name, _LIMIT[r], value, until_s) for r, value in wanted.limits.items())
    return _answer(board, record, name)


def unpin(board: PinBoard, record: TickRecord, name: str, body: bytes) -> TenantPins:
    """End pins of the tenant `name`, whoever set them; its files are tidegate's again.

    Raises:
        PinError: Nothing of it is pinned, or there is no such resource.
        msgspec.DecodeError: The body is no such request.

    """
    asked = msgspec.json.decode(body or b"{}", type=UnpinRequest).resources or tuple(_CONTROLS)
    for resource in asked:
        if resource not in _CONTROLS:
            raise PinError(f"expected cpu, memory, disk or network, got {resource!r}")
    found = [
        (one.tenant, one.control)
        for one in board.of(name)
        if any(_CONTROLS[resource](one.control) for resource in asked)
    ]
    if not found:
        raise PinError(f"nothing of {name} is pinned ({', '.join(asked)})")
    board.drop(found)
    return _answer(board, record, name)


def _known(resource: str) -> Resource:
    if resource not in _LIMIT:
        raise PinError(f"expected cpu or memory, got {resource!r}")
    return next(one for one in BASIC if str(one) == resource)


def _check(record: TickRecord, name: str, limits: Mapping[Resource, float]) -> None:
    """Refuse what would break a promise, or could never be in force: all of it at once."""
    faults = [_fault(record, name, resource, value) for resource, value in limits.items()]
    told, nearest = [one[0] for one in faults if one], [one[1] for one in faults if one]
    if told:
        hint = f"such as: tidegate pin {name} {' '.join(nearest)}" if all(nearest) else ""
        raise PinError("; ".join(told), hint)


def _fault(
    record: TickRecord, name: str, resource: Resource, value: float
) -> tuple[str, str] | None:
    """Return what is wrong with a limit, and the nearest one that is not."""
    place = record.roster.names.index(name)
    terms, tick = record.roster.terms[resource], record.resources[resource]
    kind, floor, ceiling = resource.kind, terms.floor[place], terms.ceiling[place]
    smallest = 0.01 if resource == Resource.CPU else float(1 << 20)
    least, most = max(float(floor), smallest), min(float(ceiling), tick.capacity)
    if math.isfinite(value) and least <= value <= most:
        return None
    least_is = "its floor" if floor >= smallest else "the least that the kernel takes"
    most_is = "its ceiling" if ceiling <= tick.capacity else "what the host divides"
    told = (
        f"{resource}: expected {amount_text(kind, least)} ({least_is}) to "
        f"{amount_text(kind, most)} ({most_is}), got {amount_text(kind, value)}"
    )
    return told, _nearest(resource, value, least=least, most=most)


def _nearest(resource: Resource, value: float, *, least: float, most: float) -> str:
    """Return what is next to `value` as `pin` takes it, in the units of the configuration."""
    per_unit, unit = (100.0, "") if resource == Resource.CPU else (1.0 / (1 << 20), "M")
    lowest, highest = math.ceil(least * per_unit), math.floor(most * per_unit)
    if lowest > highest:
        return ""
    wanted = highest if value > most else lowest
    amount = f"{wanted / 100:g}" if resource == Resource.CPU else f"{wanted}{unit}"
    return f"{resource}={amount}"


def _answer(board: PinBoard, record: TickRecord, name: str) -> TenantPins:
    place = record.roster.names.index(name)
    now_s = time.monotonic()
    return TenantPins(name, pins_at(board.pins(record.roster, now_s), place, now_s))
