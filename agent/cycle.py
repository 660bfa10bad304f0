"""One control cycle's decision: samples and profiles in, allocations and targets out.  Pure.

The daemon, the tests and every simulation run this very code; time enters as an argument.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.allocation import Allocation, Claims, Mode, allocate
from agent.controls import UNCOUNTED, control_of
from agent.demand import Demand, cpu_demand, memory_demand, rate_demand, reached, waited
from agent.emergency import EmergencySettings, Grants, host_need
from agent.entitled import Entitled
from agent.holds import (
    first_known,
    least_of,
    left_in_force,
    of_the_same,
    own_limit,
    standing_while_learning,
    stuck_bytes,
    unyielding_bytes,
)
from agent.pins import Pins
from agent.plan import Pace, Standing, enforceable, stepped
from agent.profiles import ResourceProfile
from agent.tenant import Bools, Floats, Ints, Kind, Resource, Roster, carried_over
from agent.tokens import Ledger, credit_of, settled
from agent.usage import Usage, is_queued, measured, rearranged, usage_between
from enforce.columns import AnyControl, HostSample, Outcomes
from forecast.profile import Profile


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a decision depends on beside what is measured; capacities in base units."""

    machine: Mapping[Resource, float]  # what the machine has: a limit of this is none
    total: Mapping[Resource, float]  # what of it is tidegate's to divide
    capacity: Mapping[Resource, float]  # allocatable: less the system reserve
    modes: Mapping[Resource, Mode]
    emergency: EmergencySettings
    pace: Pace
    learning_s: float
    memory_margin_bytes: float
    uncounted: Collection[Kind] = UNCOUNTED

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Return what is divided here."""
        return tuple(self.capacity)

    @property
    def foreseen(self) -> tuple[Resource, ...]:
        """Return what of it is forecast, in the order of the forecaster's series."""
        return tuple(r for r in self.capacity if r.device or r.kind not in self.uncounted)


