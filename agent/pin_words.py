"""Pins for people and programs: what is pinned, by whom, for how long.  Pure.

Every number was in the record; nothing here decides.
"""

from collections.abc import Sequence

import numpy as np

from agent.amounts import amount_text, control_text
from agent.answers import PinStatus, Sentence
from agent.controls import control_of
from agent.pins import Origin, Pins
from agent.record import ResourceTick, TickRecord
from agent.tenant import Ints, Resource
from agent.units import approximate_seconds
from enforce.columns import AnyControl, ClassControl, Control
from enforce.limits import text


def pin_rows(record: TickRecord, at: Ints) -> list[tuple[PinStatus, ...]]:
    """Return the pins of each of the tenants at `at`."""
    if record.drift is None:
        return [()] * len(at)
    pins, now_s = record.drift.pins, record.taken_at_s
    has_any = np.any([~np.isnan(column) for column in pins.value.values()], axis=0)
    return [pins_at(pins, place, now_s) if has_any[place] else () for place in at.tolist()]


def pins_at(pins: Pins, place: int, now_s: float) -> tuple[PinStatus, ...]:
    """Return one tenant's pins as of `now_s` (CLOCK_MONOTONIC)."""
    return tuple(
        PinStatus(
            control=str(control),
            value=text(control, float(column[place])),
            left_s=round(max(float(pins.until_s[control][place]) - now_s, 0.0), 3),
            set_by=_origin(pins, control, place),
            amount=control_text(control, float(column[place])),
        )
        for control, column in pins.value.items()
        if not np.isnan(column[place])
    )


def pin_sentences(record: TickRecord, controls: Sequence[AnyControl], place: int) -> list[Sentence]:
    """Say of each of these controls that it is pinned, if it is, and what was lost of late."""
    if record.drift is None:
        return []
    pins, name = record.drift.pins, record.roster.names[place]
    places = {
        f"{control.uplink} {control.direction}"
        for control in controls
        if isinstance(control, ClassControl)
    }
    losses = [
        Sentence("kernel", f"its {one.words}.")
        for one in record.drift.losses
        if one.tenant == name and one.where in places
    ]
    return losses + [
        Sentence(
            "pin", _words(record, pins, control, place) + f"; `tidegate unpin {name}` ends it."
        )
        for control in controls
        if control in pins.value and not np.isnan(pins.value[control][place])
    ]


def pinned_limits(record: TickRecord, controls: Sequence[AnyControl], place: int) -> str:
    """Say of which of these controls the limit is pinned, to what, by whom and how long.

    And what it would be otherwise; "" where none is.
    """
    if record.drift is None:
        return ""
    pins = record.drift.pins
    return "; ".join(
        f"{resource} {_pinned(record, pins, control, place)}{_otherwise(tick, resource, place)}"
        for resource, tick in record.resources.items()
        if (control := control_of(resource)) in controls
        and control is not None
        and not np.isnan(pins.value[control][place])
    )


def _pinned(record: TickRecord, pins: Pins, control: AnyControl, place: int) -> str:
    value = control_text(control, float(pins.value[control][place]))
    by = "an operator" if pins.is_operators(control, place) else "somebody else"
    return f"to {value} by {by} for another {_left(record, pins, control, place)}"


def _otherwise(tick: ResourceTick, resource: Resource, place: int) -> str:
    if tick.unpinned is None:
        return ""
    return f" ({amount_text(resource.kind, float(tick.unpinned[place]))} without)"


def _left(record: TickRecord, pins: Pins, control: AnyControl, place: int) -> str:
    return approximate_seconds(float(pins.until_s[control][place]) - record.taken_at_s)


def _words(record: TickRecord, pins: Pins, control: AnyControl, place: int) -> str:
    value = control_text(control, float(pins.value[control][place]))
    left = _left(record, pins, control, place)
    origin = _origin(pins, control, place)
    if origin is Origin.OPERATOR:
        said = f"pinned to {value} by an operator for another {left}, within floor and ceiling"
        is_observed = record.is_observing or record.roster.is_observed_only[place]
        return f"{said}, once limits of it are written" if is_observed else said
    if origin is Origin.INSISTING:
        return f"somebody else keeps setting {control} to {value}: left to them for another {left}"
    least = " or than memory that it cannot give back" * (control is Control.MEMORY_HIGH)
    return (
        f"somebody else set {control} to {value}: left so for another {left}, unless that is less "
        f"than its floor{least}"
    )


def _origin(pins: Pins, control: AnyControl, place: int) -> Origin:
    if pins.is_insisting[control][place]:
        return Origin.INSISTING
    return Origin.ANOTHER if pins.is_foreign[control][place] else Origin.OPERATOR
