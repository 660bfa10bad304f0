"""Adds up what passed an uplink over classes that come and go."""

import numpy as np

from enforce.columns import Floats


class Sent:
    """What tenants have sent on one uplink: as their classes count, else as programs do.

    The two differ by what was dropped, and a class that is made anew starts at nothing: what comes
    between two reads is added up, by whichever of them knew both times.
    """

    def __init__(self) -> None:
        self._total: Floats | None = None
        self._left = self._offered = np.empty(0)

    def after(self, left: Floats, offered: Floats) -> Floats:
        """Return all that was sent so far, given both counts now; NaN is unknown."""
        if self._total is None:
            self._total = np.where(np.isnan(left), np.nan_to_num(offered), left)
        else:
            by_class, by_program = left - self._left, offered - self._offered
            with np.errstate(invalid="ignore"):
                gained = np.where(by_class >= 0, by_class, np.where(by_program >= 0, by_program, 0))
            self._total = self._total + gained
        self._left, self._offered = left, offered
        return np.where(np.isnan(left) & np.isnan(offered), np.nan, self._total)