@dataclass(frozen=True, slots=True)
class CoreState:
    """What one cycle leaves to the next; shape (tenants,) throughout."""

    sample: HostSample | None
    ledgers: Mapping[Resource, Ledger]
    grants: Mapping[Resource, Grants]
    # Limits found at first sight and what learning has raised them to; NaN before, inf is none.
    adopted: Mapping[Resource, Floats]
    learning_left_s: Floats
    own: Mapping[Resource, Floats]  # what was last left in force, at most; NaN is unknown

    @classmethod
    def fresh(cls, tenants: int, policy: Policy) -> "CoreState":
        """Return the state of an agent that has seen nothing yet."""
        return cls(
            sample=None,
            ledgers={r: Ledger.opened(tenants) for r in policy.resources},
            grants={r: Grants.none(tenants) for r in policy.resources},
            adopted={r: np.full(tenants, np.nan) for r in policy.resources},
            learning_left_s=np.full(tenants, policy.learning_s),
            own={r: np.full(tenants, np.nan) for r in policy.resources},
        )

    def rearranged(self, positions: Ints, policy: Policy) -> "CoreState":
        """Return the state in the order of a new roster, for the resources of a new policy.

        Newcomers start learning; what is divided from now on starts with nothing.
        """
        fresh = CoreState.fresh(len(positions), policy)
        kept = [resource for resource in policy.resources if resource in self.ledgers]

        def moved(columns: Mapping[Resource, Floats], missing: float) -> dict[Resource, Floats]:
            return {r: carried_over(columns[r], positions, missing) for r in kept}

        return CoreState(
            sample=None if self.sample is None else rearranged(self.sample, positions),
            ledgers={**fresh.ledgers, **{r: self.ledgers[r].rearranged(positions) for r in kept}},
            grants={**fresh.grants, **{r: self.grants[r].rearranged(positions) for r in kept}},
            adopted={**fresh.adopted, **moved(self.adopted, np.nan)},
            learning_left_s=carried_over(self.learning_left_s, positions, policy.learning_s),
            own={**fresh.own, **moved(self.own, np.nan)},
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen since the last cycle."""

    sample: HostSample
    usage: Usage
    demands: Mapping[Resource, Demand]
    entitled: Mapping[Resource, Entitled]
    limits: Mapping[Resource, Floats]  # the kernel's; inf is none, as of all that it does not limit
    in_force: Mapping[Resource, Floats]  # finite: none counts as what the machine has, absent as 0
    pins: Pins
    is_foreseen: bool = False  # the forecast at hand has already seen it


@dataclass(frozen=True, slots=True)
class ResourceDecision:
    """One resource's part of a decision; shape (tenants,)."""

    profile: ResourceProfile
    allocation: Allocation
    bank: Floats  # the most tokens that can be banked
    in_force: Floats  # finite: no limit counts as what the machine has
    target: Floats  # what to aim for in this cycle, finite
    own: Floats  # what we left in force before, at most; NaN is unknown
    least: Floats  # what of it must be in force at once
    is_movable: Bools  # others' limits are nobody's to write, or cannot be read
    allowed: float  # what limits in force may sum to, of those that are movable
    host_need: str  # why the emergency pool is withheld, "" where it is not
    unpinned: Floats | None = None  # what limits would be without pins; None where none holds


@dataclass(frozen=True, slots=True)
class Decision:
    """What one cycle decided, and the state for the next."""

    state: CoreState
    is_learning: Bools
    resources: Mapping[Resource, ResourceDecision]


def observed(
    state: CoreState, sample: HostSample, *, roster: Roster, policy: Policy
) -> Observation:
    """Return usage since the last cycle and the demand behind it."""
    usage, capacity = usage_between(state.sample or sample, sample), policy.capacity
    limits = {r: _limit_in(sample, r) for r in policy.resources}
    entitled = {
        r: Entitled.of(roster.terms[r], usage.is_present, total=policy.total[r], capacity=most)
        for r, most in capacity.items()
    }
    return Observation(
        sample,
        usage,
        {r: _demanded(r, usage, limits[r], entitled[r], capacity[r]) for r in policy.resources},
        entitled,
        limits,
        {r: _finite(limit, usage.is_present, policy.machine[r]) for r, limit in limits.items()},
        Pins.none(len(roster)),
    )


def _demanded(
    resource: Resource, usage: Usage, limit: Floats, entitled: Entitled, capacity: float
) -> Demand:
    ceiling, fair = entitled.ceiling, entitled.fair
    if resource == Resource.CPU:
        return cpu_demand(usage, ceiling=ceiling, fair=fair, capacity=capacity)
    if resource == Resource.MEMORY:
        return memory_demand(usage, ceiling=ceiling, high=limit)
    used, queued = measured(resource, usage), is_queued(resource, usage)
    least = reached(resource.kind, limit, elapsed_s=usage.elapsed_s)
    demand = rate_demand(
        used, limit=least, ceiling=ceiling, fair=fair, capacity=capacity, is_queued=queued
    )
    if resource.kind.group == "disk":
        demand = waited(demand, used, usage.io_stalled_fraction, limit=limit, ceiling=ceiling)
    return demand


def decide(
    state: CoreState, seen: Observation, profile: Profile, *, roster: Roster, policy: Policy
) -> Decision:
    """Settle the last cycle, allocate every resource, and say what to aim for now."""
    state, foreseen = _advanced(state, seen, roster, policy), policy.foreseen
    resources = {
        resource: _decided_of(
            resource,
            state,
            seen,
            _profile_of(resource, profile, foreseen, len(roster)),
            roster,
            policy,
        )
        for resource in policy.resources
    }
    return Decision(
        state=replace(
            state,
            grants={r: d.allocation.grants for r, d in resources.items()},
            adopted={r: _raised(state, r, d.allocation.limit) for r, d in resources.items()},
            own={r: d.own for r, d in resources.items()},
        ),
        is_learning=state.learning_left_s > 0,
        resources=resources,
    )


def after_writes(
    state: CoreState, outcomes: Iterable[Outcomes], machine: Mapping[Resource, float]
) -> CoreState:
    """Return the state once a cycle's changes were written: what it left in force.

    That is not what it aimed for: a raise that does not fit is cut, or left out.
    """
    of_control: dict[AnyControl, list[Outcomes]] = {}
    for one in outcomes:
        of_control.setdefault(one.control, []).append(one)
    own = {
        resource: left_in_force(column, of_control.get(control, ()), machine[resource])
        for resource, column in state.own.items()
        if (control := control_of(resource)) is not None
    }
    return replace(state, own={**state.own, **own})


def _finite(limit: Floats, is_present: Bools, machine: float) -> Floats:
    return np.where(is_present, np.fmin(limit, machine), 0.0)


def _limit_in(sample: HostSample, resource: Resource) -> Floats:
    control = control_of(resource)
    if control is None:
        return np.full(len(sample.cgroup_id), np.inf)
    return sample.limit(control)


def _profile_of(
    resource: Resource, profile: Profile, foreseen: Sequence[Resource], tenants: int
) -> ResourceProfile:
    if resource not in foreseen:
        return ResourceProfile.unknown(profile.levels, tenants)
    return ResourceProfile.of(profile, foreseen.index(resource), tenants)


def _advanced(state: CoreState, seen: Observation, roster: Roster, policy: Policy) -> CoreState:
    """Let the time since the last cycle pass: settle ledgers, age grants and learning."""
    elapsed_s = max(seen.usage.elapsed_s, 0.0)
    return CoreState(
        sample=seen.sample,
        ledgers={r: _settled(r, state, seen, roster) for r in policy.resources},
        grants={r: g.elapsed(elapsed_s, policy.emergency) for r, g in state.grants.items()},
        adopted={r: first_known(adopted, seen.limits[r]) for r, adopted in state.adopted.items()},
        learning_left_s=np.maximum(state.learning_left_s - elapsed_s, 0.0),
        own=of_the_same(state.own, state.sample, seen.sample),
    )


def _settled(resource: Resource, state: CoreState, seen: Observation, roster: Roster) -> Ledger:
    """Book what was used of a resource that is spent since the last cycle."""
    ledger, rate = state.ledgers[resource], seen.entitled[resource].rate
    if not resource.is_spent:
        return ledger
    return settled(
        ledger,
        income=rate,
        usage=measured(resource, seen.usage),
        burst=roster.terms[resource].burst_s * rate,
        elapsed_s=seen.usage.elapsed_of(resource),
    )


def _decided_of(
    resource: Resource,
    state: CoreState,
    seen: Observation,
    profile: ResourceProfile,
    roster: Roster,
    policy: Policy,
) -> ResourceDecision:
    """Return one resource's part, and where a limit is pinned what it would be if none were."""
    decided = _decided(resource, state, seen, profile, roster, policy)
    if not seen.pins.holds(control_of(resource)):
        return decided
    free = replace(seen, pins=Pins.none(len(roster)))
    without = _decided(resource, state, free, profile, roster, policy)
    return replace(decided, unpinned=without.allocation.limit)


def _decided(
    resource: Resource,
    state: CoreState,
    seen: Observation,
    profile: ResourceProfile,
    roster: Roster,
    policy: Policy,
) -> ResourceDecision:
    capacity, machine = policy.capacity[resource], policy.machine[resource]
    host_needs = host_need(resource.kind, seen.sample.vitals, policy.emergency)
    claims, burst = _claims(resource, state, seen, profile, roster, policy)
    allocation = allocate(
        claims,
        capacity=capacity,
        mode=policy.modes[resource],
        emergency=policy.emergency,
        grants=state.grants[resource],
        is_pool_withheld=bool(host_needs),
    )
    before, control = seen.in_force[resource], control_of(resource)
    floor, stuck = allocation.guarantee.floor, None
    if resource == Resource.MEMORY:
        stuck = _stuck(seen, policy)
    least = least_of(floor, stuck, before, margin_bytes=policy.memory_margin_bytes)
    is_known = ~np.isnan(seen.limits[resource])
    # Whose limit can be read and is ours to write: of what nothing limits, nobody's.
    is_movable = seen.usage.is_present & is_known & ~roster.is_observed_only & (control is not None)
    is_movable &= ~seen.pins.stands(control, before, least=least)
    are_all = bool(is_movable.all())
    # The others keep what stands there: of what is divided they take what was decided for them.
    kept = 0.0 if are_all else float(allocation.limit[~is_movable].sum())
    allowed = capacity * allocation.elasticity - kept
    if policy.modes[resource] is Mode.ELASTIC:
        # Elastic limits follow demand: where some stay in the dead-band, others need not wait.
        allowed /= 1.0 - policy.pace.dead_band_fraction
    own = own_limit(state.own[resource], before, machine)
    if control is None:
        own, least = state.own[resource], np.zeros(len(roster))
        return ResourceDecision(
            profile, allocation, burst, before, before, own, least, is_movable, allowed, host_needs
        )

    def moved(column: Floats) -> Floats:
        return column if are_all else np.where(is_movable, column, 0.0)

    usage = measured(resource, seen.usage)
    least = moved(least)
    target = stepped(
        moved(enforceable(control, allocation.limit)),
        Standing(
            in_force=moved(before),
            guaranteed=allocation.guarantee.amount,
            ceiling=claims.ceiling,
            in_use=np.where(np.isfinite(usage), usage, before),
            is_hit=claims.is_hit,
            least=least,
            own=moved(own),
        ),
        free=allowed - float(moved(before).sum()),
        elapsed_s=seen.usage.elapsed_s,
        pace=policy.pace,
    )
    target = target if are_all else np.where(is_movable, target, before)
    own = np.where(is_known, own, state.own[resource])
    return ResourceDecision(
        profile, allocation, burst, before, target, own, least, is_movable, allowed, host_needs
    )


def _claims(
    resource: Resource,
    state: CoreState,
    seen: Observation,
    profile: ResourceProfile,
    roster: Roster,
    policy: Policy,
) -> tuple[Claims, Floats]:
    """Put together what each tenant may ask for, and the most that it may bank."""
    terms, demand = roster.terms[resource], seen.demands[resource]
    entitled = seen.entitled[resource]
    ceiling, fair = entitled.ceiling, entitled.fair
    burst = terms.burst_s * entitled.rate * resource.is_spent
    ledger = state.ledgers[resource]
    is_learning = (state.learning_left_s > 0) & np.isfinite(state.adopted[resource])
    most = np.maximum(fair, demand.value) if resource == Resource.MEMORY else fair
    relief = np.where(demand.is_censored, most, 0.0)
    pinned, hold = standing_while_learning(
        state.adopted[resource], is_learning, floor=terms.floor, relief=relief, ceiling=ceiling
    )
    control = control_of(resource)
    if seen.pins.has(control):
        pin = seen.pins.limits(control, least=terms.floor, most=ceiling)
        pinned, hold = (np.where(np.isnan(pin), column, pin) for column in (pinned, hold))
    least = enforceable(control, np.zeros(len(roster)))
    if resource == Resource.MEMORY:
        high, margin_bytes = seen.sample.in_force.memory_high_bytes, policy.memory_margin_bytes
        stuck = _stuck(seen, policy)
        stuck = np.maximum(stuck, unyielding_bytes(seen.usage, high, margin_bytes=margin_bytes))
        least = np.maximum(least, np.minimum(stuck, policy.total[resource]))
        # Safety rule 4 outranks the ceiling: below this a tenant would only crawl.
        pinned = np.where(seen.usage.is_present, np.maximum(pinned, least), 0.0)
    expected, grid = profile.without_gaps(terms, ceiling)
    claims = Claims(
        terms=terms,
        ceiling=pinned,
        expected=expected,
        levels=profile.levels,
        grid=grid,
        demand=demand.value,
        is_hit=demand.is_censored,
        is_enforced=~roster.is_observed_only,
        credit=credit_of(ledger.balance, burst=burst, expected=expected),
        least=np.minimum(least, pinned),
        hold=np.minimum(hold, pinned),
        is_foreseen=seen.is_foreseen,
        is_spent=resource.is_spent,
        in_use=measured(resource, seen.usage),
    )
    return claims, burst * ledger.allowance


def _stuck(seen: Observation, policy: Policy) -> Floats:
    """Return what memory cannot be taken back, with its margin."""
    margin_bytes, machine_bytes = policy.memory_margin_bytes, policy.machine[Resource.MEMORY]
    return stuck_bytes(seen.usage, margin_bytes=margin_bytes, machine_bytes=machine_bytes)


def _raised(state: CoreState, resource: Resource, limit: Floats) -> Floats:
    """Return what is adopted from now on: a raise stays, or it would be asked for over and over."""
    adopted = state.adopted[resource]
    is_learning = (state.learning_left_s > 0) & np.isfinite(adopted)
    if not is_learning.any():
        return adopted
    return np.where(is_learning, np.maximum(adopted, limit), adopted)
