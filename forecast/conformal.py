"""Adaptive conformal calibration: quantiles that cover as often as they say.  Pure.

A score is what happened less what was expected.  Each series keeps a ring of its last scores; the
bound at level p is their quantile at an adapted level theta, moved after each outcome:
    theta <- theta + gain * (missed - (1 - p))
which makes the long-run share of misses 1 - p without any assumption on the series (Gibbs and
Candes, Adaptive Conformal Inference Under Distribution Shift, 2021).  Beyond what a ring can show
the bound goes on in a straight line, as a quantile tracker's would (Angelopoulos, Candes and
Tibshirani, Conformal PID Control for Time Series Prediction, 2023).
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from forecast.history import moved, reringed

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

# Chosen on traces among 0 to 0.03: enough for pooled coverage within 1 point, while larger gains
# widen the bounds (pinball loss of the maximum +8 % at 0.01, +16 % at 0.03).
_GAIN = 0.005
# How far theta may leave its level: inwards to twice as many misses, so that a long calm does not
# end with a bound that has forgotten storms; outwards to none and a bit beyond.
_MOST_BEYOND = 0.2
# Slope beyond the ring: how many times (its maximum - its median) per unit of theta.
_REACH = 10.0
# Series sorted at a time: bounds the scratch memory and stays in the processor's cache.
_BLOCK = 2048
_MEDIAN = 0.5


def normal_scores(levels: Floats) -> Floats:
    """Return the standard normal quantile of each level, shape (levels, 1)."""
    return np.array([[NormalDist().inv_cdf(level)] for level in levels.tolist()])


class Calibrator:
    """Online quantiles of one kind of score for many series; memory is what the rings take."""

    def __init__(self, n_series: int, levels: Floats, score_steps: int) -> None:
        self._levels = levels[:, None].astype(np.float64)
        self._normal = normal_scores(levels)
        rarity = np.minimum(self._levels, 1.0 - self._levels)
        self._least = self._levels - rarity - np.where(self._levels < _MEDIAN, _MOST_BEYOND, 0.0)
        self._most = self._levels + rarity + np.where(self._levels > _MEDIAN, _MOST_BEYOND, 0.0)
        self._theta: Singles = np.repeat(self._levels, n_series, axis=1).astype(np.float32)
        # Unused places hold inf, which sorts behind every score.
        self._ring: Singles = np.full((n_series, score_steps), np.inf, dtype=np.float32)
        self._entered: Ints = np.zeros(n_series, dtype=np.int64)

    @property
    def count(self) -> Ints:
        """Return how many scores each series' ring holds."""
        return np.minimum(self._entered, self._ring.shape[1])

    def enter(self, scores: NDArray[np.floating]) -> None:
        """Add one complete score per series; NaN is none."""
        known = np.flatnonzero(np.isfinite(scores))
        self._ring[known, self._entered[known] % self._ring.shape[1]] = scores[known]
        self._entered[known] += 1

    def adapt(self, outcomes: NDArray[np.floating], bounds: NDArray[np.floating]) -> None:
        """Move theta by what became of `bounds` (levels, series); a NaN on either side is none."""
        for start in range(0, self._theta.shape[1], _BLOCK):
            block = slice(start, start + _BLOCK)
            missed = outcomes[block] > bounds[:, block]
            is_known = np.isfinite(outcomes[block]) & np.isfinite(bounds[:, block])
            moved_by = np.where(is_known, _GAIN * (missed - (1.0 - self._levels)), 0.0)
            theta = self._theta[:, block] + moved_by
            self._theta[:, block] = np.minimum(np.maximum(theta, self._least), self._most)

    def quantiles(self, spread: Floats, least_spread: Floats) -> Singles:
        """Return the scores' quantiles, shape (levels, series), rising along axis 0.

        `spread` is the model's own standard deviation of a score: it stands in where the ring
        is too short to show a level.  `least_spread` widens every quantile by as much as it
        would a normal distribution's: flat is not the same as certain.
        """
        found: Singles = np.empty_like(self._theta)
        for start in range(0, len(self._ring), _BLOCK):
            block = slice(start, start + _BLOCK)
            shown = self._block_quantiles(block, spread[block], least_spread[block])
            found[:, block] = np.maximum.accumulate(shown, axis=0)
        return found

    def rearrange(self, positions: Ints, score_steps: int) -> None:
        """Put the series in a new order, with so long rings; -1 is a newcomer, without scores."""
        fresh = np.repeat(self._levels, len(positions), axis=1)
        theta = moved(self._theta, positions, np.nan)
        self._theta = np.where(positions >= 0, theta, fresh).astype(np.float32)
        self._ring, self._entered = reringed(
            self._ring, self._entered, positions, score_steps, np.inf
        )

    def _block_quantiles(self, block: slice, spread: Floats, least_spread: Floats) -> Floats:
        ordered = np.sort(self._ring[block], axis=1)
        count, theta = self.count[block], self._theta[:, block]
        top = np.maximum(count - 1, 0)
        place = theta * (count + 1) - 1
        inside = np.minimum(np.maximum(place, 0), top)
        low = inside.astype(np.int64)
        high = np.minimum(low + 1, top)
        marks = np.stack((np.zeros_like(count), count // 2, top))
        gathered = _at(ordered, np.concatenate((low, high, marks)))
        start, end = gathered[: len(low)], gathered[len(low) : -len(marks)]
        shown = start + (end - start) * (inside - low)
        # theta beyond 1/(n+1) .. n/(n+1) asks for more than n scores can show.
        is_above, is_below = place > count - 1, place < 0
        if is_above.any() or is_below.any():
            normal = gathered[-2] + self._normal * spread
            beyond = _REACH * (place - inside) / (count + 1)
            shown += np.where(is_above, beyond * (gathered[-1] - gathered[-2]), 0.0)
            shown += np.where(is_below, beyond * (gathered[-2] - gathered[-3]), 0.0)
            shown = np.where(is_above, np.maximum(shown, normal), shown)
            shown = np.where(is_below, np.minimum(shown, normal), shown)
            shown = np.where(count == 0, normal, shown)
        return np.asarray(shown + self._normal * least_spread, dtype=np.float64)


def _at(ordered: Singles, places: Ints) -> Singles:
    """Return `ordered[i, places[:, i]]`, shape (places, series); 0 where a ring is empty."""
    found = ordered[np.arange(len(ordered)), places]
    found[~np.isfinite(found)] = 0.0
    return found
