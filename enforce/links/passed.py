"""Adds up what passed an uplink over classes that come and go."""

import numpy as np

from enforce.columns import Floats


class Passed:
    """What of tenants' has passed an uplink one way: as their classes count, else as programs do.

    The two differ by what was dropped, and programs also count what a tenant receives in a network
    namespace of its own at an interface with the uplink's number.  A class that is made anew starts
    at nothing: what comes between two reads is added up, by whichever of them knew both times.
    """

    def __init__(self) -> None:
        self._total: Floats | None = None
        self._by_class = self._by_program = np.empty(0)

    def after(self, by_class: Floats, by_program: Floats) -> Floats:
        """Return all that has passed so far, given both counts now; NaN is unknown."""
        if self._total is None:
            self._total = np.where(np.isnan(by_class), np.nan_to_num(by_program), by_class)
        else:
            more, else_more = by_class - self._by_class, by_program - self._by_program
            with np.errstate(invalid="ignore"):
                gained = np.where(more >= 0, more, np.where(else_more >= 0, else_more, 0))
            self._total = self._total + gained
        self._by_class, self._by_program = by_class, by_program
        return np.where(np.isnan(by_class) & np.isnan(by_program), np.nan, self._total)
