"""Whether what metrics correct of a series' forecast is, as a whole, worth it.  Pure.

Each metric is judged by itself (`forecast.indicators`).  Where several lie in turns, each while the
others are silent, each would have its own to lose: all together have twice what one has.
"""

from dataclasses import dataclass, replace

import numpy as np

from agent.tenant import Bools, Floats, Ints, carried_over
from forecast.history import moved
from forecast.indicators import DROP, FEWEST_SCORED
from forecast.profile import LEVELS, Numbers, Profile
from forecast.scores import pinball

_MOST_LOST = 2 * DROP  # usual losses of a step: with less, honest ones that differ are paused too
_KEPT_A_STEP = 0.995  # of what a step usually loses, as metrics' own losses are kept


@dataclass(frozen=True, slots=True)
class Corrections:
    """Columns (series,): losses of the forecast without metrics, and what they made worse of it."""

    loss: Floats  # mean over all levels, summed over steps; older ones count for less
    steps: Floats  # that it is the sum of
    lost: Floats  # since the best
    paused_steps: Ints  # in which nothing is corrected, from now on

    @classmethod
    def none(cls, n_series: int) -> "Corrections":
        """Return the state of nothing having been corrected."""
        zeros = np.zeros(n_series)
        return cls(zeros, zeros, zeros, np.zeros(n_series, dtype=np.int64))

    @property
    def is_paused(self) -> Bools:
        """Say of each series whether nothing is to be corrected in it."""
        return self.paused_steps > 0

    def after_step(
        self, given: Profile, made: Profile, demand: Floats, series: Ints
    ) -> "Corrections":
        """Return the state after a step of which `made` was said in place of `given`.

        `series` are those that have metrics; `demand` (series,) is of all, NaN a gap.  What has
        lost, since its best, sixteen times what a step usually loses pauses for 30 steps.
        """
        without, with_them = (_loss(one.grid[:, series], demand[series]) for one in (given, made))
        is_seen = np.isfinite(without)
        kept = np.where(is_seen, _KEPT_A_STEP, 1.0)
        loss, steps, lost = (one.copy() for one in (self.loss, self.steps, self.lost))
        loss[series] = kept * loss[series] + np.where(is_seen, without, 0.0)
        steps[series] = kept * steps[series] + is_seen
        more = np.where(is_seen, with_them - without, 0.0)
        lost[series] = np.maximum(lost[series] + more, 0.0)
        is_over = lost * np.maximum(steps, 1.0) > _MOST_LOST * loss
        paused = np.where(is_over, FEWEST_SCORED, np.maximum(self.paused_steps - 1, 0))
        return Corrections(loss, steps, np.where(is_over, 0.0, lost), paused)

    def allowed(self, given: Profile, made: Profile) -> Profile:
        """Return what was made of a profile, without what is paused."""
        if made is given or not self.is_paused.any():
            return made
        grid, expected, maximum = (
            np.where(self.is_paused, before, after)
            for before, after in (
                (given.grid, made.grid),
                (given.expected, made.expected),
                (given.maximum, made.maximum),
            )
        )
        return replace(made, grid=grid, expected=expected, maximum=maximum)

    def rearranged(self, positions: Ints) -> "Corrections":
        """Return the state of series in a new order; -1 is a newcomer."""
        return Corrections(
            carried_over(self.loss, positions, 0.0),
            carried_over(self.steps, positions, 0.0),
            carried_over(self.lost, positions, 0.0),
            moved(self.paused_steps, positions, 0),
        )


def _loss(grid: Numbers, demand: Floats) -> Floats:
    """Return the pinball loss, mean over all levels; NaN where either is not known."""
    return np.asarray(pinball(demand - grid, LEVELS[:, None]).mean(axis=0), dtype=np.float64)
