"""From one tick's columns to what people and programs read: rows of status.  Pure.

Nothing here decides or measures; every number was in the record.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.accuracy import SOURCE_NAMES, quality_rows
from agent.amounts import token_of
from agent.answers import (
    CpuPools,
    CpuStatus,
    Health,
    HostStatus,
    MemoryPools,
    MemoryStatus,
    RatePools,
    RateStatus,
    Status,
    TenantStatus,
    TrafficStatus,
)
from agent.controls import all_controls
from agent.enforced import files_in_force, files_left_out
from agent.pin_words import pin_rows
from agent.record import ResourceTick, TickRecord
from agent.tenant import BASIC, Bools, Floats, Kind, Resource
from agent.usage import measured, queue_of
from forecast.profile import Source
from forecast.quality import Verdict

Positions = NDArray[np.intp]

_DECIMALS = 6
_STALLED_AFTER_TICKS = 5


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the daemon knows of itself beside the record; NaN is unknown."""

    tick_s: float = 1.0  # from one tick to the next, those that are left out aside
    tick_cost_s: float = float("nan")
    failed_ticks: int = 0
    pid: int = 0
    reloads_begun: int = 0
    reloads_ended: int = 0
    reload_problem: str | None = None
    state_problem: str | None = None
    history_problem: str | None = None
    events_problem: str | None = None
    source_problems: tuple[str, ...] = ()  # of events, each
    uplift_problem: str | None = None
    originals_problem: str | None = None
    release_problem: str | None = None
    thrift_problem: str | None = None
    metrics_problem: str | None = None
    pins_problem: str | None = None
    places_problem: str | None = None
    checkpoint_problem: str | None = None
    horizons_s: tuple[float, ...] = ()  # of forecasts: the bounds of a maximum are over these

    def problems(self) -> tuple[str, ...]:
        """Return what the operator has to know of the agent itself, in words."""
        told = {
            "reload refused": self.reload_problem,
            "balances will not outlive the agent": self.state_problem,
            "steps are not recorded": self.history_problem,
            "some events may be missing": self.events_problem,
            "what events take will not outlive the agent": self.uplift_problem,
            "originals damaged": self.originals_problem,
            "control files not put back": self.release_problem,
            "ticks are left out": self.thrift_problem,
            "metrics not used": self.metrics_problem,
            "tenants elsewhere": self.places_problem,
            "a kill would lose a step": self.checkpoint_problem,
            "pins will not outlive the agent": self.pins_problem,
        }
        return tuple(f"{what}: {problem}" for what, problem in told.items() if problem)


def status(record: TickRecord, facts: AgentFacts, *, now_s: float) -> Status:
    """Return the whole host's status at `now_s` (CLOCK_MONOTONIC)."""
    return Status(
        host=host_status(record, facts, now_s=now_s),
        tenants=tenant_rows(record, range(len(record.roster))),
    )


def host_status(record: TickRecord, facts: AgentFacts, *, now_s: float) -> HostStatus:
    """Return the host's part of the status."""
    return HostStatus(
        tick=record.number,
        age_s=round(max(now_s - record.taken_at_s, 0.0), 3),
        tick_cost_s=_number(facts.tick_cost_s),
        late_ticks=record.late_ticks,
        failed_ticks=facts.failed_ticks,
        is_observing=record.is_observing,
        tenants=len(record.roster),
        observed_tenants=int(_is_observed(record).sum()),
        is_learning=record.is_learning,
        forecaster=record.forecaster,
        problems=(*facts.problems(), *record.problems),
        written_total=record.totals.written,
        held_back_total=record.totals.held_back,
        refused_total=record.totals.refused,
        drift_total=0 if record.drift is None else record.drift.total,
        would_have_total=record.totals.would_have,
        cpu=_cpu_pools(record.resources[Resource.CPU]),
        memory=_memory_pools(record.resources[Resource.MEMORY]),
        traffic=TrafficStatus(*(_known_total(column) for column in _traffic(record))),
        rates=tuple(_rate_pools(rate, record) for rate in _rates(record)),
    )


def health(record: TickRecord | None, facts: AgentFacts, *, now_s: float) -> Health:
    """Say whether the agent does its work; state is "ok", "starting" or "stalled"."""
    if record is None:
        return Health("starting", "no tick has been completed yet")
    age_s = now_s - record.taken_at_s
    if age_s > _STALLED_AFTER_TICKS * facts.tick_s:
        return Health("stalled", f"the last tick was {age_s:.1f} s ago")
    return Health(
        "ok",
        f"tick {record.number}, {age_s:.1f} s ago",
        pid=facts.pid,
        reloads_begun=facts.reloads_begun,
        reloads_ended=facts.reloads_ended,
        reload_problem=facts.reload_problem,
    )


