"""Whom to believe: experts' quantiles averaged by weights that are learned online.  Pure.

At each level p of each series the mixture is the weighted mean of the experts' quantiles, with
    weight_k ~ max(R_k, 0) / V_k
where R_k is what the mixture could have saved, in pinball loss at p, by leaning towards expert k,
and V_k the sum of squares of that: ML-Poly (Gaillard, Stoltz and van Erven, A second-order bound
with excess losses, 2014), which loses at most sqrt(V_k K (1 + ln(1 + T))) more than any expert k of
K in T steps, whatever the series does.  Savings are taken along the loss's slope at the mixture, so
that the same holds of every fixed average of the experts (Cesa-Bianchi and Lugosi, Prediction,
Learning, and Games, 2006, section 2.5); both are forgotten by a factor a window, so it holds of
discounted losses (section 2.11); and a window that closes h windows late costs at most h times as
much (Joulani, Gyorgy and Szepesvari, Online learning under delayed feedback, 2013).  An expert that
cannot tell sleeps, and neither wins nor loses; a gap changes nothing.
"""

import numpy as np
from numpy.typing import NDArray

from forecast.history import Ints, Singles, moved
from forecast.quality import WHOLE_PCT, Bytes
from forecast.scores import Losses, pinball
from forecast.target import Pending, Target

# Half of what was learned is forgotten after so many windows, chosen on recorded traces; of a rare
# level not before it was missed about three times: until then who says least only seems to save.
_HALF_LIFE_WINDOWS, _HALF_LIFE_MISSES = 140, 3
_TINY = 1e-30
# Beyond this the sum of squares would not fit single precision.
_MOST_SAVED = np.float32(1e17)
# Series handled at a time: bounds the scratch memory and stays in the processor's cache.
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
        half_life = np.maximum(_HALF_LIFE_WINDOWS, _HALF_LIFE_MISSES / (1.0 - target.levels))
        self._kept: Singles = (0.5 ** (1.0 / half_life)).astype(np.float32)[:, None]

    def told(self, step: int) -> Singles:
        """Return what was made of what was said of the window that closes now."""
        made: Singles = self._pending.closing(step)[-1]
        return made

    def losses(self, step: int, outcome: Singles) -> Losses:
        """Return what was lost with what was said of the window that closes now."""
        pending, losses = self._pending.closing(step), Losses.none(*self.shares.shape)
        for block in self._blocks():
            lost = pinball(outcome[block] - pending[..., block], self._levels).mean(axis=1)
            losses.each[:, block], losses.mixed[block] = lost[:-1], lost[-1]
        return losses

    def settle(self, step: int, outcome: Singles) -> None:
        """Hold what was said of the window that closes now against what came, (series,)."""
        pending = self._pending.closing(step)
        for block in self._blocks():
            said, mixed = pending[:-1, :, block], pending[-1, :, block]
            came = outcome[block]
            slope = np.where(came > mixed, -self._levels, np.float32(1.0) - self._levels)
            slope[came == mixed] = 0.0
            saved = np.nan_to_num(slope * (mixed - said), nan=0.0)
            saved[..., np.isnan(came)] = 0.0
            np.clip(saved, -_MOST_SAVED, _MOST_SAVED, out=saved)
            kept = np.where(np.isnan(came), np.float32(1.0), self._kept)
            self._saved[..., block] = kept * self._saved[..., block] + saved
            self._squares[..., block] = kept * self._squares[..., block] + np.square(saved)

    def mixed(self, step: int, grids: list[Singles]) -> Singles:
        """Return the mixture of `grids`, each (levels, series); NaN where no expert can tell."""
        pending = self._pending.opening(step)
        said, found = pending[:-1], pending[-1]
        np.stack(grids, out=said)
        for block in self._blocks():
            is_awake = ~np.isnan(said[..., block])
            weight = self._weights(block, is_awake)
            mean = (weight * np.where(is_awake, said[..., block], np.float32(0.0))).sum(axis=0)
            mean[~is_awake.any(axis=0)] = np.nan
            self.shares[:, block] = np.round(WHOLE_PCT * weight.mean(axis=1))
            np.maximum.accumulate(mean, axis=0, out=found[:, block])
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

    def _blocks(self) -> list[slice]:
        n_series = self._saved.shape[-1]
        return [slice(start, start + _BLOCK) for start in range(0, n_series, _BLOCK)]

    def _weights(self, block: slice, is_awake: NDArray[np.bool_]) -> Singles:
        """Return weights of the experts that tell, summing to 1; 0 throughout where none does."""
        squares = np.maximum(self._squares[..., block], np.float32(_TINY))
        weight = np.where(is_awake, np.maximum(self._saved[..., block], np.float32(0.0)), 0.0)
        weight /= squares
        total = weight.sum(axis=0)
        weight = np.where(total > 0, weight, is_awake)
        total = np.where(total > 0, total, np.maximum(is_awake.sum(axis=0), 1))
        return np.asarray(weight / total, dtype=np.float32)


def _moved(columns: Singles, positions: Ints, experts: list[int], missing: float) -> Singles:
    taken = moved(columns, positions, missing)
    return np.stack([taken[k] if k >= 0 else np.full_like(taken[0], missing) for k in experts])
