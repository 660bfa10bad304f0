"""Windows still open: what was expected of the steps ahead, until all of them are seen.  Pure.

Single precision throughout, so that an outcome and the bound it is held against round alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.history import moved

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Complete:
    """A window whose last step has just been seen; NaN where it had a gap.

    `maximum` is what the series rose to; `center` (series,) and `bounds` (levels, series) are
    what had been expected of it before its first step.
    """

    maximum: Singles
    center: Singles
    bounds: Singles


class OpenWindows:
    """The last `steps` rows of values, and the expectation that stood before each."""

    def __init__(self, n_series: int, n_levels: int, steps: int) -> None:
        self._values: Singles = np.full((steps, n_series), np.nan, dtype=np.float32)
        self._centers: Singles = np.full((steps, n_series), np.nan, dtype=np.float32)
        self._bounds: Singles = np.full((steps, n_levels, n_series), np.nan, dtype=np.float32)
        self._seen = 0

    def close(self, values: NDArray[np.floating]) -> Complete:
        """Add the newest values and return the window that they complete."""
        place = self._seen % len(self._values)
        self._values[place] = values
        self._seen += 1
        oldest = self._seen % len(self._values)
        return Complete(
            maximum=self._values.max(axis=0),
            center=self._centers[oldest].copy(),
            bounds=self._bounds[oldest].copy(),
        )

    def open(self, center: NDArray[np.floating], bounds: NDArray[np.floating]) -> None:
        """Keep what is expected of the window that starts with the next step."""
        place = self._seen % len(self._values)
        self._centers[place], self._bounds[place] = center, bounds

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; a newcomer's windows are incomplete."""
        self._values = moved(self._values, positions, np.nan)
        self._centers = moved(self._centers, positions, np.nan)
        self._bounds = moved(self._bounds, positions, np.nan)
