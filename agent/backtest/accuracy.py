"""How good bounds on a maximum were: coverage, pinball loss, sharpness, skill.  Pure.

What is kept of a forecaster is sums by tenant; all figures, of any group of tenants, follow from
them.  Nothing here knows how a bound was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from agent.tenant import Bools, Floats, Ints
from forecast.profile import BOUNDS

Singles = NDArray[np.float32]

POINTS = 0.03  # of coverage: how far a tenant's may be from nominal
# Windows that a tenant is judged alone by: with fewer, one is more than a point.
FEWEST_JUDGED = 100
_STEADY_FRACTION = 0.5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over each tenant's scored windows, one bound each.

    `windows` and `outcome` have shape (horizons, tenants), all else (horizons, bounds, tenants).
    """

    windows: Ints
    outcome: Floats
    held: Ints  # windows whose outcome the bound held
    loss: Floats
    bound: Floats

    def only(self, positions: Ints) -> "Tally":
        """Return the sums of some of the tenants."""
        return Tally(*(getattr(self, field.name)[..., positions] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Group:
    """Whose bounds are judged: columns (tenants,) of the steps that count."""

    tenants: tuple[str, ...]
    mean_demand: Floats
    is_steady: Bools  # more than half of the steps are as the one before

    def only(self, positions: Ints) -> "Group":
        """Return some of the tenants."""
        return Group(
            tuple(self.tenants[place] for place in positions),
            self.mean_demand[positions],
            self.is_steady[positions],
        )


@dataclass(frozen=True, slots=True)
class BoundFigures:
    """How good one forecaster's bound at one level was; NaN where nothing can be said.

    Fractions of tenants are of those with enough windows to be judged alone: all of them, those
    that are not steady, and all again where a steady one may cover more than nominal.
    """

    coverage_fraction: float  # of all windows of all tenants
    tenants_within_fraction: float
    moving_tenants_within_fraction: float
    tenants_within_or_steady_over_fraction: float
    worst_tenant: str | None
    worst_coverage_fraction: float
    pinball_loss: float  # mean over windows, base units
    relative_pinball_loss: float  # mean over tenants of loss / mean demand
    skill: float  # 1 - loss / the naive forecast's
    relative_skill: float  # the same of relative losses
    mean_bound: float  # base units
    mean_margin: float  # bound - outcome, base units


def outcomes_of(values: Floats, horizons_steps: Sequence[int], first: int) -> Singles:
    """Return what came of each window that starts after step `first`, `first` + 1, ...

    That is the maximum of the next steps, shape (horizons, origins, tenants), in the single
    precision that bounds have.  NaN where the window has a gap or is cut off by the end, or where
    the last step before it is a gap: a tenant that is away is not forecast.
    """
    longest, tenants = max(horizons_steps), values.shape[1]
    padded = np.concatenate([values[first + 1 :], np.full((longest, tenants), np.nan)])
    is_there = np.isfinite(values[first:])
    found = np.empty((len(horizons_steps), *is_there.shape), dtype=np.float32)
    for row, steps in zip(found, horizons_steps, strict=True):
        highest = padded[: len(is_there)]
        for ahead in range(1, steps):
            highest = np.maximum(highest, padded[ahead : ahead + len(is_there)])
        row[:] = np.where(is_there, highest, np.nan)
    return found


def tallied(outcomes: Singles, bounds: Singles) -> Tally:
    """Hold bounds (origins, horizons, bounds, tenants) against `outcomes_of` the same origins.

    A window without an outcome counts nowhere.

    Raises:
        ValueError: A window that counts has no bound.

    """
    is_scored = np.isfinite(outcomes)
    shape = (len(outcomes), len(BOUNDS), outcomes.shape[-1])
    held, loss, total = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.zeros(shape)
    for horizon, level in np.ndindex(shape[:2]):
        outcome, known = outcomes[horizon].astype(np.float64), is_scored[horizon]
        bound = np.where(known, bounds[:, horizon, level].astype(np.float64), 0.0)
        if not np.isfinite(bound).all():
            raise ValueError("a window that counts has no bound")
        held[horizon, level] = (known & (outcome <= bound)).sum(axis=0)
        loss[horizon, level] = np.nansum(pinball(outcome, bound, float(BOUNDS[level])), axis=0)
        total[horizon, level] = bound.sum(axis=0)
    return Tally(
        windows=is_scored.sum(axis=1),
        outcome=np.nansum(outcomes, axis=1, dtype=np.float64),
        held=held,
        loss=loss,
        bound=total,
    )


def joined(parts: Sequence[Tally]) -> Tally:
    """Return the sums of several groups of tenants as one, in the order given."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Tally))
    return Tally(*(np.concatenate(column, axis=-1) for column in columns))


def pinball(outcome: Floats, bound: Floats, level: float) -> Floats:
    """Return the loss of a quantile forecast at `level`.

    level * (outcome - bound) where the outcome is above, (1 - level) * (bound - outcome) where it
    is not (Koenker and Bassett, Regression Quantiles, 1978): least on average at the quantile.
    """
    above = outcome - bound
    return np.maximum(level * above, (level - 1.0) * above)


def group_of(tenants: tuple[str, ...], values: Floats) -> Group:
    """Return who is judged, by the values (steps, tenants) of the steps that count."""
    is_known = np.isfinite(values)
    mean = _ratio(np.where(is_known, values, 0.0).sum(axis=0), is_known.sum(axis=0))
    is_pair = is_known[1:] & is_known[:-1]
    unchanged = (is_pair & (values[1:] == values[:-1])).sum(axis=0)
    return Group(tenants, mean, unchanged > _STEADY_FRACTION * is_pair.sum(axis=0))


def naive_bounds(values: Floats, outcomes: Singles, first: int) -> Singles:
    """Return the last value times the factor that, in hindsight, loses least at each level.

    Shape (origins, horizons, bounds, tenants).  One factor for all tenants: nobody could know it
    beforehand, so this flatters the naive forecast.
    """
    last = values[first:].astype(np.float32)
    bounds = np.empty((len(last), len(outcomes), len(BOUNDS), last.shape[1]), dtype=np.float32)
    for horizon, level in np.ndindex(len(outcomes), len(BOUNDS)):
        factor = best_factor(outcomes[horizon], last, float(BOUNDS[level]))
        bounds[:, horizon, level] = np.float32(factor) * last
    return bounds


def best_factor(outcomes: Singles, base: Singles, level: float) -> float:
    """Return the factor of `base` (>= 0) that has the least pinball loss; 1 where all do.

    The loss is sum of base * pinball(outcome / base, factor), so the factor is the quantile of
    outcome / base, each weighted by its base.
    """
    counts = np.isfinite(outcomes) & (base > 0)
    weight = base[counts].astype(np.float64)
    if not len(weight):
        return 1.0
    ratio = outcomes[counts] / weight
    order = np.argsort(ratio)
    reached = np.cumsum(weight[order])
    place = np.searchsorted(reached, level * reached[-1])
    return float(ratio[order[min(int(place), len(order) - 1)]])


def figures_of(tally: Tally, group: Group, naive: Tally, horizon: int, level: int) -> BoundFigures:
    """Return the figures of one bound; `horizon` and `level` are positions in the tallies."""
    windows = tally.windows[horizon]
    count, nominal = int(windows.sum()), float(BOUNDS[level])
    held, loss = tally.held[horizon, level], tally.loss[horizon, level]
    coverage = _ratio(held, windows)
    judged = np.flatnonzero(windows >= FEWEST_JUDGED)
    is_near = np.abs(coverage - nominal) <= POINTS + _ROUNDING
    is_excused = is_near | (group.is_steady & (coverage > nominal))
    moving = judged[~group.is_steady[judged]]
    worst = None if not len(judged) else judged[np.argmax(np.abs(coverage - nominal)[judged])]
    mean_loss = _fraction(float(loss.sum()), count)
    relative = relative_loss(tally, group, horizon, level)
    bound = float(tally.bound[horizon, level].sum())
    return BoundFigures(
        coverage_fraction=_fraction(float(held.sum()), count),
        tenants_within_fraction=_share(is_near[judged]),
        moving_tenants_within_fraction=_share(is_near[moving]),
        tenants_within_or_steady_over_fraction=_share(is_excused[judged]),
        worst_tenant=None if worst is None else group.tenants[worst],
        worst_coverage_fraction=float("nan") if worst is None else float(coverage[worst]),
        pinball_loss=mean_loss,
        relative_pinball_loss=relative,
        skill=_skill(mean_loss, _fraction(float(naive.loss[horizon, level].sum()), count)),
        relative_skill=_skill(relative, relative_loss(naive, group, horizon, level)),
        mean_bound=_fraction(bound, count),
        mean_margin=_fraction(bound - float(tally.outcome[horizon].sum()), count),
    )


def loss_ratios(ours: Tally, other: Tally, level: int) -> Floats:
    """Return each tenant's loss by another forecaster's, at the longest horizon.

    Whoever the other loses nothing on is left out.
    """
    loss, reference = ours.loss[-1, level], other.loss[-1, level]
    counts = reference > 0
    return np.asarray(loss[counts] / reference[counts], dtype=np.float64)


def relative_loss(tally: Tally, group: Group, horizon: int, level: int) -> float:
    """Return the mean over tenants of each one's mean loss, in units of its own mean demand.

    Who wants nothing at all has no such unit, and is left out.
    """
    windows = tally.windows[horizon]
    counts = (windows > 0) & (group.mean_demand > 0)
    return _share(
        (tally.loss[horizon, level][counts] / windows[counts]) / group.mean_demand[counts]
    )


def _skill(loss: float, reference: float) -> float:
    return 1.0 - loss / reference if reference > 0 else float("nan")


def _fraction(amount: float, whole: float) -> float:
    return amount / whole if whole else float("nan")


def _share(column: Bools | Floats) -> float:
    return float(np.mean(column)) if len(column) else float("nan")


def _ratio(amount: Floats | Ints, whole: Ints) -> Floats:
    ratio = np.full(len(whole), np.nan)
    np.divide(amount, whole, out=ratio, where=whole > 0)
    return ratio
