"""One tenant's control files in one tick: what was there, what was wanted, what was kept.  Pure."""

import math

import numpy as np

from agent.amounts import control_text
from agent.answers import ControlValue
from agent.controls import all_controls, weight_controls
from agent.record import TickRecord
from agent.tenant import Floats, Ints
from enforce.columns import AnyControl, Outcomes, Result
from enforce.limits import text

WRITTEN, WOULD_BE_WRITTEN, WOULD_STAY = "written", "would be written", "would stay"
_RESULT_WORDS = {
    Result.APPLIED: WRITTEN,
    Result.HELD_BACK: "held back",
    Result.GONE: "cgroup gone",
    Result.REFUSED: "refused",
    Result.PENDING: "under way",
}


def control_value(record: TickRecord, control: AnyControl, position: int) -> ControlValue:
    """Return what one control file held, what was wanted of it in this tick, what it kept."""
    before = _kernel_text(control, in_force(record, control, position))
    if (written := _write(record, control, position)) is not None:
        outcomes, place = written
        result = _RESULT_WORDS[Result(int(outcomes.result[place]))]
        why = outcomes.why.get(position)
        return ControlValue(
            control.value,
            before,
            _kernel_text(control, float(outcomes.wanted[place])),
            _kernel_text(control, float(outcomes.kept[place])),
            f"{result}: {why}" if why else result,
        )
    for changes in record.unwritten:
        places = np.flatnonzero(changes.tenant == position)
        if changes.control == control and len(places):
            wanted = _kernel_text(control, float(changes.after[int(places[-1])]))
            return ControlValue(control.value, before, wanted, before, WOULD_BE_WRITTEN)
    is_observed = bool(record.roster.is_observed_only[position])
    return ControlValue(
        control.value, before, None, before, WOULD_STAY if is_observed else "unchanged"
    )


def left(record: TickRecord, control: AnyControl, position: int) -> float:
    """Return what a control file holds after this tick's writes; NaN where it was not there."""
    written = _write(record, control, position)
    kept = math.nan if written is None else float(written[0].kept[written[1]])
    return in_force(record, control, position) if math.isnan(kept) else kept


def _write(record: TickRecord, control: AnyControl, position: int) -> tuple[Outcomes, int] | None:
    """Return a tick's first writes of a control that concern a tenant, and its last place there."""
    for outcomes in record.outcomes:
        places = np.flatnonzero(outcomes.tenant == position)
        if outcomes.control == control and len(places):
            return outcomes, int(places[-1])
    return None


def files_in_force(record: TickRecord, at: Ints) -> list[dict[str, str | None]]:
    """Return what each control file of the tenants at `at` holds after this tick's writes.

    In the kernel's own words; None where it cannot be read.
    """
    sample, weights = record.sample, weight_controls(record.resources)
    controls = all_controls(record.resources)
    controls += [weight for weight in weights if not np.isnan(sample.limit(weight)).all()]
    columns = {control: sample.limit(control).copy() for control in controls}
    for outcomes in record.outcomes:
        is_read = ~np.isnan(outcomes.kept)
        columns[outcomes.control][outcomes.tenant[is_read]] = outcomes.kept[is_read]
    return [
        dict(zip(map(str, controls), row, strict=True))
        for row in zip(
            *(_words(control, column[at]) for control, column in columns.items()), strict=True
        )
    ]


def files_left_out(record: TickRecord, at: Ints) -> list[dict[str, str]]:
    """Return what would be written to control files of the tenants at `at`: only observed ones."""
    found: dict[int, dict[str, str]] = {}
    for changes in record.unwritten:
        for tenant, after in zip(changes.tenant.tolist(), changes.after.tolist(), strict=True):
            found.setdefault(tenant, {})[changes.control.value] = text(changes.control, after)
    return [found.get(tenant, {}) for tenant in at.tolist()]


def in_force(record: TickRecord, control: AnyControl, position: int) -> float:
    """Return what a control file held before this tick's writes; NaN where it was not there."""
    return float(record.sample.limit(control)[position])


def _words(control: AnyControl, values: Floats) -> list[str | None]:
    return [None if math.isnan(value) else text(control, value) for value in values.tolist()]


def _kernel_text(control: AnyControl, value: float) -> str | None:
    """Return a value as the kernel writes it, and for a person where that is not the same."""
    if math.isnan(value):
        return None
    kernel = text(control, value)
    if not math.isfinite(value):
        return kernel
    person = control_text(control, value)
    return person if person.split(" ")[0] == kernel else f"{kernel} ({person})"
