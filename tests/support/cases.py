"""Small hosts to hold a backtest on: demand drawn or given, ceilings and classes as asked for."""

from collections.abc import Sequence

import numpy as np

from agent.backtest.protocol import Case, Recorded
from agent.settings import DEFAULT_QOS
from agent.tenant import Floats, Resource

STEP_S = 300.0
GOLD = 1  # position in DEFAULT_QOS


def case(
    demand: Sequence[Sequence[float]] | Floats,
    *,
    ceiling: float | Sequence[float] = 4.0,
    warm_up: int = 1,
    classes: Sequence[int] | None = None,
    step_s: float = STEP_S,
) -> Case:
    """Return a host of these tenants; `classes` are positions in DEFAULT_QOS, all gold if None."""
    wanted = np.asarray(demand, dtype=np.float64)
    tenants = wanted.shape[1]
    return Case(
        seed=0,
        resource=Resource.CPU,
        step_s=step_s,
        warm_up=warm_up,
        tenants=tuple(f"t{place:02}" for place in range(tenants)),
        classes=DEFAULT_QOS,
        class_of=np.array([GOLD] * tenants if classes is None else classes),
        ceiling=np.broadcast_to(np.asarray(ceiling, dtype=np.float64), tenants).copy(),
        demand=wanted,
    )


def drawn(steps: int, tenants: int, *, seed: int = 7) -> Floats:
    """Return bursty demand: mostly little, now and then ten times as much."""
    generator = np.random.default_rng(seed)
    quiet = generator.gamma(2.0, 0.1, (steps, tenants))
    return np.minimum(np.where(generator.random(quiet.shape) < 0.1, 10 * quiet, quiet), 4.0)


def recorded(demand: Floats, *, step_s: float = STEP_S, ceiling: float = 4.0) -> Recorded:
    """Return a trace of this demand."""
    tenants = demand.shape[1]
    names = tuple(f"t{place:03}" for place in range(tenants))
    return Recorded(Resource.CPU, step_s, names, demand, np.full(tenants, ceiling))
