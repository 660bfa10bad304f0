"""What an observing agent would have written: each change of a decision counts once.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.tenant import Floats, Ints, carried_over
from enforce.columns import AnyControl
from enforce.limits import rounded


@dataclass(frozen=True, slots=True)
class Unwritten:
    """By control the value counted last, shape (tenants,); NaN where none was yet."""

    last: Mapping[AnyControl, Floats]
    tenants: int

    @classmethod
    def none(cls, tenants: int) -> "Unwritten":
        """Return the state before anything was left out."""
        return cls({}, tenants)

    def rearranged(self, positions: Ints) -> "Unwritten":
        """Return the state in the order of a new roster."""
        last = {c: carried_over(last, positions) for c, last in self.last.items()}
        return Unwritten(last, len(positions))

    def counted(self, control: AnyControl, tenant: Ints, wanted: Floats) -> tuple["Unwritten", int]:
        """Return the state after `wanted` of `tenant` was left out, and how much of it is new.

        New is what would be written as another value than the one that was counted last: the
        same decision, made again each tick since nothing was written, is none.
        """
        value = rounded(control, wanted)
        before = self.last.get(control, np.full(self.tenants, np.nan))
        after = before.copy()
        after[tenant] = value
        new = int((before[tenant] != value).sum())
        return replace(self, last={**self.last, control: after}), new
