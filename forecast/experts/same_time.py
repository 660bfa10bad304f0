"""Expert: as much as at the same time yesterday, or a week ago.  Pure.

What is kept of a day or a week is as fine as a step, or as coarse as that many numbers allow.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Ints, Singles, moved

DAY_S, WEEK_S = 86_400.0, 604_800.0
# A week of five minutes.
_MOST_CELLS = 2016


def cells_of(lag_s: float, step_s: float) -> tuple[int, int]:
    """Return how many cells a lag is kept in, and how many steps each is the mean of."""
    steps = max(round(lag_s / step_s), 1)
    steps_a_cell = -(-steps // _MOST_CELLS)
    return -(-steps // steps_a_cell), steps_a_cell


class SameTime:
    """The means of cells that together are one lag long, oldest where the next will be put."""

    def __init__(self, n_series: int, lag_s: float, step_s: float) -> None:
        cells, self._steps_a_cell = cells_of(lag_s, step_s)
        self._cells: Singles = np.full((cells, n_series), np.nan, dtype=np.float32)
        self._sum: Singles = np.zeros(n_series, dtype=np.float32)
        self._known: Singles = np.zeros(n_series, dtype=np.float32)
        self._seen = 0

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        is_known = np.isfinite(values)
        self._sum += np.where(is_known, values, np.float32(0.0))
        self._known += is_known
        self._seen += 1
        if self._seen % self._steps_a_cell == 0:
            with np.errstate(invalid="ignore"):  # 0 of 0: a cell that is a gap
                self._cells[self._cell(self._seen - 1)] = self._sum / self._known
            self._sum[:], self._known[:] = 0.0, 0.0

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the maximum of the cells that the next `steps` steps had one lag ago."""
        first, last = self._seen, self._seen + steps - 1
        cells = {self._cell(step) for step in range(first, last + 1, self._steps_a_cell)}
        cells.add(self._cell(last))
        highest: Singles = self._cells[sorted(cells)].max(axis=0)
        return highest

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._cells = moved(self._cells, positions, np.nan)
        self._sum, self._known = (
            moved(self._sum, positions, 0.0),
            moved(self._known, positions, 0.0),
        )

    def _cell(self, step: int) -> int:
        return step // self._steps_a_cell % len(self._cells)
