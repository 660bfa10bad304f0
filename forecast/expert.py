"""What every expert is: one way to tell the quantiles of what comes next of each series.  Pure.

Experts know nothing of one another; mixture.py learns whom to believe.  All arrays are in single
precision, so that an outcome and the quantile that it is held against round alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecast.history import Floats, History, Ints, Singles
from forecast.models import Models
from forecast.rolling import deviation_ahead


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the fitted models say at one step, shape (series,); NaN before the first value."""

    smoothed: Floats  # ETS(A,N,N): the forecast of every step ahead
    alpha: Floats
    sigma: Floats  # standard deviation of a one-step error; NaN until a model is fitted
    least_spread: Floats  # flat is not the same as certain
    recent: History  # the last steps of all series

    def spread_ahead(self, steps: int) -> Floats:
        """Return the standard deviation of the value `steps` ahead, as far as models tell."""
        spread = deviation_ahead(self.sigma, self.alpha, steps)
        return np.asarray(np.fmax(spread, self.least_spread), dtype=np.float64)


class Expert(Protocol):
    """Takes steps in and says what to expect of each target; one state for all series."""

    def settle(self, step: int, values: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Take in what came, shape (series,), NaN a gap, and each target's complete maxima."""

    def expect(self, step: int, outlook: Outlook) -> list[Singles]:
        """Return quantiles of each target at its levels, shape (levels, series).

        They rise along axis 0 and are not negative; NaN where this expert cannot tell.
        """

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Fit what it rests on anew, of series whose last steps are `history` (steps, series)."""

    def rearrange(self, positions: Ints, memory_steps: int) -> None:
        """Put the series in a new order; -1 is a newcomer, of whom nothing is known.

        `memory_steps` is how far back each looks from now on: the oldest beyond is forgotten.
        """
