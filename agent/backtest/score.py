"""What is reported of one run: demand left unmet, promises kept, fairness, churn.  Pure."""

from dataclasses import dataclass

import numpy as np

from agent.tenant import Bools, Floats, Ints

_CHANGE_FRACTION = 1e-9  # of the limit before: less than that is rounding
_BAD_FRACTION = 0.01  # of a tenant's steps
_S_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Run:
    """What was wanted, served and allowed on one host of one resource, in its base unit."""

    demand: Floats  # (steps, tenants); NaN while a tenant is absent: such steps count nowhere
    served: Floats  # (steps, tenants), NaN at the same places
    limit: Floats  # (steps, tenants) in force during the step; inf is none
    step_s: float
    capacity: float
    slack: float  # what a step may miss in the base unit and still count as served

    @property
    def unmet(self) -> Floats:
        """Return what was wanted and not served, (steps, tenants); 0 of the absent."""
        return np.where(self.is_present, np.maximum(self.demand - self.served, 0.0), 0.0)

    @property
    def is_present(self) -> Bools:
        """Say in which steps a tenant was there at all, (steps, tenants)."""
        return ~np.isnan(self.demand)

    @property
    def is_violated(self) -> Bools:
        """Say in which steps a tenant missed more than the slack, (steps, tenants)."""
        return misses(self.demand, self.served, self.slack)


def misses(demand: Floats, served: Floats, slack: float) -> Bools:
    """Say where more than the slack is missed; not where a tenant was absent (NaN)."""
    return np.asarray(demand > served + slack, dtype=np.bool_)


def unmet_fraction(run: Run) -> float:
    """Return what was not served of all demand, 0 where there was none."""
    return _fraction(float(run.unmet.sum()), float(np.nansum(run.demand)))


def violated_fraction(run: Run) -> float:
    """Return the share of all tenants' steps that are violated."""
    return _fraction(int(run.is_violated.sum()), int(run.is_present.sum()))


def violated_fraction_by_class(run: Run, class_of: Ints, classes: int) -> Floats:
    """Return the same of each class, NaN where it has no tenant; class_of (tenants,) from 0."""
    violated = steps_by_class(run.is_violated, class_of, classes)
    return _ratios(violated, steps_by_class(run.is_present, class_of, classes))


def unmet_fraction_by_class(run: Run, class_of: Ints, classes: int) -> Floats:
    """Return what was not served of each class's demand, NaN where it wants nothing."""
    wanted = np.nansum(run.demand, axis=0)
    missing = run.unmet.sum(axis=0)
    return _ratios(_sums(missing, class_of, classes), _sums(wanted, class_of, classes))


def badly_served_tenants(run: Run) -> int:
    """Return how many tenants have more than 1 % of their steps violated."""
    violated = run.is_violated.sum(axis=0)
    return int((violated > _BAD_FRACTION * run.is_present.sum(axis=0)).sum())


def utilisation_fraction(run: Run) -> float:
    """Return what was served of what the host could have, over all steps."""
    return _fraction(float(np.nansum(run.served)), run.capacity * len(run.served))


def limit_changes_per_tenant_hour(run: Run) -> float:
    """Return how often limits moved; the first step's have nothing to have moved from.

    Hours and moves count from step to step in which the tenant was there.
    """
    limit = np.where(np.isfinite(run.limit), run.limit, -1.0)  # none is a value like any other
    before, after = limit[:-1], limit[1:]
    is_known = run.is_present[:-1] & run.is_present[1:]
    changes = is_known & (np.abs(after - before) > _CHANGE_FRACTION * np.abs(before))
    return _fraction(int(changes.sum()), int(is_known.sum()) * run.step_s / _S_PER_HOUR)


def fairness_by_class(run: Run, class_of: Ints, classes: int) -> Floats:
    """Return how evenly each class shares what is missing: Jain's index, averaged over steps.

    Jain's index of the n tenants of a class that want something, with x_i = served_i / demand_i:
        (sum x_i)^2 / (n * sum x_i^2)
    is 1 where all have the same part of their demand (also none of it), 1/n where one has all
    (Jain, Chiu and Hawe, A Quantitative Measure of Fairness and Discrimination for Resource
    Allocation in Shared Computer Systems, DEC-TR-301, 1984).  Averaged over the steps in which
    the class is violated; NaN where it never is.
    """
    wants = run.demand > 0
    part = np.divide(run.served, run.demand, out=np.zeros_like(run.demand), where=wants)
    return np.array([_fairness(run, part, wants, class_of == place) for place in range(classes)])


def attainment_by_class(run: Run, class_of: Ints, classes: int) -> Floats:
    """Return the share of each class's steps that are served in full, NaN where it has none."""
    kept = steps_by_class(run.is_present & ~run.is_violated, class_of, classes)
    return _ratios(kept, steps_by_class(run.is_present, class_of, classes))


def steps_by_class(is_counted: Bools, class_of: Ints, classes: int) -> Floats:
    """Return how many steps (steps, tenants) are counted of each class, pooled over its tenants."""
    return _sums(is_counted.sum(axis=0).astype(np.float64), class_of, classes)


def _fairness(run: Run, part: Floats, wants: Bools, is_member: Bools) -> float:
    is_short = run.is_violated[:, is_member].any(axis=1)
    if not is_short.any():
        return float("nan")
    return float(_jain(part[is_short][:, is_member], wants[is_short][:, is_member]).mean())


def _jain(part: Floats, wants: Bools) -> Floats:
    """Return Jain's index of each step's parts among those who want something."""
    squares = wants.sum(axis=1) * np.sum(part**2, axis=1)
    index = np.ones(len(part))
    np.divide(part.sum(axis=1) ** 2, squares, out=index, where=squares > 0)
    return index


def _fraction(amount: float, whole: float) -> float:
    return amount / whole if whole else 0.0


def _sums(column: Floats, class_of: Ints, classes: int) -> Floats:
    """Return the sum of each class's tenants, 0 where it has none."""
    return np.asarray(np.bincount(class_of, column, classes), dtype=np.float64)


def _ratios(amount: Floats, whole: Floats) -> Floats:
    ratios = np.full(len(whole), np.nan)
    np.divide(amount, whole, out=ratios, where=whole > 0)
    return ratios
