"""Keeps score of forecasts, series by series: exponentially discounted sums.  Pure.

A forecast of the next step is scored when that step ends, a bound on a maximum when its horizon
does.  Half of a score is forgotten after 96 horizons, a day of 15 minutes.  A gap changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.history import Number, moved
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.quality import (
    PINBALL_BOUNDS,
    PINBALLS,
    SHOWN_BOUND,
    Bytes,
    Ints,
    Quality,
    Singles,
    Verdict,
)
from forecast.target import Complete

Bools = NDArray[np.bool_]

_HALF_LIFE_HORIZONS = 96
# The naive forecast follows changes of the last 70 steps, half of them: as adaptive as any.
_NAIVE_RATE = np.float32(0.01)
# Losses below this share of the mean demand are all the same: nobody decides by them.
_NOTHING = np.float32(0.01)
_BLOCK = 4096  # series handled at a time: bounds the scratch memory
_LEVELS: Singles = EXPERT_LEVELS.astype(np.float32)[:, None]
# Quantiles of changes with mean size 1 (Laplace's distribution, whose scale is just that mean).
_CHANGES: Singles = np.where(
    _LEVELS < 0.5,  # noqa: PLR2004 - the median
    np.log(2 * np.minimum(_LEVELS, np.float32(0.5))),
    -np.log(2 * (1 - np.maximum(_LEVELS, np.float32(0.5)))),
).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Losses:
    """Pinball losses of the last step's quantiles, mean over all levels; NaN is none.

    `mixed` (series,) is of what was told, `each` (experts, series) of every expert alone.
    """

    mixed: Singles
    each: Singles

    @classmethod
    def none(cls, experts: int, n_series: int) -> "Losses":
        """Return losses that nothing is known of."""
        return cls(
            np.full(n_series, np.nan, dtype=np.float32),
            np.full((experts, n_series), np.nan, dtype=np.float32),
        )


class Scores:
    """Running sums of all series in single precision: some 15 numbers each, and one an expert."""

    def __init__(self, n_experts: int, n_series: int, horizon_steps: int, every: int = 1) -> None:
        half_life_steps = _HALF_LIFE_HORIZONS * horizon_steps
        self._kept = np.float32(0.5 ** (1 / half_life_steps))
        self._kept_window = np.float32(0.5 ** (every / half_life_steps))
        # Of steps: how many, demand, expected - demand, loss told, naive loss.
        self._steps: Singles = np.zeros((5, n_series), dtype=np.float32)
        self._lost_by: Singles = np.zeros((n_experts, n_series), dtype=np.float32)
        # Of windows: how many, how far the bound stood above, bounds that held, their losses.
        rows = 2 + len(BOUNDS) + PINBALLS
        self._windows: Singles = np.zeros((rows, n_series), dtype=np.float32)
        self._last: Singles = np.full(n_series, np.nan, dtype=np.float32)
        self._change: Singles = np.full(n_series, np.nan, dtype=np.float32)

    def settle(
        self,
        values: Singles,
        expected: NDArray[np.floating],
        losses: Losses,
        complete: Complete,
        is_live: Bools,
    ) -> None:
        """Enter one step (series,): what was `expected` of it, and the window that it completes.

        Only models that have been fitted (`is_live`) are scored.
        """
        for start in range(0, len(values), _BLOCK):
            part = slice(start, start + _BLOCK)
            self._enter_step(part, values, expected, losses, is_live)
            self._enter_window(part, complete, is_live)
        self._follow(values)

    def quality(self, experts: tuple[str, ...], shares: Bytes) -> Quality:
        """Return the figures without a verdict, NaN where nothing has been scored yet."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            count, demand, above, lost, naive = self._steps
            mean, least = demand / count, _NOTHING * demand
            windows, over, *scored = self._windows
            held, pinball = scored[: len(BOUNDS)], scored[len(BOUNDS) :]
            best = self._lost_by.min(axis=0)
            return Quality(
                experts=experts,
                shares=shares.copy(),
                verdict=np.full(len(windows), Verdict.UNJUDGED, dtype=np.uint8),
                windows=windows.copy(),
                coverage=np.stack(held) / windows,
                pinball=_finite(np.stack(pinball) / windows / mean),
                sharpness=_finite(over / windows / mean),
                bias=_finite(above / demand),
                skill=_finite(1 - np.maximum(lost, least) / np.maximum(naive, least)),
                skill_best=_finite(1 - np.maximum(lost, least) / np.maximum(best, least)),
            )

    def rearrange(self, positions: Ints, experts: list[int]) -> None:
        """Put the series and the experts in a new order; -1 is new to the others.

        An expert that is new counts, until now, as no better and no worse than the naive forecast.
        """
        each = [self._lost_by[at] if at >= 0 else self._steps[4] for at in experts]
        lost_by = np.stack(each) if each else self._lost_by[:0]
        self._lost_by = moved(lost_by, positions, 0.0)
        self._steps = moved(self._steps, positions, 0.0)
        self._windows = moved(self._windows, positions, 0.0)
        self._last = moved(self._last, positions, np.nan)
        self._change = moved(self._change, positions, np.nan)

    def _enter_step(
        self,
        part: slice,
        values: Singles,
        expected: NDArray[np.floating],
        losses: Losses,
        is_live: Bools,
    ) -> None:
        came, mixed, each = values[part], losses.mixed[part], losses.each[:, part]
        naive = self._naive_loss(part, came)
        is_scored = is_live[part] & np.isfinite(mixed) & np.isfinite(naive)
        more = np.stack((np.ones_like(came), came, expected[part] - came, mixed, naive))
        self._add(self._steps[:, part], more, is_scored, self._kept)
        # Where an expert cannot tell, one who had it alone would be left with the naive forecast.
        lost_by = np.where(np.isnan(each), naive, each)
        self._add(self._lost_by[:, part], lost_by, is_scored, self._kept)

    def _enter_window(self, part: slice, complete: Complete, is_live: Bools) -> None:
        highest, bounds = complete.maximum[part], complete.bounds[:, part]
        above = highest - bounds
        is_scored = is_live[part] & np.isfinite(above).all(axis=0)
        levels = BOUNDS[PINBALL_BOUNDS, None].astype(np.float32)
        more = np.stack(
            (
                np.ones_like(highest),
                -above[SHOWN_BOUND],
                *(above <= 0),
                *pinball(above[PINBALL_BOUNDS], levels),
            )
        )
        self._add(self._windows[:, part], more, is_scored, self._kept_window)

    def _add(
        self, sums: Singles, more: NDArray[np.floating], is_scored: Bools, kept: np.float32
    ) -> None:
        sums *= np.where(is_scored, kept, np.float32(1.0))
        sums += np.where(is_scored, more, np.float32(0.0))

    def _naive_loss(self, part: slice, came: Singles) -> Singles:
        """Return the loss of: the last value, give or take as much as it changes on average."""
        grid = self._last[part] + _CHANGES * self._change[part]
        loss = pinball(came - np.maximum(grid, np.float32(0.0)), _LEVELS)
        return np.asarray(loss.mean(axis=0), dtype=np.float32)

    def _follow(self, values: Singles) -> None:
        """Let the naive forecast learn; a gap is bridged by the last value that is known."""
        size = np.abs(values - self._last)
        smoothed = self._change + _NAIVE_RATE * (size - self._change)
        first = np.where(np.isnan(self._change), size, smoothed)
        self._change = np.where(np.isnan(size), self._change, first)
        self._last = np.where(np.isnan(values), self._last, values)


def pinball(above: NDArray[Number], levels: NDArray[Number]) -> NDArray[Number]:
    """Return the loss of quantiles at `levels` (levels, 1) that an outcome was `above` by."""
    loss: NDArray[Number] = np.maximum(levels * above, (levels - np.float32(1.0)) * above)
    return loss


def _finite(figure: Singles) -> Singles:
    return np.where(np.isfinite(figure), figure, np.float32(np.nan))
