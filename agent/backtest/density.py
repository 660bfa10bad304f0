"""How many tenants fit on a host of fixed capacity while each class is served as it was promised.

Tenants are added in an order drawn by seed, the same for all policies.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.backtest.contest import OURS, PEER_KINDS, REFERENCES, Terms
from agent.backtest.figures import SLACK
from agent.backtest.ours import Tell, all_forecasts, our_steps
from agent.backtest.protocol import CLASS_SHARES, Case
from agent.backtest.rivals import peer_outcome, recommended
from agent.backtest.score import misses, steps_by_class
from agent.tenant import Bools, Floats

Trial = Callable[[int], bool]

# Of each class's steps, pooled over its tenants, so many are served in full.
SLO: Mapping[str, float] = {"platinum": 0.999, "gold": 0.995, "silver": 0.99}
CAPACITY_FACTOR = 1.1  # times the peak of the seed's host in the contest
MOST_TIMES = 2  # as many tenants as that host has are tried at most
_BLOCK = 10  # every ten tenants have the shares of the protocol
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Queue:
    """The tenants of a trace in the order in which they are added, and the capacity for them."""

    case: Case
    capacity: float

    def first(self, count: int) -> Case:
        """Return the host with the first tenants only."""
        return self.case.only(np.arange(count))


@dataclass(frozen=True, slots=True)
class SeedDensity:
    """How many tenants fit under each policy, of at most `most`."""

    seed: int
    capacity: float
    most: int
    tenants: Mapping[str, int]


def queue_of(whole: Case, *, capacity: float, most: int) -> Queue:
    """Return the queue of one seed from a case that has all tenants of a trace.

    Any ten tenants that follow one another from a multiple of ten have the classes in the shares
    of the protocol, in random order, so that every beginning of the queue nearly has them.
    """
    generator = np.random.default_rng(whole.seed)
    order = generator.permutation(len(whole.tenants))[:most]
    counts = [round(_BLOCK * CLASS_SHARES[qos.name]) for qos in whole.classes]
    block = np.repeat(np.arange(len(counts)), counts)
    blocks = [generator.permutation(block) for _ in range(-(-len(order) // _BLOCK))]
    case = replace(whole.only(order), class_of=np.concatenate(blocks)[: len(order)])
    return Queue(case, capacity)


def density_of(queue: Queue, terms: Terms, tell: Tell) -> SeedDensity:
    """Return how many tenants fit under each policy.

    Found by bisection, as if what does not fit with fewer tenants never did with more.

    Raises:
        ForecasterError: The forecaster is gone, or does not answer.

    """
    most = len(queue.case.tenants)
    found = {
        name: _most_that_fit(_trial(name, queue, terms, tell), most) for name in terms.policies
    }
    return SeedDensity(queue.case.seed, queue.capacity, most, found)


def density_steps_told(queue: Queue, terms: Terms) -> int:
    """Return about how many steps `density_of` tells of, for a progress bar."""
    if OURS not in terms.policies:
        return 0
    trials = math.ceil(math.log2(len(queue.case.tenants) + 1))
    return (trials + terms.are_fitted) * len(queue.case.demand)


class Promises:
    """Counts what each class missed, until too much for its promise."""

    def __init__(self, case: Case) -> None:
        self._class_of, self._slack = case.class_of, SLACK[case.resource]
        self._classes = len(case.classes)
        steps = self._by_class(~np.isnan(case.evaluated))
        slo = np.array([SLO[qos.name] for qos in case.classes])
        self._may_miss = (1.0 - slo) * steps + _ROUNDING
        self._missed = np.zeros(self._classes)

    def are_kept(self, demand: Floats, served: Floats) -> bool:
        """Count more steps (steps, tenants); say whether no promise is broken so far."""
        self._missed += self._by_class(misses(demand, served, self._slack))
        return bool((self._missed <= self._may_miss).all())

    def _by_class(self, is_counted: Bools) -> Floats:
        return steps_by_class(is_counted, self._class_of, self._classes)


def _most_that_fit(fits: Trial, most: int) -> int:
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _trial(name: str, queue: Queue, terms: Terms, tell: Tell) -> Trial:
    """Return what tells whether so many tenants fit under a policy."""
    if name == OURS:
        return _our_trial(queue, terms, tell)
    rows = recommended(queue.case, PEER_KINDS[name]) if name in PEER_KINDS else None

    def fits(count: int) -> bool:
        case = queue.first(count)
        if rows is None:
            outcome = REFERENCES[name](case, queue.capacity)
        else:
            outcome = peer_outcome(case, rows[:, :count], queue.capacity)
        return Promises(case).are_kept(case.evaluated, outcome.served)

    return fits


def _our_trial(queue: Queue, terms: Terms, tell: Tell) -> Trial:
    forecasts = all_forecasts(queue.case, tell) if terms.are_fitted else None

    def fits(count: int) -> bool:
        case = queue.first(count)
        known = forecasts.only(np.arange(count)) if forecasts else None
        promises, steps_left = Promises(case), len(case.demand)
        for step, passed in enumerate(our_steps(case, queue.capacity, terms.mode, known)):
            tell(1)
            steps_left -= 1
            demand, served = case.demand[step][None], passed.served[None]
            if step >= case.warm_up and not promises.are_kept(demand, served):
                tell(steps_left)
                return False
        return True

    return fits
