"""One control cycle's decision: samples and profiles in, allocations and targets out.  Pure.

The daemon, the tests and every simulation run this very code; time enters as an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.allocation import Allocation, Claims, Mode, allocate
from agent.demand import Demand, cpu_demand, memory_demand
from agent.emergency import EmergencySettings, Grants
from agent.holds import first_known, least_of, of_the_same, own_limit, stuck_bytes, unyielding_bytes
from agent.plan import Pace, Standing, enforceable, stepped
from agent.pools import fair_share
from agent.tenant import Bools, Floats, Ints, Resource, Roster, Terms, carried_over
from agent.tokens import Ledger, credit_of, settled
from agent.usage import Usage, rearranged, usage_between
from enforce.columns import Control, HostSample
from forecast.profile import Profile

LIMIT_CONTROL = {Resource.CPU: Control.CPU_MAX, Resource.MEMORY: Control.MEMORY_HIGH}


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


@dataclass(frozen=True, slots=True)
class CoreState:
    """What one cycle leaves to the next; shape (tenants,) throughout."""

    sample: HostSample | None
    ledgers: Mapping[Resource, Ledger]
    grants: Mapping[Resource, Grants]
    guaranteed: Mapping[Resource, Floats]  # in the last cycle: what usage is settled against
    # Limits found at first sight and what learning has raised them to; NaN before, inf is none.
    adopted: Mapping[Resource, Floats]
    learning_left_s: Floats
    own: Mapping[Resource, Floats]  # what the last cycle left in force at most; NaN is unknown

    @classmethod
    def fresh(cls, tenants: int, policy: Policy) -> "CoreState":
        """Return the state of an agent that has seen nothing yet."""
        return cls(
            sample=None,
            ledgers={r: Ledger.opened(tenants) for r in Resource},
            grants={r: Grants.none(tenants) for r in Resource},
            guaranteed={r: np.zeros(tenants) for r in Resource},
            adopted={r: np.full(tenants, np.nan) for r in Resource},
            learning_left_s=np.full(tenants, policy.learning_s),
            own={r: np.full(tenants, np.nan) for r in Resource},
        )

    def rearranged(self, positions: Ints, policy: Policy) -> "CoreState":
        """Return the state in the order of a new roster; newcomers start learning."""

        def moved(columns: Mapping[Resource, Floats], missing: float) -> dict[Resource, Floats]:
            return {r: carried_over(column, positions, missing) for r, column in columns.items()}

        return CoreState(
            sample=None if self.sample is None else rearranged(self.sample, positions),
            ledgers={r: ledger.rearranged(positions) for r, ledger in self.ledgers.items()},
            grants={r: grants.rearranged(positions) for r, grants in self.grants.items()},
            guaranteed=moved(self.guaranteed, 0.0),
            adopted=moved(self.adopted, np.nan),
            learning_left_s=carried_over(self.learning_left_s, positions, policy.learning_s),
            own=moved(self.own, np.nan),
        )


@dataclass(frozen=True, slots=True)
class ResourceProfile:
    """One resource's slice of a forecast profile; columns of shape (tenants,)."""

    levels: Floats
    grid: Floats  # (levels, tenants)
    expected: Floats
    upper: Floats
    source: Ints

    @classmethod
    def of(cls, profile: Profile, resource: Resource) -> "ResourceProfile":
        """Cut one resource out of a profile whose series are ordered resource by resource."""
        place = list(Resource).index(resource)
        series = profile.expected.shape[-1] // len(Resource)
        cut = slice(place * series, (place + 1) * series)
        return cls(
            profile.levels,
            profile.grid[:, cut],
            profile.expected[cut],
            profile.upper[cut],
            profile.source[cut].astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen since the last cycle."""

    sample: HostSample
    usage: Usage
    demands: Mapping[Resource, Demand]
    is_foreseen: bool = False  # the forecast at hand has already seen it


@dataclass(frozen=True, slots=True)
class ResourceDecision:
    """One resource's part of a decision; shape (tenants,)."""

    profile: ResourceProfile
    allocation: Allocation
    burst: Floats
    in_force: Floats  # finite: no limit counts as what the machine has
    target: Floats  # what to aim for in this cycle, finite
    own: Floats  # what that leaves in force at most; NaN is unknown
    least: Floats  # what of it must be in force at once
    allowed: float  # what limits in force may sum to


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
    usage = usage_between(state.sample or sample, sample)
    cpu, memory = Resource.CPU, Resource.MEMORY
    ceiling, fair = _entitled(cpu, roster.terms[cpu], usage, policy)
    demands = {
        cpu: cpu_demand(usage, ceiling=ceiling, fair=fair, capacity=policy.capacity[cpu]),
        memory: memory_demand(
            usage,
            ceiling=_ceiling(roster.terms[memory], usage, policy.total[memory]),
            high=sample.in_force.memory_high_bytes,
        ),
    }
    return Observation(sample, usage, demands)


def decide(
    state: CoreState, seen: Observation, profile: Profile, *, roster: Roster, policy: Policy
) -> Decision:
    """Settle the last cycle, allocate every resource, and say what to aim for now."""
    state = _advanced(state, seen, roster, policy)
    resources = {
        resource: _decided(
            resource, state, seen, ResourceProfile.of(profile, resource), roster, policy
        )
        for resource in Resource
    }
    return Decision(
        state=replace(
            state,
            grants={r: d.allocation.grants for r, d in resources.items()},
            guaranteed={r: d.allocation.guarantee.amount for r, d in resources.items()},
            adopted={r: _raised(state, r, d.allocation.limit) for r, d in resources.items()},
            own={r: d.own for r, d in resources.items()},
        ),
        is_learning=state.learning_left_s > 0,
        resources=resources,
    )


def in_force(resource: Resource, sample: HostSample, machine: float) -> Floats:
    """Return the kernel's limits: none counts as what the machine has, an absent tenant's as 0."""
    limit = sample.in_force.of(LIMIT_CONTROL[resource])
    held = np.where(np.isnan(limit), machine, np.minimum(limit, machine))
    return np.where(sample.cgroup_id == 0, 0.0, held)


def _advanced(state: CoreState, seen: Observation, roster: Roster, policy: Policy) -> CoreState:
    """Let the time since the last cycle pass: settle ledgers, age grants and learning."""
    elapsed_s = max(seen.usage.elapsed_s, 0.0)
    cpu = Resource.CPU
    ceiling, fair = _entitled(cpu, roster.terms[cpu], seen.usage, policy)
    ledger = settled(
        state.ledgers[cpu],
        guaranteed=state.guaranteed[cpu],
        usage=seen.usage.cpu_cores,
        burst=_burst(roster.terms[cpu], ceiling=ceiling, fair=fair),
        elapsed_s=elapsed_s,
    )
    return CoreState(
        sample=seen.sample,
        ledgers={**state.ledgers, cpu: ledger},
        grants={r: g.elapsed(elapsed_s, policy.emergency) for r, g in state.grants.items()},
        guaranteed=state.guaranteed,
        adopted={
            r: first_known(adopted, seen.sample.in_force.of(LIMIT_CONTROL[r]))
            for r, adopted in state.adopted.items()
        },
        learning_left_s=np.maximum(state.learning_left_s - elapsed_s, 0.0),
        own={r: of_the_same(own, state.sample, seen.sample) for r, own in state.own.items()},
    )


def _decided(
    resource: Resource,
    state: CoreState,
    seen: Observation,
    profile: ResourceProfile,
    roster: Roster,
    policy: Policy,
) -> ResourceDecision:
    capacity, machine = policy.capacity[resource], policy.machine[resource]
    claims, burst = _claims(resource, state, seen, profile, roster, policy)
    allocation = allocate(
        claims,
        capacity=capacity,
        mode=policy.modes[resource],
        emergency=policy.emergency,
        grants=state.grants[resource],
    )
    control, before = LIMIT_CONTROL[resource], in_force(resource, seen.sample, machine)
    may_move = seen.usage.is_present & ~roster.is_observed_only
    may_move &= ~np.isnan(seen.sample.in_force.of(control))
    allowed = capacity * allocation.elasticity
    if policy.modes[resource] is Mode.ELASTIC:
        # Elastic limits follow demand: where some stay in the dead-band, others need not wait.
        allowed /= 1.0 - policy.pace.dead_band_fraction
    usage = measured(resource, seen.usage)
    floor, stuck = allocation.guarantee.floor, _stuck(resource, seen, policy)
    least = least_of(floor, stuck, before, margin_bytes=policy.memory_margin_bytes)
    least = np.where(may_move, least, 0.0)
    own = own_limit(state.own[resource], before, machine)
    target = stepped(
        np.where(may_move, enforceable(control, allocation.limit), before),
        Standing(
            in_force=before,
            guaranteed=allocation.guarantee.amount,
            ceiling=claims.ceiling,
            in_use=np.where(np.isfinite(usage), usage, before),
            is_hit=claims.is_hit,
            least=least,
            own=own,
        ),
        free=allowed - float(before.sum()),
        elapsed_s=seen.usage.elapsed_s,
        pace=policy.pace,
    )
    is_known = ~np.isnan(seen.sample.in_force.of(control))
    own = np.where(is_known, np.maximum(own, target), state.own[resource])
    return ResourceDecision(profile, allocation, burst, before, target, own, least, allowed)


def _claims(
    resource: Resource,
    state: CoreState,
    seen: Observation,
    profile: ResourceProfile,
    roster: Roster,
    policy: Policy,
) -> tuple[Claims, Floats]:
    """Put together what each tenant may ask for, and its burst."""
    terms, demand = roster.terms[resource], seen.demands[resource]
    ceiling, fair = _entitled(resource, terms, seen.usage, policy)
    burst = _burst(terms, ceiling=ceiling, fair=fair) * resource.is_spent
    pinned, hold = _pinned(state, resource, ceiling, terms, demand, fair)
    least = enforceable(LIMIT_CONTROL[resource], np.zeros(len(roster)))
    if resource is Resource.MEMORY:
        high, margin_bytes = seen.sample.in_force.memory_high_bytes, policy.memory_margin_bytes
        stuck = _stuck(resource, seen, policy)
        stuck = np.maximum(stuck, unyielding_bytes(seen.usage, high, margin_bytes=margin_bytes))
        least = np.maximum(least, np.minimum(stuck, policy.total[resource]))
        # Safety rule 4 outranks the ceiling: below this a tenant would only crawl.
        pinned = np.where(seen.usage.is_present, np.maximum(pinned, least), 0.0)
    expected, grid = _without_gaps(profile, terms, ceiling)
    claims = Claims(
        terms=terms,
        ceiling=pinned,
        expected=expected,
        levels=profile.levels,
        grid=grid,
        demand=demand.value,
        is_hit=demand.is_censored,
        credit=credit_of(state.ledgers[resource].balance, burst=burst, expected=expected),
        least=np.minimum(least, pinned),
        hold=np.minimum(hold, pinned),
        is_foreseen=seen.is_foreseen,
        is_spent=resource.is_spent,
    )
    return claims, burst


def _stuck(resource: Resource, seen: Observation, policy: Policy) -> Floats:
    """Return what of `resource` cannot be taken back, with its margin: of cpu, nothing."""
    if resource is not Resource.MEMORY:
        return np.zeros_like(seen.usage.memory_bytes)
    margin_bytes, machine_bytes = policy.memory_margin_bytes, policy.machine[resource]
    return stuck_bytes(seen.usage, margin_bytes=margin_bytes, machine_bytes=machine_bytes)


def _pinned(
    state: CoreState,
    resource: Resource,
    ceiling: Floats,
    terms: Terms,
    demand: Demand,
    fair: Floats,
) -> tuple[Floats, Floats]:
    """Return ceiling and hold: while learning, both stand at the limit that was adopted.

    No jump at a restart: until there is history a limit neither falls nor rises, but for a
    tenant that is held at it, which may rise to its fair share (of memory also to what it asks
    for: reclaim may be at it without end), and for floors and ceilings.
    """
    is_learning = (state.learning_left_s > 0) & np.isfinite(state.adopted[resource])
    adopted = np.where(is_learning, state.adopted[resource], 0.0)
    most = np.maximum(fair, demand.value) if resource is Resource.MEMORY else fair
    relief = np.where(demand.is_censored, most, 0.0)
    pinned = np.minimum(np.maximum.reduce([adopted, terms.floor, relief]), ceiling)
    return np.where(is_learning, pinned, ceiling), np.minimum(adopted, ceiling)


def _raised(state: CoreState, resource: Resource, limit: Floats) -> Floats:
    """Return what is adopted from now on: a raise stays, or it would be asked for over and over."""
    adopted = state.adopted[resource]
    is_learning = (state.learning_left_s > 0) & np.isfinite(adopted)
    return np.where(is_learning, np.maximum(adopted, limit), adopted)


def _without_gaps(profile: ResourceProfile, terms: Terms, ceiling: Floats) -> tuple[Floats, Floats]:
    """Return expectation and quantiles up to the ceiling, the widest guess where there are none.

    Demand beyond the ceiling can never be served: it is no reason to hold anything back.  Of a
    tenant without data nothing is known but that its demand is below its ceiling: all values up
    to it are as likely (the maximum-entropy distribution on an interval).
    """
    is_known = np.isfinite(profile.expected)
    expected = np.where(is_known, profile.expected, np.minimum(terms.floor, ceiling))
    flat = profile.levels[:, None] * ceiling[None, :]
    grid = np.where(is_known, profile.grid, flat)
    return np.minimum(expected, ceiling), np.minimum(grid, ceiling)


def _ceiling(terms: Terms, usage: Usage, total: float) -> Floats:
    return np.where(usage.is_present, np.minimum(terms.ceiling, total), 0.0)


def _entitled(
    resource: Resource, terms: Terms, usage: Usage, policy: Policy
) -> tuple[Floats, Floats]:
    """Return each tenant's ceiling on this host and its weighted share of the capacity."""
    ceiling = _ceiling(terms, usage, policy.total[resource])
    return ceiling, fair_share(terms.weight, ceiling, policy.capacity[resource])


def _burst(terms: Terms, *, ceiling: Floats, fair: Floats) -> Floats:
    """Return the most tokens that each tenant may bank: burst_s of its entitled rate."""
    return terms.burst_s * np.maximum(terms.floor, np.minimum(fair, ceiling))


def measured(resource: Resource, usage: Usage) -> Floats:
    """Return what each tenant used of `resource`; NaN where that is unknowable."""
    return usage.cpu_cores if resource is Resource.CPU else usage.memory_bytes