def tenant_rows(record: TickRecord, positions: Iterable[int]) -> tuple[TenantStatus, ...]:
    """Return the status of the tenants at `positions` of the roster."""
    at = np.fromiter(positions, dtype=np.intp)
    roster = record.roster
    return tuple(
        TenantStatus(roster.names[i], roster.qos_names[i], *parts)
        for i, *parts in zip(
            at.tolist(),
            _states(record, at),
            _is_observed(record)[at].tolist(),
            files_in_force(record, at),
            files_left_out(record, at),
            _cpu_rows(record, at),
            _memory_rows(record, at),
            _traffic_rows(record, at),
            _rate_rows(record, at),
            pin_rows(record, at),
            strict=True,
        )
    )


def _states(record: TickRecord, at: Positions) -> list[tuple[str, ...]]:
    """Name what is out of the ordinary of each tenant, the most important first, or "live"."""
    cpu, memory = record.resources[Resource.CPU], record.resources[Resource.MEMORY]
    every = record.resources.values()
    is_absent = record.sample.cgroup_id == 0
    columns: dict[str, Bools] = {
        "absent": is_absent,
        "unenforced": ~is_absent & _is_unenforced(record),
        "emergency": np.any([tick.emergency > 0 for tick in every], axis=0),
        "observed": _is_observed(record),
        "pinned": _is_pinned(record),
        "empty": (record.sample.populated == 0) & ~(cpu.usage > 0),  # that is older than this
        "debt": np.any([tick.balance < 0 for tick in every], axis=0),
        "throttled": record.throttled_fraction > 0,
        "squeezed": memory.is_censored,
        "learning": _is_from(Source.LEARNING, cpu, memory),
        "fallback": _is_from(Source.FALLBACK, cpu, memory),
        "poor": np.any([_is_poor(tick) for tick in every], axis=0),
    }
    names = tuple(columns)
    rows = np.stack([column[at] for column in columns.values()], axis=1).tolist()
    return [
        tuple(name for name, holds in zip(names, row, strict=True) if holds) or ("live",)
        for row in rows
    ]


def _is_pinned(record: TickRecord) -> Bools:
    if record.drift is None:
        return np.zeros(len(record.roster), dtype=np.bool_)
    values = record.drift.pins.value.values()
    return np.asarray(np.any([~np.isnan(column) for column in values], axis=0))


def _is_observed(record: TickRecord) -> Bools:
    return record.roster.is_observed_only | record.is_observing


def _is_from(source: Source, cpu: ResourceTick, memory: ResourceTick) -> Bools:
    return np.asarray((cpu.source == source) | (memory.source == source))


def _is_poor(tick: ResourceTick) -> Bools:
    if tick.quality is None:
        return np.zeros(len(tick.source), dtype=np.bool_)
    return np.asarray(tick.quality.verdict == Verdict.POOR)


def _is_unenforced(record: TickRecord) -> Bools:
    controls = all_controls(record.resources)
    in_force = np.stack([record.sample.limit(control) for control in controls])
    return np.asarray(np.isnan(in_force).any(axis=0))


def _cpu_rows(record: TickRecord, at: Positions) -> list[CpuStatus]:
    tick, terms = record.resources[Resource.CPU], record.roster.terms[Resource.CPU]
    columns = (
        _numbers(tick.usage[at]),
        _numbers(tick.demand[at]),
        tick.is_censored[at].tolist(),
        _numbers(100 * record.throttled_fraction[at]),
        _numbers(tick.expected[at]),
        _numbers(tick.upper[at]),
        _sources(tick, at),
        _numbers(100 * tick.risk[at]),
        _numbers(terms.floor[at]),
        _numbers(terms.ceiling[at]),
        _numbers(tick.guaranteed[at]),
        _numbers(tick.opportunistic[at]),
        _numbers(tick.emergency[at]),
        _numbers(tick.limit[at]),
        _numbers(tick.balance[at]),
        _numbers(tick.burst[at]),
        _numbers(tick.weight[at]),
        quality_rows(tick.quality, at),
    )
    return [CpuStatus(*row) for row in zip(*columns, strict=True)]


def _memory_rows(record: TickRecord, at: Positions) -> list[MemoryStatus]:
    tick, terms = record.resources[Resource.MEMORY], record.roster.terms[Resource.MEMORY]
    columns = (
        _wholes(tick.usage[at]),
        _wholes(tick.demand[at]),
        tick.is_censored[at].tolist(),
        _wholes(tick.expected[at]),
        _wholes(tick.upper[at]),
        _sources(tick, at),
        _numbers(100 * tick.risk[at]),
        _wholes(terms.floor[at]),
        _wholes(terms.ceiling[at]),
        _wholes(tick.guaranteed[at]),
        _wholes(tick.opportunistic[at]),
        _wholes(tick.emergency[at]),
        _wholes(tick.limit[at]),
        quality_rows(tick.quality, at),
    )
    return [MemoryStatus(*row) for row in zip(*columns, strict=True)]


def _rates(record: TickRecord) -> list[Resource]:
    """Return what is divided beside cpu and memory."""
    return [resource for resource in record.resources if resource not in BASIC]


def _rate_rows(record: TickRecord, at: Positions) -> list[tuple[RateStatus, ...]]:
    """Return each tenant's part of each rate that is divided."""
    by_rate = [_rate_column(record, resource, at) for resource in _rates(record)]
    return list(zip(*by_rate, strict=True)) if by_rate else [()] * len(at)


