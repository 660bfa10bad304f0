"""Estimates from each tenant's last few values: maximum, mean and spread, quantile.  Pure."""

import numpy as np

from agent.tenant import Bools, Floats, Ints


class Window:
    """Each tenant's last `size` known values, in no order; `unused` fills places yet to come."""

    def __init__(self, tenants: int, size: int, unused: float) -> None:
        self.values = np.full((tenants, size), unused)
        self._taken = np.zeros(tenants, dtype=np.int64)

    @property
    def count(self) -> Ints:
        """Return how many values each tenant has in its window."""
        return np.minimum(self._taken, self.values.shape[1])

    def take(self, values: Floats, is_known: Bools) -> None:
        """Put the known values in place of the oldest; gaps take no place."""
        tenant = np.flatnonzero(is_known)
        self.values[tenant, self._taken[tenant] % self.values.shape[1]] = values[tenant]
        self._taken[tenant] += 1


class Highest:
    """The maximum of the last `size` values, which are never negative."""

    def __init__(self, tenants: int, size: int) -> None:
        self._window = Window(tenants, size, unused=0.0)

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the maxima."""
        self._window.take(values, is_known)
        return np.asarray(self._window.values.max(axis=1), dtype=np.float64)


class MeanAndSpread:
    """mean + n * (sample standard deviation) of the last `size` values, once there are `least`."""

    def __init__(self, tenants: int, size: int, *, least: int, n: float) -> None:
        self._window = Window(tenants, size, unused=0.0)
        self._least, self._n = max(least, 2), n

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the estimates, NaN while there are too few."""
        self._window.take(values, is_known)
        count = self._window.count
        mean = self._window.values.sum(axis=1) / np.maximum(count, 1)
        is_used = np.arange(self._window.values.shape[1]) < count[:, None]
        off = (self._window.values - mean[:, None]) * is_used
        variance = np.einsum("ts,ts->t", off, off) / np.maximum(count - 1, 1)
        return np.where(count >= self._least, mean + self._n * np.sqrt(variance), np.nan)


class Quantile:
    """A quantile of the last `size` values, interpolated linearly, once there are `least`."""

    def __init__(self, tenants: int, size: int, *, least: int, level: float) -> None:
        self._window = Window(tenants, size, unused=np.inf)  # which sorts behind every value
        self._least, self._level = max(least, 1), level

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the quantiles, NaN while there are too few."""
        self._window.take(values, is_known)
        count = self._window.count
        is_ready = count >= self._least
        top = np.where(is_ready, count - 1, 0)
        place = self._level * top
        low = place.astype(np.int64)
        ordered = np.sort(self._window.values, axis=1)
        tenant = np.arange(len(ordered))
        start = np.where(is_ready, ordered[tenant, low], np.nan)
        end = np.where(is_ready, ordered[tenant, np.minimum(low + 1, top)], np.nan)
        return np.asarray(start + (end - start) * (place - low), dtype=np.float64)
