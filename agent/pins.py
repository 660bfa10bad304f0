"""Pins: values of controls that an operator, or somebody else, set for a time.  Pure.

All columns have shape (tenants,), one a control: a file, a line of one, a number of a class.
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
    control: AnyControl
    value: float  # cores, a weight, bytes, or so much a second; inf is none
    until_s: float  # CLOCK_MONOTONIC
    origin: Origin = Origin.OPERATOR
    cgroup_id: int = 0


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins that hold now; `value` is NaN where there is none.

    Devices' numbers have a column only where one of them is pinned.  A column of a control of
    which nothing is pinned takes no room, and cannot be written.
    """

    value: Mapping[AnyControl, Floats]
    until_s: Mapping[AnyControl, Floats]  # CLOCK_MONOTONIC
    is_foreign: Mapping[AnyControl, Bools]  # somebody else's: ANOTHER or INSISTING
    is_insisting: Mapping[AnyControl, Bools]
    cgroup_id: Mapping[AnyControl, Ints]  # whose value somebody else set, 0 of an operator's

    @classmethod
    def none(cls, tenants: int) -> "Pins":
        """Return no pins."""
        files: tuple[AnyControl, ...] = tuple(Control)
        nan = dict.fromkeys(files, np.broadcast_to(np.float64(np.nan), tenants))
        false = dict.fromkeys(files, np.broadcast_to(np.False_, tenants))
        no_id = dict.fromkeys(files, np.broadcast_to(np.int64(0), tenants))
        return cls(nan, nan, false, false, no_id)

    def with_columns_of(self, controls: Iterable[AnyControl], tenants: int) -> "Pins":
        """Return the same with columns of these controls to be written, in which none is pinned."""
        pinned = dict.fromkeys(controls)
        return Pins(
            {**self.value, **{c: np.full(tenants, np.nan) for c in pinned}},
            {**self.until_s, **{c: np.full(tenants, np.nan) for c in pinned}},
            {**self.is_foreign, **{c: np.zeros(tenants, dtype=np.bool_) for c in pinned}},
            {**self.is_insisting, **{c: np.zeros(tenants, dtype=np.bool_) for c in pinned}},
            {**self.cgroup_id, **{c: np.zeros(tenants, dtype=np.int64) for c in pinned}},
        )

    @classmethod
    def of(cls, pins: Iterable[Pin], roster: Roster) -> "Pins":
        """Return the pins of tenants of the roster, as columns."""
        at = {name: place for place, name in enumerate(roster.names)}
        known = [pin for pin in pins if pin.tenant in at]
        tenants = len(roster)
        found = cls.none(tenants).with_columns_of((pin.control for pin in known), tenants)
        for pin in known:
            place, control = at[pin.tenant], pin.control
            found.value[control][place] = pin.value
            found.until_s[control][place] = pin.until_s
            found.is_foreign[control][place] = pin.origin is not Origin.OPERATOR
            found.is_insisting[control][place] = pin.origin is Origin.INSISTING
            found.cgroup_id[control][place] = pin.cgroup_id
        return found

    def has(self, control: AnyControl | None) -> bool:
        """Say whether there may be a pin of this control."""
        return control in self.value

    def limits(self, control: AnyControl | None, *, least: Floats, most: Floats) -> Floats:
        """Return what pins make of limits, within `least` and `most`; NaN where there is none."""
        if control is None or control not in self.value:
            return np.full_like(most, np.nan)
        return np.minimum(np.maximum(self.value[control], least), most)

    def holds(self, control: AnyControl | None) -> bool:
        """Say whether a control of any tenant is pinned."""
        if control is None or control not in self.value:
            return False
        return not np.isnan(self.value[control]).all()

    def is_operators(self, control: AnyControl, tenant: int) -> bool:
        """Say whether an operator has pinned a control of the tenant at this position."""
        if control not in self.value or np.isnan(self.value[control][tenant]):
            return False
        return not self.is_foreign[control][tenant]

    def stands(self, control: AnyControl | None, in_force: Floats, *, least: Floats) -> Bools:
        """Say whose file is left as it is: somebody else set it, to no less than `least`.

        What is below, a tenant's floor or memory that it cannot give back, is not for anyone to
        take; but where they insist there is no write war.
        """
        if control is None or control not in self.value:
            return np.zeros(len(in_force), dtype=np.bool_)
        is_enough = in_force >= least
        return (self.is_foreign[control] & is_enough) | self.is_insisting[control]
