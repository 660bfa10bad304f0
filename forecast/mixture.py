"""Whom to believe: experts' quantiles averaged by weights that are learned online.  Pure.

At each level p of each series the mixture is the weighted mean of the experts' quantiles, with
    weight_k ~ max(R_k, 0) / V_k
where R_k is what the mixture could have saved, in pinball loss at p, by leaning towards expert k,
and V_k the sum of squares of that, r_k^2: ML-Poly (Gaillard, Stoltz and van Erven, A second-order
bound with excess losses, 2014).  For losses from 0 to 1 theirs has 1 + V_k, and loses at most some
sqrt(V_k K (1 + ln(1 + T))) more than any expert k of K in T steps, whatever the series does.
Demands have no scale that is known, so no 1 is added.  What is left of the bound is
    R_k <= sqrt(V_k P), P = sum over windows of sum_k r_k^2 / V_k, or of K where a V_k doubles
(V_k before the window): their proof where none doubles, and by Cauchy's inequality
(R + r)^2 / (V + r^2) <= R^2 / V + 1 where one does.  So each leap of the scale costs K more.

Savings are taken along the loss's slope at the mixture, so that the same holds of every fixed
average of the experts (Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, 2006, section
2.5).  R and V are forgotten by a factor a window, and P with them, so it holds of discounted losses
(as in their section 2.11).  Two things it leaves out: levels that cross are put in order after they
are averaged; and savings of a window of h steps come h late, where a bound of h times as much is
known of h mixtures in turn (Joulani, Gyorgy and Szepesvari, Online learning under delayed feedback,
2013), not of one.  An expert that cannot tell sleeps, and neither wins nor loses; a gap changes
nothing.
"""

import numpy as np
from numpy.typing import NDArray

from forecast.history import Ints, Number, Singles, moved
from forecast.quality import WHOLE_PCT, Bytes
from forecast.scores import Losses, pinball
from forecast.target import Pending, Target

# Half of what was learned is forgotten after so many windows, chosen on recorded traces; of a rare
# level not before it was missed about three times: until then who says least only seems to save.
HALF_LIFE_WINDOWS = 140
_HALF_LIFE_MISSES = 3
_TINY = 1e-30
# Beyond this the sum of squares would not fit single precision.
_MOST_SAVED = np.float32(1e17)
_BLOCK = 1024


