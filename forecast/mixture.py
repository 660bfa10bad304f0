"""Whom to believe: experts' quantiles averaged by weights that are learned online.  Pure.

At each level p of each series the mixture is the weighted mean of the experts' quantiles, and
    weight_k ~ exp(-eta * L_k),  eta = sqrt(ln K / V)
where L_k is what expert k has lost more than the mixture, in pinball loss at p, and V the largest
sum of its squares, both forgotten by a factor a step.  The loss is convex in the quantile, so
without forgetting the mixture loses at most some 4 sqrt(V ln K) more than the best expert
(Cesa-Bianchi, Mansour and Stoltz, Improved second-order bounds for prediction with expert advice,
2007); with it the same holds of discounted losses (Cesa-Bianchi and Lugosi, Prediction, Learning,
and Games, 2006, section 2.11).  An expert that cannot tell sleeps, and neither wins nor loses;
a gap changes nothing.
"""

import numpy as np

from forecast.expert import Ints, Singles
from forecast.history import moved
from forecast.profile import LEVELS

# Half of a loss is forgotten after 140 steps: chosen on recorded traces.
_KEPT_A_STEP = 0.995
_TINY = 1e-30
# Series handled at a time: bounds the scratch memory and stays in the processor's cache.
_BLOCK = 1024
_LEVELS: Singles = LEVELS.astype(np.float32)[:, None]


class Mixture:
    """Weights of all experts, shape (experts, levels, series), and what was mixed last."""

    def __init__(self, n_experts: int, n_series: int) -> None:
        shape = (n_experts, len(LEVELS), n_series)
        self._lost: Singles = np.zeros(shape, dtype=np.float32)
        self._squares: Singles = np.zeros(shape, dtype=np.float32)
        self._grids: Singles = np.full(shape, np.nan, dtype=np.float32)

    def settle(self, values: Singles) -> None:
        """Hold each expert's last quantiles against what came, shape (series,)."""
        for block in self._blocks():
            loss = _pinball(values[block] - self._grids[..., block])
            known = np.where(np.isnan(loss), np.float32(0.0), loss)
            more = loss - (self._weights(block) * known).sum(axis=0)
            more = np.nan_to_num(more, nan=0.0)
            kept = np.where(np.isnan(values[block]), np.float32(1.0), np.float32(_KEPT_A_STEP))
            self._lost[..., block] = kept * self._lost[..., block] + more
            self._squares[..., block] = kept * self._squares[..., block] + np.square(more)

    def mixed(self, grids: list[Singles]) -> Singles:
        """Return the mixture of `grids`, each (levels, series); NaN where no expert can tell."""
        np.stack(grids, out=self._grids)
        found = np.empty(self._grids.shape[1:], dtype=np.float32)
        for block in self._blocks():
            weight, said = self._weights(block), self._grids[..., block]
            mean = (weight * np.where(np.isnan(said), np.float32(0.0), said)).sum(axis=0)
            mean[~weight.any(axis=0)] = np.nan
            np.maximum.accumulate(mean, axis=0, out=found[:, block])
        return found

    def rearrange(self, positions: Ints, experts: list[int]) -> None:
        """Put the series and the experts in a new order; -1 is new to the others.

        A new series believes all experts alike, and a new expert has lost what the mixture has.
        """
        self._lost = _moved(self._lost, positions, experts, 0.0)
        self._squares = _moved(self._squares, positions, experts, 0.0)
        self._grids = _moved(self._grids, positions, experts, np.nan)

    def _blocks(self) -> list[slice]:
        n_series = self._grids.shape[-1]
        return [slice(start, start + _BLOCK) for start in range(0, n_series, _BLOCK)]

    def _weights(self, block: slice) -> Singles:
        """Return weights of the experts that tell, summing to 1; 0 throughout where none does."""
        is_awake = ~np.isnan(self._grids[..., block])
        largest = np.maximum(self._squares[..., block].max(axis=0), np.float32(_TINY))
        eta = np.sqrt(np.float32(np.log(max(len(self._grids), 2))) / largest)
        score = np.where(is_awake, -eta * self._lost[..., block], np.float32(-np.inf))
        best = score.max(axis=0)
        weight = np.exp(score - np.where(np.isfinite(best), best, np.float32(0.0)))
        return np.asarray(weight / np.maximum(weight.sum(axis=0), np.float32(_TINY)))


def _moved(columns: Singles, positions: Ints, experts: list[int], missing: float) -> Singles:
    shape = (len(experts), columns.shape[1], len(positions))
    taken: Singles = np.full(shape, missing, dtype=np.float32)
    for place, before in enumerate(experts):
        if before >= 0:
            taken[place] = moved(columns[before], positions, missing)
    return taken


def _pinball(above: Singles) -> Singles:
    """Return the loss of quantiles that an outcome was `above` by, at each level."""
    loss: Singles = np.maximum(_LEVELS * above, (_LEVELS - np.float32(1.0)) * above)
    return loss
