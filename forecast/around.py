"""An expert made of a center and the errors around it: what was missed by of late, kept calibrated.

A center is one number per series for each target; what it missed is what makes quantiles of it, so
any rule of thumb becomes an expert.  Pure.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from forecast.conformal import Calibrator
from forecast.expert import Outlook
from forecast.history import Ints, Singles
from forecast.models import Models
from forecast.target import Pending, Target


class Center(Protocol):
    """Says one number of each series for what is to come; takes steps in."""

    def settle(self, values: Singles) -> None:
        """Take in what came, shape (series,); NaN is a gap."""

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return about what the maximum over the next `steps` steps is, (series,); NaN unknown."""

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer, of whom nothing is known."""


@runtime_checkable
class Fitted(Center, Protocol):
    """A center that rests on models, which are fitted anew from time to time."""

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Fit models of these series, whose last steps are `history` (steps, len(series))."""


class Around:
    """Quantiles of the last errors of one center, for each target."""

    def __init__(
        self, center: Center, n_series: int, targets: tuple[Target, ...], memory_steps: int
    ) -> None:
        self._center = center
        self._around = [_Errors(n_series, target, memory_steps) for target in targets]

    def settle(self, step: int, values: Singles, outcomes: Sequence[Singles | None]) -> None:
        """Take in a step, and the maxima that are complete with it."""
        for errors, outcome in zip(self._around, outcomes, strict=True):
            if outcome is not None:
                errors.settle(step, outcome)
        self._center.settle(values)

    def expect(self, step: int, outlook: Outlook) -> list[Singles]:
        """Return quantiles of each target, shape (levels, series); NaN where it cannot tell."""
        return [
            errors.expect(step, self._center.ahead(outlook, errors.target.steps), outlook)
            for errors in self._around
        ]

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Fit the models that the center rests on, if it does."""
        if isinstance(self._center, Fitted):
            self._center.refit(series, history, models)

    def rearrange(self, positions: Ints, memory_steps: int) -> None:
        """Put the series in a new order, with so long a memory; -1 is a newcomer."""
        self._center.rearrange(positions)
        for errors in self._around:
            errors.rearrange(positions, memory_steps)


class _Errors:
    """What a center missed one target by."""

    def __init__(self, n_series: int, target: Target, memory_steps: int) -> None:
        self.target = target
        self._calibrator = Calibrator(n_series, target.levels, memory_steps)
        # The center and, behind it, the quantiles around it.
        self._pending = Pending(n_series, target, (1 + len(target.levels),))

    def settle(self, step: int, outcome: Singles) -> None:
        """Enter what the window that closes now was missed by."""
        expected = self._pending.closing(step)
        if np.isnan(expected[0]).all():
            return
        self._calibrator.enter(outcome - expected[0])
        self._calibrator.adapt(outcome, expected[1:])

    def expect(self, step: int, center: Singles, outlook: Outlook) -> Singles:
        """Return the quantiles around a center, and keep them to be judged."""
        if np.isnan(center).all():  # asked in vain: yesterday of the first day
            self._pending.opening(step)[:] = np.nan
            return np.full((len(self.target.levels), len(center)), np.nan, dtype=np.float32)
        spread, least = outlook.spread_ahead(self.target.steps), outlook.least_spread
        scores = self._calibrator.quantiles(spread, least)
        grid: Singles = np.maximum(center + scores, np.float32(0.0))
        pending = self._pending.opening(step)
        pending[0], pending[1:] = center, grid
        return grid

    def rearrange(self, positions: Ints, memory_steps: int) -> None:
        """Put the series in a new order, with so long a memory."""
        self._calibrator.rearrange(positions, memory_steps)
        self._pending.rearrange(positions)