def _rate_column(record: TickRecord, resource: Resource, at: Positions) -> list[RateStatus]:
    tick, terms = record.resources[resource], record.roster.terms[resource]
    name, unit = str(resource), token_of(resource.kind)
    columns = (
        _numbers(tick.usage[at]),
        _numbers(tick.demand[at]),
        tick.is_censored[at].tolist(),
        _numbers(tick.expected[at]),
        _numbers(tick.upper[at]),
        _sources(tick, at),
        _numbers(100 * tick.risk[at]),
        _numbers(terms.floor[at]),
        _numbers(terms.ceiling[at]),
        _numbers(tick.guaranteed[at]),
        _numbers(tick.opportunistic[at]),
        _numbers(tick.emergency[at]),
        _numbers(tick.limit[at]),
        _numbers(tick.balance[at]),
        _numbers(tick.burst[at]),
        *(_numbers(column[at]) for column in queue_of(resource, record.usage)),
        quality_rows(tick.quality, at),
    )
    return [RateStatus(name, unit, *row) for row in zip(*columns, strict=True)]


def _traffic(record: TickRecord) -> list[Floats]:
    """Return what is counted of all devices, in the order of `TrafficStatus`."""
    return [measured(Resource(kind), record.usage) for kind in Kind if Resource(kind) not in BASIC]


def _traffic_rows(record: TickRecord, at: Positions) -> list[TrafficStatus]:
    columns = [_numbers(column[at]) for column in _traffic(record)]
    return [TrafficStatus(*row) for row in zip(*columns, strict=True)]


def _rate_pools(resource: Resource, record: TickRecord) -> RatePools:
    tick = record.resources[resource]
    is_open = np.isnan(tick.in_force) & (record.sample.cgroup_id != 0)
    return RatePools(
        resource=str(resource),
        unit=token_of(resource.kind),
        is_enforced=not np.isnan(tick.in_force).all(),
        unenforced_tenants=int(is_open.sum()),
        capacity_per_s=_rounded(tick.capacity),
        usage_per_s=_known_total(tick.usage),
        guaranteed_per_s=_total(tick.guaranteed),
        opportunistic_per_s=_total(tick.opportunistic),
        emergency_per_s=_total(tick.emergency),
        emergency_pool_per_s=_rounded(tick.emergency_pool),
        limits_per_s=_total(tick.limit),
        shortage_pct=_rounded(100 * tick.pressure),
        elasticity=_number(tick.elasticity),
        marginal_need=_number(tick.marginal_need),
    )


def _cpu_pools(tick: ResourceTick) -> CpuPools:
    return CpuPools(
        capacity_cores=_rounded(tick.capacity),
        usage_cores=_total(tick.usage),
        guaranteed_cores=_total(tick.guaranteed),
        opportunistic_cores=_total(tick.opportunistic),
        emergency_cores=_total(tick.emergency),
        emergency_pool_cores=_rounded(tick.emergency_pool),
        limits_cores=_total(tick.limit),
        shortage_pct=_rounded(100 * tick.pressure),
        elasticity=_number(tick.elasticity),
        marginal_need=_number(tick.marginal_need),
    )


def _memory_pools(tick: ResourceTick) -> MemoryPools:
    return MemoryPools(
        capacity_bytes=int(tick.capacity),
        usage_bytes=int(_total(tick.usage)),
        guaranteed_bytes=int(_total(tick.guaranteed)),
        opportunistic_bytes=int(_total(tick.opportunistic)),
        emergency_bytes=int(_total(tick.emergency)),
        emergency_pool_bytes=int(tick.emergency_pool),
        limits_bytes=int(_total(tick.limit)),
        shortage_pct=_rounded(100 * tick.pressure),
        elasticity=_number(tick.elasticity),
        marginal_need=_number(tick.marginal_need),
    )


def _sources(tick: ResourceTick, at: Positions) -> list[str]:
    return [SOURCE_NAMES[source] for source in tick.source[at].tolist()]


def _numbers(column: Floats) -> list[float | None]:
    """Return finite numbers to a millionth; what is unknown or without bound is None."""
    rounded = np.where(np.isfinite(column), np.round(column, _DECIMALS), np.nan).tolist()
    return [None if value != value else value for value in rounded]  # noqa: PLR0124 - NaN


def _wholes(column: Floats) -> list[int | None]:
    """Return finite numbers as whole ones; what is unknown or without bound is None."""
    return [None if value is None else int(value) for value in _numbers(column)]


def _number(value: float) -> float | None:
    return _numbers(np.array([value]))[0]


def _known_total(column: Floats) -> float | None:
    """Return a sum, None where nothing of it is known."""
    return _total(column) if np.isfinite(column).any() else None


def _total(column: Floats) -> float:
    return _rounded(column[np.isfinite(column)].sum())


def _rounded(value: float) -> float:
    """Return a plain float: of numpy's own no JSON is made."""
    return round(float(value), _DECIMALS)
