"""What others' policies and the two references would have served of recorded demand.  Pure.

Peers get the courtesy that the agent gets: they see the true past, and what is left over is spread.
"""

from dataclasses import dataclass

import numpy as np

from agent.backtest.peers import PeerKind
from agent.backtest.protocol import Case
from agent.fairness import filled
from agent.tenant import Floats

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy allowed and served in the steps that count, (steps, tenants).

    Served is NaN where demand was; a limit of inf is none.
    """

    limit: Floats
    served: Floats


def shared_out(recommended: Floats, *, ceiling: Floats, capacity: float) -> Floats:
    """Return limits that fit the capacity, from what a peer recommends; shape (tenants,).

    Recommendations count up to the ceiling.  Where they sum to more than the capacity all are
    scaled down in proportion; what they leave is spread by ceiling.
    """
    wanted = np.minimum(recommended, ceiling)
    total = float(wanted.sum())
    if total > capacity:
        return wanted * (capacity / total)
    return wanted + filled(capacity - total, room=ceiling - wanted, weight=ceiling)


def recommended(case: Case, kind: PeerKind) -> Floats:
    """Return what a peer that sees all demand recommends for each step that counts.

    Row t is made from what was wanted before step t.
    """
    peer = kind.build(case.ceiling, case.step_s, case.resource)
    rows = [peer.observe(row) for row in case.demand[:-1]]
    return np.stack(rows[case.warm_up - 1 :])


def peer_outcome(case: Case, rows: Floats, capacity: float) -> Outcome:
    """Return what a peer's recommendations (see `recommended`) make of demand."""
    was_present = ~np.isnan(case.demand[case.warm_up - 1 : -1])
    limit = np.stack(
        [
            _limits(row, is_there, case, capacity)
            for row, is_there in zip(rows, was_present, strict=True)
        ]
    )
    return Outcome(limit, capped(case, limit, capacity))


def peer_outcome_closed(case: Case, kind: PeerKind, capacity: float) -> Outcome:
    """Return what becomes of demand under a peer that only ever sees what was served.

    Before its first step nobody is limited.
    """
    peer = kind.build(case.ceiling, case.step_s, case.resource)
    limit, served = np.empty_like(case.demand), np.empty_like(case.demand)
    now = case.ceiling
    for step, row in enumerate(case.demand):
        limit[step] = now
        served[step] = _capped_row(row, now, case.weights, capacity)
        now = _limits(peer.observe(served[step]), ~np.isnan(row), case, capacity)
    return Outcome(limit[case.warm_up :], served[case.warm_up :])


def weights_outcome(case: Case, capacity: float) -> Outcome:
    """Return what weights by class serve without any cap: nothing idles while somebody wants."""
    served = np.stack([_filled_row(row, case.weights, capacity) for row in case.evaluated])
    return Outcome(np.full_like(served, np.inf), served)


def oracle_outcome(case: Case, capacity: float) -> Outcome:
    """Return what limits serve that know each step's demand.

    Served are classes by weight, the smallest demand first: nobody can leave less weighted demand
    unmet, nor with one class more tenants in full.
    """
    demand = np.nan_to_num(case.evaluated)
    order = np.lexsort((demand, np.broadcast_to(-case.weights, demand.shape)), axis=1)
    queued = np.take_along_axis(demand, order, axis=1)
    before = np.cumsum(queued, axis=1) - queued
    taken = np.clip(capacity - before, 0.0, queued)
    served = np.empty_like(demand)
    np.put_along_axis(served, order, taken, axis=1)
    served = np.where(np.isnan(case.evaluated), np.nan, served)
    return Outcome(served, served)


def capped(case: Case, limit: Floats, capacity: float) -> Floats:
    """Return what limits leave of demand in the steps that count, (steps, tenants)."""
    served = np.minimum(case.evaluated, limit)
    # Only limits of tenants that were away may sum to more than there is.
    over = np.flatnonzero(np.nansum(served, axis=1) > capacity * (1 + _ROUNDING))
    for step in over:
        served[step] = _filled_row(served[step], case.weights, capacity)
    return served


def _limits(row: Floats, was_present: np.ndarray, case: Case, capacity: float) -> Floats:
    """Return the limits of a step; who was away in the last one keeps what is recommended."""
    ceiling = np.where(was_present, case.ceiling, 0.0)
    placed = shared_out(np.where(was_present, row, 0.0), ceiling=ceiling, capacity=capacity)
    return np.where(was_present, placed, np.minimum(row, case.ceiling))


def _capped_row(demand: Floats, limit: Floats, weights: Floats, capacity: float) -> Floats:
    served = np.minimum(demand, limit)
    is_over = np.nansum(served) > capacity * (1 + _ROUNDING)
    return _filled_row(served, weights, capacity) if is_over else served


def _filled_row(room: Floats, weights: Floats, capacity: float) -> Floats:
    served = filled(capacity, room=np.nan_to_num(room), weight=weights)
    return np.where(np.isnan(room), np.nan, served)
