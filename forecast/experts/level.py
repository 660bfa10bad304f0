"""Expert: as much as the smoothed level, ETS(A,N,N) as StatsForecast has fitted it.  Pure."""

import numpy as np

from forecast.expert import Outlook
from forecast.history import Ints, Singles


class Level:
    """The forecast of simple exponential smoothing is the same for every step ahead."""

    def settle(self, values: Singles) -> None:
        """Take in what came: the fitted models have rolled on themselves."""

    def ahead(self, outlook: Outlook, steps: int) -> Singles:
        """Return the level."""
        return outlook.smoothed.astype(np.float32)

    def rearrange(self, positions: Ints) -> None:
        """Keep nothing of its own."""
