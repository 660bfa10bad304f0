"""One tenant's control files in one tick: what was there, what was wanted, what was kept.  Pure."""

import math

import numpy as np

from agent.answers import ControlValue
from agent.record import TickRecord
from agent.units import approximate_bytes, three_digits
from enforce.columns import Control, Result
from enforce.limits import text

_RESULT_WORDS = {
    Result.APPLIED: "written",
    Result.HELD_BACK: "held back",
    Result.GONE: "cgroup gone",
    Result.REFUSED: "refused",
    Result.PENDING: "under way",
}


def control_value(record: TickRecord, control: Control, position: int) -> ControlValue:
    """Return what one control file held, what was wanted of it in this tick, what it kept."""
    before = _kernel_text(control, in_force(record, control, position))
    for outcomes in record.outcomes:
        places = np.flatnonzero(outcomes.tenant == position)
        if outcomes.control is control and len(places):
            place = int(places[-1])
            result = _RESULT_WORDS[Result(int(outcomes.result[place]))]
            why = outcomes.why.get(position)
            return ControlValue(
                control.value,
                before,
                _kernel_text(control, float(outcomes.wanted[place])),
                _kernel_text(control, float(outcomes.kept[place])),
                f"{result}: {why}" if why else result,
            )
    for changes in record.changes:
        places = np.flatnonzero(changes.tenant == position)
        if changes.control is control and len(places):
            wanted = _kernel_text(control, float(changes.after[int(places[-1])]))
            return ControlValue(control.value, before, wanted, before, "would be written")
    return ControlValue(control.value, before, None, before, "unchanged")


def in_force(record: TickRecord, control: Control, position: int) -> float:
    """Return what a control file held before this tick's writes; NaN where it was not there."""
    return float(record.sample.in_force.of(control)[position])


def _kernel_text(control: Control, value: float) -> str | None:
    """Return a value as the kernel writes it, and for a person where that is not the same."""
    if math.isnan(value):
        return None
    kernel = text(control, value)
    if control is Control.CPU_WEIGHT or not math.isfinite(value):
        return kernel
    person = (
        f"{three_digits(value)} cores" if control is Control.CPU_MAX else approximate_bytes(value)
    )
    return f"{kernel} ({person})"
