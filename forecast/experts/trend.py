"""Expert: as much as a damped trend leads to, ETS(A,Ad,N) as StatsForecast has fitted it.  Pure.

Its forecast is not StatsForecast 2.1.1's, which takes 2 phi for phi + phi^2 at two steps ahead, but
the sum that the model is defined by.
"""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Floats, Ints, Singles, moved
from forecast.models import Models, TrendFits
from forecast.rolling import damped_ahead, rolled_trend

# A fit costs five times that of a level, and its parameters last longer.
_TURNS = 12


class DampedTrend:
    """Parameters and states of all series, shape (series,); NaN until a model is fitted."""

    def __init__(self, n_series: int) -> None:
        nothing = np.full(n_series, np.nan)
        self._fits = TrendFits(*(nothing.copy() for _ in range(5)))
        self._turns = np.zeros(n_series, dtype=np.int64)

    def settle(self, values: Singles) -> None:
        """Take in what came."""
        fits = self._fits
        level, trend = rolled_trend(
            fits.level,
            fits.trend,
            values.astype(np.float64),
            alpha=fits.alpha,
            beta=fits.beta,
            phi=fits.phi,
        )
        fits.level[:], fits.trend[:] = level, trend

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the higher of the nearest and the farthest forecast: between them it is even."""
        fits = self._fits
        first, last = (damped_ahead(fits.level, fits.trend, fits.phi, n) for n in (1, steps))
        return np.maximum(first, last).astype(np.float32)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._fits = TrendFits(
            *(moved(column, positions, np.nan) for column in self._columns(self._fits))
        )
        self._turns = moved(self._turns, positions, 0)

    def refit(self, series: Ints, history: Singles, models: Models) -> None:
        """Fit every twelfth time that it is their turn; what cannot be fitted keeps its state."""
        due = self._turns[series] % _TURNS == 1
        self._turns[series] += 1
        series, fits = series[due], models.trend(history[:, due])
        is_good = np.isfinite(fits.level) & np.isfinite(fits.trend) & np.isfinite(fits.alpha)
        for mine, theirs in zip(self._columns(self._fits), self._columns(fits), strict=True):
            mine[series[is_good]] = theirs[is_good]

    @staticmethod
    def _columns(fits: TrendFits) -> tuple[Floats, ...]:
        return fits.alpha, fits.beta, fits.phi, fits.level, fits.trend