class Mixture:
    """Weights of all experts for one target, shape (experts, levels, series)."""

    def __init__(self, n_experts: int, n_series: int, target: Target) -> None:
        self._target = target
        shape = (n_experts, len(target.levels), n_series)
        self._saved: Singles = np.zeros(shape, dtype=np.float32)
        self._squares: Singles = np.zeros(shape, dtype=np.float32)
        self.shares: Bytes = np.zeros((n_experts, n_series), dtype=np.uint8)  # of what was mixed
        # What each expert said and, behind them, what was made of it.
        self._pending = Pending(n_series, target, (n_experts + 1, len(target.levels)))
        self._levels: Singles = target.levels.astype(np.float32)[:, None]
        half_life = np.maximum(HALF_LIFE_WINDOWS, _HALF_LIFE_MISSES / (1.0 - target.levels))
        self._kept: Singles = (0.5 ** (1.0 / half_life)).astype(np.float32)[:, None]

    def said(self, step: int) -> Singles:
        """Return what experts said of the window that closes now and, last, what was made of it.

        Shape (experts + 1, levels, series).
        """
        return self._pending.closing(step)

    def losses(self, step: int, outcome: Singles) -> Losses:
        """Return what was lost with what was said of the window that closes now."""
        pending, losses = self._pending.closing(step), Losses.none(*self.shares.shape)
        for block in blocks_of(self._saved.shape[-1]):
            lost = pinball(outcome[block] - pending[..., block], self._levels).mean(axis=1)
            losses.each[:, block], losses.mixed[block] = lost[:-1], lost[-1]
        return losses

    def settle(self, step: int, outcome: Singles) -> None:
        """Hold what was said of the window that closes now against what came, (series,)."""
        pending = self._pending.closing(step)
        for block in blocks_of(self._saved.shape[-1]):
            said, mixed = pending[:-1, :, block], pending[-1, :, block]
            came = outcome[block]
            # What leaning towards each would have saved; 0 of who slept.
            saved = np.nan_to_num(slopes(mixed, came, self._levels) * (mixed - said), nan=0.0)
            np.clip(saved, -_MOST_SAVED, _MOST_SAVED, out=saved)
            kept = np.where(np.isnan(came), np.float32(1.0), self._kept)
            self._saved[..., block] = kept * self._saved[..., block] + saved
            self._squares[..., block] = kept * self._squares[..., block] + np.square(saved)

    def mixed(self, step: int, grids: list[Singles]) -> Singles:
        """Return the mixture of `grids`, each (levels, series); NaN where no expert can tell."""
        pending = self._pending.opening(step)
        said, found = pending[:-1], pending[-1]
        np.stack(grids, out=said)
        for block in blocks_of(self._saved.shape[-1]):
            told = said[..., block]
            weight = weights(self._saved[..., block], self._squares[..., block], ~np.isnan(told))
            self.shares[:, block] = np.round(WHOLE_PCT * weight.mean(axis=1))
            found[:, block] = averaged(told, weight)
        mixed: Singles = found.copy()
        return mixed

    def rearrange(self, positions: Ints, experts: list[int]) -> None:
        """Put the series and the experts in a new order; -1 is new to the others.

        A new series believes all experts alike; a new expert has saved nothing yet.
        """
        self._saved = _moved(self._saved, positions, experts, 0.0)
        self._squares = _moved(self._squares, positions, experts, 0.0)
        self.shares = np.zeros((len(experts), len(positions)), dtype=np.uint8)
        self._pending.rearrange(positions, [*experts, self._pending.parts[0] - 1])


def blocks_of(n_series: int) -> list[slice]:
    """Return all series in blocks that bound the scratch memory and fit the processor's cache."""
    return [slice(start, start + _BLOCK) for start in range(0, n_series, _BLOCK)]


def slopes(mixed: Singles, came: Singles, levels: Singles) -> Singles:
    """Return the slope of the pinball loss at `mixed` (levels, series); 0 where nothing came."""
    slope: Singles = np.where(came > mixed, -levels, np.float32(1.0) - levels)
    slope[(came == mixed) | np.isnan(came)] = 0.0
    return slope


def weights(
    saved: NDArray[Number], squares: NDArray[Number], is_awake: NDArray[np.bool_]
) -> Singles:
    """Return weights of the experts that tell, summing to 1; 0 throughout where none does."""
    weight = np.where(is_awake, np.maximum(saved, 0.0), 0.0) / np.maximum(squares, _TINY)
    total = weight.sum(axis=0)
    weight = np.where(total > 0, weight, is_awake)
    total = np.where(total > 0, total, np.maximum(is_awake.sum(axis=0), 1))
    return np.asarray(weight / total, dtype=np.float32)


def averaged(said: Singles, weight: Singles) -> Singles:
    """Return the mean of `said` (experts, levels, series) by weights, rising along its levels.

    NaN where none tells.
    """
    is_awake = ~np.isnan(said)
    mean = (weight * np.where(is_awake, said, np.float32(0.0))).sum(axis=0)
    mean[~is_awake.any(axis=0)] = np.nan
    rising: Singles = np.maximum.accumulate(mean, axis=0)
    return rising


def reseated(columns: NDArray[Number], experts: list[int], missing: float) -> NDArray[Number]:
    """Return columns (experts, ...) with the experts in a new order; -1 is new."""
    return np.stack([columns[k] if k >= 0 else np.full_like(columns[0], missing) for k in experts])


def _moved(columns: Singles, positions: Ints, experts: list[int], missing: float) -> Singles:
    return reseated(moved(columns, positions, missing), experts, missing)
