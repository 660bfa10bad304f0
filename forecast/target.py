"""What is forecast of each series: the maximum over so many coming steps.  Pure.

The next step is the maximum over one.  The windows of a long target overlap, and maxima of windows
that share most of their steps say the same again: only every `every`-th is judged.
"""

from dataclasses import dataclass

import numpy as np

from forecast.history import Floats, Ints, Singles, moved
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.settings import ForecastSettings

# Windows of one target that are open at a time, about: a third of each is new.
_OPEN_WINDOWS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """The maximum over `steps` steps, at `levels`; a window opens after every `every`-th step."""

    steps: int
    levels: Floats
    every: int = 1

    @property
    def open_windows(self) -> int:
        """Return how many windows are open at a time, at most."""
        return -(-self.steps // self.every)

    def opens(self, step: int) -> bool:
        """Say whether a window opens after this step."""
        return step % self.every == 0

    def closes(self, step: int) -> bool:
        """Say whether this step is the last one of a window."""
        return step >= self.steps and self.opens(step - self.steps)


def targets_of(settings: ForecastSettings) -> tuple[Target, ...]:
    """Return the next step, and then each horizon that is longer, the nearest first."""
    horizons = sorted({steps for steps in settings.horizons_steps if steps > 1})
    maxima = (Target(steps, BOUNDS, max(steps // _OPEN_WINDOWS, 1)) for steps in horizons)
    return (Target(1, EXPERT_LEVELS), *maxima)


@dataclass(frozen=True, slots=True)
class Complete:
    """A window that has just closed; NaN where there is none, or it had a gap.

    `maximum` (series,) is what the series rose to, `bounds` (levels, series) what had been told.
    """

    maximum: Singles
    bounds: Singles


class Outcomes:
    """The last steps of all series: what became of each target's windows."""

    def __init__(self, n_series: int, targets: tuple[Target, ...]) -> None:
        self._targets = targets
        longest = max(target.steps for target in targets)
        self._rows: Singles = np.full((longest, n_series), np.nan, dtype=np.float32)

    def closed(self, step: int, values: Singles) -> list[Singles | None]:
        """Take in a step, and return each target's maximum (series,) that is complete with it.

        None where no window closes; NaN where one had a gap.
        """
        self._rows[step % len(self._rows)] = values
        return [self._maximum(step, target) for target in self._targets]

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; a newcomer's windows have a gap."""
        self._rows = moved(self._rows, positions, np.nan)

    def _maximum(self, step: int, target: Target) -> Singles | None:
        if not target.closes(step):
            return None
        places = np.arange(step - target.steps + 1, step + 1) % len(self._rows)
        highest: Singles = self._rows[places].max(axis=0)
        return highest


class Pending:
    """What was expected of the windows of one target that are open, shape (parts, series) each."""

    def __init__(self, n_series: int, target: Target, parts: tuple[int, ...]) -> None:
        self._target = target
        shape = (target.open_windows, *parts, n_series)
        self._expected: Singles = np.full(shape, np.nan, dtype=np.float32)

    def opening(self, step: int) -> Singles:
        """Return where to put what is expected after this step; kept only if a window opens."""
        if not self._target.opens(step):
            return np.empty_like(self._expected[0])
        expected: Singles = self._expected[self._place(step)]
        return expected

    def closing(self, step: int) -> Singles:
        """Return what had been expected of the window that this step closes."""
        expected: Singles = self._expected[self._place(step - self._target.steps)]
        return expected

    @property
    def parts(self) -> tuple[int, ...]:
        """Return the shape of what is kept of one series."""
        return self._expected.shape[1:-1]

    def rearrange(self, positions: Ints, parts: list[int] | None = None) -> None:
        """Put the series, and the first axis of parts, in a new order; -1 is new: unknown."""
        self._expected = moved(self._expected, positions, np.nan)
        if parts is not None:
            swapped = moved(np.moveaxis(self._expected, 1, -1), np.array(parts), np.nan)
            self._expected = np.ascontiguousarray(np.moveaxis(swapped, -1, 1))

    def _place(self, step: int) -> int:
        return step // self._target.every % len(self._expected)
