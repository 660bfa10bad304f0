"""Who shares a host, which steps count, how much there is: fixed, so that figures compare.  Pure.

Nothing here knows of policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.tenant import Floats, Ints, QosClass, Resource

FACTORS = (0.8, 0.9, 1.0, 1.1, 1.4)
CLASS_SHARES = {"platinum": 0.2, "gold": 0.3, "silver": 0.5}
_ONE_CLASS = "gold"
_DAY_S = 86400.0
_WARM_UP_S = 3 * _DAY_S
_MANY, _FEW = 100, 25  # tenants on a host: usually, and of archives that have fewer than that
_FEWEST_STEPS = 2


class ProtocolError(Exception):
    """A trace cannot be replayed by the protocol; the message says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """One host of a trace: columns (tenants,) and demand (steps, tenants), NaN of the absent."""

    seed: int
    resource: Resource
    step_s: float
    warm_up: int  # steps before those that count
    tenants: tuple[str, ...]
    classes: tuple[QosClass, ...]
    class_of: Ints  # position in `classes`
    ceiling: Floats  # finite
    demand: Floats

    @property
    def evaluated(self) -> Floats:
        """Return the demand in the steps that count."""
        return self.demand[self.warm_up :]

    @property
    def peak(self) -> float:
        """Return the most that all wanted together in a step that counts."""
        return float(np.nansum(self.evaluated, axis=1).max())

    @property
    def weights(self) -> Floats:
        """Return what each tenant's class counts in a shortage."""
        return np.array([qos.weight for qos in self.classes])[self.class_of]

    def only(self, positions: Ints) -> "Case":
        """Return the host with some of its tenants."""
        return replace(
            self,
            tenants=tuple(self.tenants[place] for place in positions),
            class_of=self.class_of[positions],
            ceiling=self.ceiling[positions],
            demand=self.demand[:, positions],
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the protocol needs of a trace; columns in name order."""

    resource: Resource
    step_s: float
    tenants: tuple[str, ...]
    demand: Floats  # (steps, tenants)
    ceiling: Floats  # (tenants,), inf where there is none

    @property
    def warm_up(self) -> int:
        """Return how many steps do not count: 3 days, or half of less than 6; at least 1."""
        steps = len(self.demand)
        if steps * self.step_s >= 2 * _WARM_UP_S:
            return max(round(_WARM_UP_S / self.step_s), 1)
        return steps // 2


def usual_tenants(there_are: int) -> int:
    """Return how many tenants share a host where nobody says otherwise."""
    return _MANY if there_are >= _MANY else min(_FEW, there_are)


def case_of(
    recorded: Recorded,
    seed: int,
    count: int,
    *,
    classes: Sequence[QosClass],
    is_mixed: bool = False,
) -> Case:
    """Return the host of one seed: `count` tenants at random, without replacement, by name.

    All are gold, or (`is_mixed`) 20 % platinum, 30 % gold and 50 % silver, at random too; `classes`
    say what these buy.  Who has no ceiling of its own could have the whole host at its busiest.

    Raises:
        ProtocolError: There are not so many tenants, or nobody wants anything when it counts.

    """
    there_are = len(recorded.tenants)
    if not 1 <= count <= there_are:
        raise ProtocolError(f"a host of {count} tenants, and the trace has {there_are}")
    if len(recorded.demand) < 2 * _FEWEST_STEPS:
        raise ProtocolError(f"{len(recorded.demand)} steps are too few to warm up and to count")
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(there_are, count, replace=False))
    shares = CLASS_SHARES if is_mixed else {_ONE_CLASS: 1.0}
    bought = tuple(qos for qos in classes if qos.name in shares)
    order = generator.permutation(count)
    case = Case(
        seed=seed,
        resource=recorded.resource,
        step_s=recorded.step_s,
        warm_up=recorded.warm_up,
        tenants=tuple(recorded.tenants[place] for place in chosen),
        classes=bought,
        class_of=_in_shares([shares[qos.name] for qos in bought], count)[order],
        ceiling=recorded.ceiling[chosen],
        demand=recorded.demand[:, chosen],
    )
    if not case.peak > 0:
        raise ProtocolError(f"nobody on host {seed} wants anything after the warm-up")
    return replace(case, ceiling=np.where(np.isinf(case.ceiling), case.peak, case.ceiling))


def _in_shares(shares: Sequence[float], count: int) -> Ints:
    """Return as many places of each class as its share says, class by class."""
    ends = np.round(np.cumsum(shares) * count)
    return np.asarray(np.searchsorted(ends, np.arange(count), side="right"), dtype=np.int64)
