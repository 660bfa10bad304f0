"""Demand that a queue leads, and what forecasts are worth with the queue's length and without."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.indicators import Indicators
from forecast.profile import LEVELS, Profile

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def queue(steps: int, series: int, seed: int) -> Floats:
    """Return lengths of queues (steps, series): a few jobs, and now and then a burst of them."""
    rng = np.random.default_rng(seed)
    is_burst = rng.random((steps, series)) < 0.08
    return rng.poisson(2.0, (steps, series)) + is_burst * rng.uniform(50, 150, (steps, series))


def led(lengths: Floats, lead: int, seed: int) -> Floats:
    """Return demand in cores, worked off `lead` steps after the queue was so long."""
    rng = np.random.default_rng(seed)
    later = np.concatenate((np.repeat(lengths[:1], lead, axis=0), lengths[:-lead]))
    return np.asarray(0.1 + 0.015 * later + np.abs(rng.normal(0.0, 0.05, lengths.shape)))


def pinball(outcome: Floats, grid: NDArray[np.floating]) -> Floats:
    """Return the loss of quantiles (levels, series) at each of LEVELS."""
    above, levels = outcome - grid, LEVELS[:, None]
    return np.asarray(np.maximum(levels * above, (levels - 1) * above))


@dataclass(frozen=True)
class Course:
    """Losses of each step's forecast, shape (steps, levels, series), and which pairs were used."""

    without: Floats
    with_metrics: Floats
    is_used: Bools  # (steps, pairs)
    profiles: Sequence[Profile]

    def ratio(self, since: int = 0, level: float | None = None) -> Floats:
        """Return each series' loss with metrics, of that without; at one level or over all."""
        rows = slice(None) if level is None else LEVELS.tolist().index(level)
        both = [
            one[since:, rows].reshape(len(one) - since, -1, one.shape[-1])
            for one in (self.with_metrics, self.without)
        ]
        with_metrics, without = (one.sum(axis=(0, 1)) for one in both)
        return np.asarray(with_metrics / without)


def told(
    demand: Floats,
    metrics: Floats,
    profiles: Sequence[Profile],
    series: Sequence[int] | None = None,
) -> Course:
    """Let each forecast be corrected by the metrics (steps, pairs) as of the step before it."""
    places = np.arange(demand.shape[1]) if series is None else np.array(series, dtype=np.int64)
    known, is_used, adjusted = Indicators(len(places)), [], []
    for row, metric, profile in zip(demand, metrics, profiles, strict=True):
        known.settle(row)
        known.enter(metric)
        adjusted.append(known.adjusted(profile, places))
        is_used.append(known.is_used)
    losses = [
        np.stack([pinball(demand[at + 1], said.grid) for at, said in enumerate(made[:-1])])
        for made in (profiles, adjusted)
    ]
    return Course(losses[0], losses[1], np.stack(is_used), adjusted)
