"""Pins: values of control files that an operator, or somebody else, set for a time.  Pure.

All columns have shape (tenants,), one a control file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from agent.tenant import Bools, Floats, Ints, Roster
from enforce.columns import AnyControl, Control


class Origin(StrEnum):
    """Who set a pin.

    OPERATOR: `tidegate pin`, a limit like any that is decided.  ANOTHER: somebody wrote the file,
    which is left as it is, above what the tenant must have.  INSISTING: they did so again and again
    after it was put back, and it is left as it is, whatever it is.
    """

    OPERATOR = "operator"
    ANOTHER = "another"
    INSISTING = "insisting"


@dataclass(frozen=True, slots=True)
class Pin:
    """One pin; `cgroup_id` is that of the cgroup whose file was written, 0 of an operator's."""

    tenant: str
    control: Control
    value: float  # cores, a weight or bytes; inf is none
    until_s: float  # CLOCK_MONOTONIC
    origin: Origin = Origin.OPERATOR
    cgroup_id: int = 0


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins that hold now; `value` is NaN where there is none."""

    value: Mapping[Control, Floats]
    until_s: Mapping[Control, Floats]  # CLOCK_MONOTONIC
    is_foreign: Mapping[Control, Bools]  # somebody else's: ANOTHER or INSISTING
    is_insisting: Mapping[Control, Bools]
    cgroup_id: Mapping[Control, Ints]  # whose file somebody else wrote, 0 of an operator's

    @classmethod
    def none(cls, tenants: int) -> "Pins":
        """Return no pins."""

        def nan() -> dict[Control, Floats]:
            return {control: np.full(tenants, np.nan) for control in Control}

        def false() -> dict[Control, Bools]:
            return {control: np.zeros(tenants, dtype=np.bool_) for control in Control}

        no_id = {control: np.zeros(tenants, dtype=np.int64) for control in Control}
        return cls(nan(), nan(), false(), false(), no_id)

    @classmethod
    def of(cls, pins: Iterable[Pin], roster: Roster) -> "Pins":
        """Return the pins of tenants of the roster, as columns."""
        found, at = cls.none(len(roster)), {name: place for place, name in enumerate(roster.names)}
        for pin in pins:
            place, control = at.get(pin.tenant, -1), pin.control
            if place >= 0:
                found.value[control][place] = pin.value
                found.until_s[control][place] = pin.until_s
                found.is_foreign[control][place] = pin.origin is not Origin.OPERATOR
                found.is_insisting[control][place] = pin.origin is Origin.INSISTING
                found.cgroup_id[control][place] = pin.cgroup_id
        return found

    def limits(self, control: AnyControl | None, *, least: Floats, most: Floats) -> Floats:
        """Return what pins make of limits, within `least` and `most`; NaN where there is none."""
        if not isinstance(control, Control):
            return np.full_like(most, np.nan)
        return np.minimum(np.maximum(self.value[control], least), most)

    def stands(self, control: AnyControl | None, in_force: Floats, *, least: Floats) -> Bools:
        """Say whose file is left as it is: somebody else set it, to no less than `least`.

        What is below, a tenant's floor or memory that it cannot give back, is not for anyone to
        take; but where they insist there is no write war.
        """
        if not isinstance(control, Control):
            return np.zeros(len(in_force), dtype=np.bool_)
        is_enough = in_force >= least
        return (self.is_foreign[control] & is_enough) | self.is_insisting[control]
