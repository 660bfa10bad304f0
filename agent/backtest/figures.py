"""The figures of one policy on one host, and their mean over hosts.  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from agent.backtest.columns import QUANTITY_OF
from agent.backtest.protocol import Case
from agent.backtest.rivals import Outcome
from agent.backtest.score import (
    Run,
    attainment_by_class,
    badly_served_tenants,
    fairness_by_class,
    limit_changes_per_tenant_hour,
    unmet_fraction,
    unmet_fraction_by_class,
    utilisation_fraction,
    violated_fraction,
    violated_fraction_by_class,
)
from agent.pools import fair_share
from agent.tenant import BASIC, Bools, Floats, Resource

# What a step may miss and still count as served in full: cores, bytes, bytes/s.
SLACK: Mapping[Resource, float] = {
    Resource.CPU: 1e-3,
    Resource.MEMORY: 2.0**20,
    **{resource: 4096.0 for resource in QUANTITY_OF if resource not in BASIC},
}
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What became of one class's tenants; NaN where it asked for nothing."""

    tenants: float
    unmet_fraction: float
    violated_fraction: float
    attainment_fraction: float  # of its steps served in full
    fairness: float  # Jain's index while it is short, NaN where it never is


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of all tenants under one policy."""

    unmet_fraction: float  # of all demand
    violated_fraction: float  # of all steps
    badly_served_tenants: float  # with more than 1 % of their steps violated
    utilisation_fraction: float
    limit_changes_per_tenant_hour: float
    fairness: float  # mean of the classes' that are ever short
    entitled_fraction: float  # steps of tenants that kept within their share in the last hour
    entitled_unmet_fraction: float  # of their demand in these steps
    by_class: Mapping[str, ClassFigures]


def figures_of(case: Case, outcome: Outcome, capacity: float, is_entitled: Bools) -> Figures:
    """Return the figures of one policy on one host; for `is_entitled` see `entitled`."""
    run = Run(
        demand=case.evaluated,
        served=outcome.served,
        limit=outcome.limit,
        step_s=case.step_s,
        capacity=capacity,
        slack=SLACK[case.resource],
    )
    by_class = _class_figures(run, case)
    fairness = [one.fairness for one in by_class.values() if np.isfinite(one.fairness)]
    wanted = float(np.where(is_entitled, run.demand, 0.0).sum())
    return Figures(
        unmet_fraction=unmet_fraction(run),
        violated_fraction=violated_fraction(run),
        badly_served_tenants=badly_served_tenants(run),
        utilisation_fraction=utilisation_fraction(run),
        limit_changes_per_tenant_hour=limit_changes_per_tenant_hour(run),
        fairness=float(np.mean(fairness)) if fairness else float("nan"),
        entitled_fraction=float(is_entitled.sum() / max(run.is_present.sum(), 1)),
        entitled_unmet_fraction=(
            float(run.unmet[is_entitled].sum()) / wanted if wanted > 0 else 0.0
        ),
        by_class=by_class,
    )


def entitled(case: Case, capacity: float) -> Bools:
    """Say in which steps that count a tenant had kept within its share, (steps, tenants).

    In each step of the hour before, it wanted at most its share of the capacity by weight among
    those that were there; the step itself does not count: then it may ask for more.
    """
    steps = max(round(_HOUR_S / case.step_s), 1)
    first = max(case.warm_up - steps, 0)
    past = case.demand[first:-1]
    is_there = ~np.isnan(past)
    fair = np.stack(
        [fair_share(case.weights, row.astype(np.float64), capacity) for row in is_there]
    )
    # Whoever was away took nothing from anyone.
    kept = np.nan_to_num(past) <= fair
    kept |= ~is_there
    padded = np.concatenate([np.ones((max(steps - case.warm_up, 0), kept.shape[1]), bool), kept])
    windows = np.lib.stride_tricks.sliding_window_view(padded, steps, axis=0)
    return np.asarray(windows.all(axis=-1) & ~np.isnan(case.evaluated), dtype=np.bool_)


def mean_of(hosts: Sequence[Figures]) -> Figures:
    """Return the mean over hosts of each figure, of those that it is known of."""
    by_class = {
        name: ClassFigures(**_means([one.by_class[name] for one in hosts]))
        for name in hosts[0].by_class
    }
    return Figures(**_means(hosts), by_class=by_class)


def _class_figures(run: Run, case: Case) -> dict[str, ClassFigures]:
    count = len(case.classes)
    tenants = np.bincount(case.class_of, minlength=count)
    columns = (
        unmet_fraction_by_class(run, case.class_of, count),
        violated_fraction_by_class(run, case.class_of, count),
        attainment_by_class(run, case.class_of, count),
        fairness_by_class(run, case.class_of, count),
    )
    return {
        qos.name: ClassFigures(float(tenants[place]), *(float(column[place]) for column in columns))
        for place, qos in enumerate(case.classes)
    }


def _means(rows: Sequence[Figures] | Sequence[ClassFigures]) -> dict[str, float]:
    numbers = [field.name for field in fields(rows[0]) if field.name != "by_class"]
    return {name: _mean(np.array([getattr(row, name) for row in rows])) for name in numbers}


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
