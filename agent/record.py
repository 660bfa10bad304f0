"""What one tick saw, decided and did: the columns that status, explain and the audit show.  Pure.

Every array has shape (tenants,) where nothing else is said, in roster order and base units; NaN is
unknowable.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.agenda import Agenda
from agent.pins import Pins
from agent.tenant import Bools, Floats, Ints, Resource, Roster
from agent.tokens import allowance, forfeited, priority
from agent.usage import Usage
from enforce.columns import AnyControl, Changes, HostSample, Outcomes
from forecast.profile import Numbers, shown_bound
from forecast.quality import Quality


@dataclass(frozen=True, slots=True)
class ResourceTick:
    """One resource in one tick: the chain from measurement to limit."""

    capacity: float  # allocatable: the host's, less the system reserve
    emergency_pool: float  # kept for emergencies, lent meanwhile where it is spent
    pressure: float  # 0 to 1: how likely expected total demand is to exceed capacity
    elasticity: float  # sum of limits decided / capacity, at least 1: a report, not a bound
    host_need: str  # why the emergency pool is kept for the host itself; "" where it is not
    marginal_need: float  # lambda of the equal-marginal-need placement
    usage: Floats  # measured over the last tick
    demand: Floats  # usage corrected for throttling
    is_censored: Bools  # the kernel held this tenant at its limit
    expected: Floats  # forecast of the next step
    # (horizons, bounds, tenants): forecast bounds of the maximum within each.  The forecast's own,
    # since a copy of all would be a third of a record: what is shown is at most `total`.
    maximum: Numbers
    source: NDArray[np.uint8]  # forecast.profile.Source
    risk: Floats  # share of expected demand above the floor not pre-allocated
    fair: Floats  # weighted share of the capacity: bounds what is guaranteed above the floor
    most_forfeited: float  # part of what goes beyond a floor that the deepest debt takes back
    guaranteed: Floats
    emergency: Floats
    grant_left_s: Floats  # of the emergency grant
    cooldown_left_s: Floats  # in which an ended grant is taken back, and no other is made
    preempted_by: Ints  # position of who of a better rank ended the grant in this tick, or -1
    limit: Floats  # decided; inf is none
    in_force: Floats  # read from the kernel before this tick's writes; NaN where nothing limits it
    weight: Floats  # kernel weight decided (cpu); NaN for all else
    balance: Floats  # tokens; NaN for resources that are held, not spent
    credit: Floats  # what the balance is worth, from -1 to 1; NaN likewise
    left_fraction: Floats  # of the tokens that came in of late; NaN likewise
    burst: Floats  # most tokens that can be banked
    quality: Quality | None = None  # of the forecast; None is that nothing has kept score
    total: float = float("inf")  # what tidegate divides of it
    unpinned: Floats | None = None  # what limits would be without pins; None where none holds

    # What follows from other columns is worked out for who asks: kept, it would be a third more.
    @property
    def opportunistic(self) -> Floats:
        """Return what the limit has beyond what was guaranteed and granted."""
        return self.limit - self.guaranteed - self.emergency

    @property
    def forfeited(self) -> Floats:
        """Return the part of what goes beyond the floor that a debt takes back, 0 to 1."""
        return forfeited(self.most_forfeited, self.credit)

    @property
    def priority(self) -> Floats:
        """Return by what the credit multiplies the weight at this pressure; NaN likewise."""
        return priority(self.credit * self.pressure)

    @property
    def allowance(self) -> Floats:
        """Return how many times its class's burst each may bank: 1 to 2; NaN likewise."""
        return allowance(self.left_fraction)

    @property
    def upper(self) -> Floats:
        """Return the bound of the maximum over the longest horizon at 95 %, shape (tenants,)."""
        return np.minimum(shown_bound(self.maximum), self.total)

    def bounds_of(self, tenant: int) -> Floats:
        """Return the bounds of one tenant's maximum, (horizons, bounds)."""
        return np.minimum(self.maximum[..., tenant].astype(np.float64), self.total)


@dataclass(frozen=True, slots=True)
class Totals:
    """Writes since the agent's start, by how they went."""

    written: int = 0
    held_back: int = 0  # safety rule 4 put another value in place
    refused: int = 0
    would_have: int = 0  # left out, since the host or the tenant is only observed


@dataclass(frozen=True, slots=True)
class IndicatorTick:
    """What applications' metrics make of the forecast; shape (resources, metrics) or (metrics,).

    A metric is one of a tenant's; NaN where it is not known or says nothing.
    """

    resources: tuple[Resource, ...]
    tenant: Ints  # (metrics,): position in the roster
    names: tuple[str, ...]  # (metrics,)
    value: Floats  # (metrics,), at the end of the last step
    shift: Floats  # of the median of the next step
    gain: Floats  # part by which the loss was lower with it, on steps that it had not seen
    lead_steps: Ints
    scored_steps: Ints  # on how many steps it was judged
    is_used: Bools
    is_chosen: Bools  # of those that are used, the one that corrects
    is_paused: Bools  # all of the tenant's have lost too much together: none corrects for now


@dataclass(frozen=True, slots=True)
class Drift:
    """A value of a control that somebody else changed; inf is none."""

    control: AnyControl
    tenant: int  # position in the roster
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What somebody else took of what divides uplinks, or changed, of late; it was put back."""

    where: str  # an uplink and a direction; "" is all of them
    what: str
    how: str
    tenant: str  # whom it holds; "" is all tenants
    times: int
    last_s: float  # CLOCK_MONOTONIC

    @property
    def words(self) -> str:
        """Return what was lost, and how."""
        times = "" if self.times == 1 else f" {self.times} times"
        return f"{self.what} was {self.how} by somebody else{times}, and is as it was"


@dataclass(frozen=True, slots=True)
class DriftTick:
    """Pins that hold in a tick, and what somebody else was seen to have changed."""

    pins: Pins
    changes: tuple[Drift, ...] = ()
    total: int = 0  # changes and losses since the agent's start
    losses: tuple[Loss, ...] = ()  # of late


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One whole tick."""

    number: int
    taken_at_s: float
    late_ticks: int
    is_observing: bool
    is_learning: bool
    roster: Roster
    sample: HostSample
    resources: Mapping[Resource, ResourceTick]
    usage: Usage  # of all that is counted, divided here or not
    throttled_fraction: Floats  # share of cpu periods throttled in the last tick
    changes: tuple[Changes, ...]
    outcomes: tuple[Outcomes, ...]
    forecaster: str  # "live", "starting", "late", "dead": the child's state in words
    problems: tuple[str, ...]  # configured but not enforceable, and other lasting faults
    totals: Totals = Totals()
    agenda: Agenda | None = None  # known events; None where there are none
    forecast_age_s: float = float("nan")  # since the last step that the forecast knows
    unwritten: tuple[Changes, ...] = ()  # would be written for tenants that are only observed
    indicators: IndicatorTick | None = None  # None where nobody reports a metric
    drift: DriftTick | None = None  # None where nobody looks


def positions_before(before: TickRecord | None, after: TickRecord) -> Ints:
    """Return where each of today's tenants was in the record before, -1 where it was not."""
    if before is None:
        return np.full(len(after.roster), -1)
    if before.roster is after.roster:
        return np.arange(len(after.roster))
    return after.roster.positions_in(before.roster)
