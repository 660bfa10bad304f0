"""What every expert is: one way to tell the quantiles of each series' next value.  Pure.

Experts know nothing of one another; mixture.py learns whom to believe.  All arrays are in single
precision, so that an outcome and the quantile that it is held against round alike.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the fitted models say at one step, shape (series,); NaN before the first value."""

    smoothed: Floats  # ETS(A,N,N): the forecast of every step ahead
    spread: Floats  # standard deviation of a one-step error
    least_spread: Floats  # flat is not the same as certain


class Expert(Protocol):
    """Takes steps in and says what to expect of the next; one state for all series."""

    def settle(self, values: Singles) -> None:
        """Take in what came, shape (series,); NaN is a gap."""

    def expect(self, outlook: Outlook) -> Singles:
        """Return quantiles of the next value at `LEVELS`, shape (levels, series).

        They rise along axis 0 and are not negative; NaN where this expert cannot tell.
        """

    def rearrange(self, positions: Ints, steps: int) -> None:
        """Put the series in a new order; -1 is a newcomer, of whom nothing is known.

        `steps` is how far back each looks from now on: the oldest beyond it is forgotten.
        """


def affordable_steps(wanted: int, n_series: int, numbers: int) -> int:
    """Return how many steps of each series fit, where `numbers` may be kept of all together."""
    return min(wanted, numbers // max(n_series, 1))
