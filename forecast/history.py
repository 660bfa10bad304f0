"""A bounded ring of what many series did in recent steps, and what counts as a value.  Pure.

Single precision: half the memory, and its rounding (6e-8) is far below what demand varies by.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Number = TypeVar("Number", np.float32, np.float64, np.int64, np.uint8)

# No counter of any host reaches this; what does is a fault, and squares of it still fit.
LARGEST_VALUE = 1e18
# As many are copied at a time where that is quicker.
_FEW_NUMBERS = 100_000


def cleaned(values: Floats) -> Floats:
    """Return `values` with NaN in place of what cannot be demand: infinite, huge or negative."""
    is_demand = (values >= 0) & (values <= LARGEST_VALUE)
    return np.where(is_demand, values, np.nan)


def moved(columns: NDArray[Number], positions: Ints, missing: float) -> NDArray[Number]:
    """Return columns (..., series) in a new order; position -1 is a newcomer, `missing` there."""
    taken = np.full((*columns.shape[:-1], len(positions)), missing, dtype=columns.dtype)
    taken[..., positions >= 0] = columns[..., positions[positions >= 0]]
    return taken


def reringed(
    ring: Singles, entered: Ints, positions: Ints, steps: int, missing: float
) -> tuple[Singles, Ints]:
    """Return rings (series, steps) in a new order and of a new length: the newest are kept.

    `entered` (series,) is how many each ring has taken in, and is returned as it is then.
    """
    taken: Singles = np.full((len(positions), steps), missing, dtype=np.float32)
    stays = np.flatnonzero(positions >= 0)
    source, before = positions[stays], ring.shape[1]
    if steps == before:
        taken[stays] = ring[source]
        return taken, moved(entered, positions, 0)
    count = np.minimum(entered[source], min(before, steps))
    for place in range(int(count.max(initial=0))):  # a column at a time: little scratch memory
        has = place < count
        oldest = entered[source[has]] - count[has]
        taken[stays[has], place] = ring[source[has], (oldest + place) % before]
    kept = np.zeros(len(positions), dtype=np.int64)
    kept[stays] = count
    return taken, kept


class History:
    """The last `most_steps` rows of all series; NaN is a gap.  Memory is fixed at the start."""

    def __init__(self, n_series: int, most_steps: int) -> None:
        self._rows: Singles = np.full((most_steps, n_series), np.nan, dtype=np.float32)
        self._appended = 0

    def __len__(self) -> int:
        return min(self._appended, len(self._rows))

    @property
    def n_series(self) -> int:
        """Return how many series there are."""
        return int(self._rows.shape[1])

    @property
    def most_steps(self) -> int:
        """Return how many rows are kept, at most."""
        return len(self._rows)

    def append(self, values: NDArray[np.floating]) -> None:
        """Add the newest row, dropping the oldest where the ring is full."""
        self._rows[self._appended % len(self._rows)] = values
        self._appended += 1

    def row(self, place: int) -> Singles:
        """Return one row: 0 is the oldest kept."""
        found: Singles = self._rows[int(self._places(len(self))[place])]
        return found

    def recent(self, steps: int) -> Singles:
        """Return the last rows, at most `steps`, oldest first: shape (rows, series)."""
        return self._rows[self._places(steps)]

    def recent_of(self, series: Ints, steps: int) -> Singles:
        """Return the last rows of some series, oldest first: shape (rows, len(series))."""
        return self._rows[self._places(steps)[:, None], series]

    def recent_maximum(self, steps: int) -> Floats:
        """Return each series' maximum over the last `steps` rows; NaN where all are gaps."""
        places = self._places(steps)
        if len(places) * self.n_series <= _FEW_NUMBERS:
            found = np.fmax.reduce(self._rows[places], axis=0, initial=np.nan)
            return np.asarray(found, dtype=np.float64)
        highest: Singles = np.full(self.n_series, np.nan, dtype=np.float32)
        for place in places:  # a row at a time: little scratch memory
            np.fmax(highest, self._rows[place], out=highest)
        return highest.astype(np.float64)

    def rearrange(self, positions: Ints, most_steps: int) -> None:
        """Put the series in a new order and keep so many rows; -1 is a newcomer, without a past."""
        kept = self.recent(most_steps)
        self._rows = np.full((most_steps, len(positions)), np.nan, dtype=np.float32)
        self._rows[: len(kept)] = moved(kept, positions, np.nan)
        self._appended = len(kept)

    def _places(self, steps: int) -> Ints:
        count = min(steps, len(self))
        return np.arange(self._appended - count, self._appended) % len(self._rows)
