"""Tick records made by hand: a host of 2 cores and 2 GiB with a case of every kind."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.record import ResourceTick, TickRecord
from agent.settings import DEFAULT_QOS
from agent.tenant import Entitlement, Floats, Kind, Resource, Roster, Tenant
from agent.usage import usage_between
from enforce.columns import (
    COUNTERS,
    Changes,
    Control,
    DiskColumns,
    DiskControl,
    HostSample,
    Limits,
    NetColumns,
    Outcomes,
    Result,
    Vitals,
)
from forecast.profile import BOUNDS, Source
from forecast.settings import HORIZONS

from qualities import quality

NAN, INF = float("nan"), float("inf")
MIB = float(1 << 20)
PLATINUM, GOLD, SILVER = DEFAULT_QOS
NAMES = ("batch", "eater", "ghost", "hog", "web")
CPU, MEMORY = Resource.CPU, Resource.MEMORY


def column(*values: float) -> Floats:
    """Return a column of float64."""
    return np.array(values, dtype=np.float64)


def _maximum(*upper: float) -> Floats:
    """Return the same bounds for every horizon and level."""
    return np.tile(column(*upper), (HORIZONS, len(BOUNDS), 1))


def five_tenants() -> Roster:
    """Return a gold, three silver and a platinum tenant, in name order."""
    return Roster.of(_tenants())


def _tenants() -> list[Tenant]:
    classes = (GOLD, SILVER, SILVER, SILVER, PLATINUM)
    floors = (0.25, 0.0, 0.5, 0.0, 0.5)
    memory = (64 * MIB, 0.0, 0.0, 0.0, 256 * MIB)
    return [
        Tenant(
            name,
            qos,
            {
                CPU: Entitlement(floor, 2.0 if name == "web" else INF),
                MEMORY: Entitlement(held, 1024 * MIB),
                DISK: Entitlement(floor * MIB),
            },
        )
        for name, qos, floor, held in zip(NAMES, classes, floors, memory, strict=True)
    ]


def sample_of(roster: Roster, in_force: Limits, cgroup_id: Sequence[int]) -> HostSample:
    """Return a sample in which only ids and limits say anything."""
    unknown = np.full(len(roster), NAN)
    counters = dict.fromkeys(COUNTERS, unknown)
    ids = np.array(cgroup_id, dtype=np.int64)
    return HostSample(
        taken_at_s=100.0,
        cgroup_id=ids,
        in_force=in_force,
        disks=DiskColumns(),
        vitals=Vitals(),
        network=NetColumns(),
        anew=frozenset(),
        disk_limits=DiskColumns(),
        **counters,
    )


def cpu_tick() -> ResourceTick:
    """Return cpu in a tick where the hog is throttled and in debt and web borrows."""
    return ResourceTick(
        capacity=1.9,
        emergency_pool=0.095,
        pressure=0.12,
        elasticity=1.4,
        host_need="",
        marginal_need=0.03,
        usage=column(0.2, 0.1, NAN, 0.5, 0.8),
        demand=column(0.2, 0.1, NAN, 1.25, 0.8),
        is_censored=np.array([False, False, False, True, False]),
        expected=column(0.3, 0.1, NAN, 1.1, 0.7),
        maximum=_maximum(0.45, 0.2, NAN, 1.6, 1.05),
        source=np.array(
            [Source.LIVE, Source.FALLBACK, Source.LEARNING, Source.LIVE, Source.LIVE],
            dtype=np.uint8,
        ),
        risk=column(0.1, 0.25, 0.8, 0.3, 0.05),
        fair=column(0.5, 0.2, 0.0, 0.2, 1.0),
        most_forfeited=0.0,
        guaranteed=column(0.295, 0.075, 0.0, 0.2, 0.69),
        emergency=column(0.0, 0.0, 0.0, 0.0, 0.095),
        grant_left_s=column(0.0, 0.0, 0.0, 0.0, 21.0),
        cooldown_left_s=np.zeros(len(NAMES)),
        preempted_by=np.full(len(NAMES), -1),
        limit=column(1.0, 0.5, 0.0, 0.5, 2.0),
        in_force=column(1.0, 0.5, NAN, 0.6, INF),
        weight=column(900.0, 100.0, 1.0, 200.0, 4000.0),
        balance=column(12.5, 0.0, 0.0, -31.5, 290.0),
        credit=column(0.69, 0.0, 0.0, -0.875, 1.0),
        left_fraction=column(0.0, 0.0, 0.0, 0.0, 0.25),
        burst=column(60.0, 18.0, 30.0, 36.0, 375.0),
    )


def memory_tick() -> ResourceTick:
    """Return memory in a tick where the eater is held at its limit."""
    nothing = np.full(len(NAMES), NAN)
    return ResourceTick(
        capacity=1920 * MIB,
        emergency_pool=96 * MIB,
        pressure=0.0,
        elasticity=1.0,
        host_need="",
        marginal_need=0.0,
        usage=column(48.0, 511.0, NAN, 20.0, 300.0) * MIB,
        demand=column(48.0, 562.0, NAN, 20.0, 300.0) * MIB,
        is_censored=np.array([False, True, False, False, False]),
        expected=column(50.0, 540.0, NAN, 20.0, 310.0) * MIB,
        maximum=_maximum(60.0, 700.0, NAN, 24.0, 350.0) * MIB,
        source=np.array([Source.LIVE] * 2 + [Source.LEARNING] + [Source.LIVE] * 2, dtype=np.uint8),
        risk=column(0.05, 0.2, 0.8, 0.1, 0.0),
        fair=column(480.0, 400.0, 0.0, 240.0, 800.0) * MIB,
        most_forfeited=0.0,
        guaranteed=column(64.0, 400.0, 0.0, 18.0, 310.0) * MIB,
        emergency=column(0.0, 0.0, 0.0, 0.0, 0.0),
        grant_left_s=np.zeros(len(NAMES)),
        cooldown_left_s=np.zeros(len(NAMES)),
        preempted_by=np.full(len(NAMES), -1),
        limit=column(164.0, 512.0, 0.0, 68.0, 510.0) * MIB,
        in_force=column(164.0, 512.0, NAN, 64.0, 510.0) * MIB,
        weight=nothing,
        balance=nothing,
        credit=nothing,
        left_fraction=nothing,
        burst=nothing,
    )


DISK, NET = Resource(Kind.DISK_READ, "sda"), Resource(Kind.NET_OUT)


def disk_tick() -> ResourceTick:
    """Return reads from a disk, in which the hog is in debt; amounts are cpu's in MiB/s."""
    cpu = cpu_tick()
    amounts = ("usage", "demand", "expected", "maximum", "fair", "guaranteed")
    more = ("emergency", "limit", "balance", "burst")
    scaled = {name: getattr(cpu, name) * MIB for name in (*amounts, *more)}
    return replace(
        cpu,
        capacity=cpu.capacity * MIB,
        emergency_pool=cpu.emergency_pool * MIB,
        in_force=column(1.0, 0.5, NAN, 0.6, INF) * MIB,
        weight=np.full(len(NAMES), NAN),
        **scaled,
    )


def net_tick() -> ResourceTick:
    """Return bytes sent, which nothing counts."""
    unknown = np.full(len(NAMES), NAN)
    disk = disk_tick()
    return replace(
        disk,
        usage=unknown,
        demand=unknown,
        expected=unknown,
        maximum=_maximum(*unknown),
        is_censored=np.zeros(len(NAMES), dtype=np.bool_),
        guaranteed=np.zeros(len(NAMES)),
        balance=np.zeros(len(NAMES)),
        in_force=unknown,
    )


def with_rates(one: TickRecord) -> TickRecord:
    """Return a record of a host that divides a disk too, and the network, which nothing counts."""
    resources = {**one.resources, DISK: disk_tick(), NET: net_tick()}
    roster = Roster.of(_tenants(), tuple(resources))
    usage = replace(one.usage, io_read_bytes_per_s=disk_tick().usage)
    hog, slower = np.array([NAMES.index("hog")]), column(0.5 * MIB)
    written = Outcomes(
        DiskControl("sda", "rbps"), hog, slower, slower, np.array([Result.APPLIED], np.uint8)
    )
    limits = disk_tick().in_force[None]
    one_disk = DiskColumns(("sda",), *[limits] * 4)
    weights = column(100.0, 100.0, NAN, 200.0, 4000.0)[None]
    sample = replace(one.sample, disks=one_disk, disk_limits=one_disk, disk_weights=weights)
    return replace(
        one,
        resources=resources,
        roster=roster,
        usage=usage,
        sample=sample,
        outcomes=(*one.outcomes, written),
    )


def record() -> TickRecord:
    """Return one tick of five tenants: the hog's quota is lowered, the eater's high held back."""
    roster, cpu, memory = five_tenants(), cpu_tick(), memory_tick()
    in_force = Limits(
        cpu.in_force,
        column(900.0, 100.0, NAN, 200.0, 4000.0),
        memory.in_force,
        column(64.0, 400.0, NAN, 18.0, 310.0) * MIB,
        column(INF, INF, NAN, INF, INF),
    )
    hog, eater = np.array([3]), np.array([1])
    lowered = Changes(Control.CPU_MAX, hog, column(0.6), column(0.5))
    squeezed = Changes(Control.MEMORY_HIGH, eater, column(512 * MIB), column(400 * MIB))
    sample = sample_of(roster, in_force, [11, 12, 0, 14, 15])
    return TickRecord(
        number=1234,
        taken_at_s=100.0,
        late_ticks=2,
        is_observing=False,
        is_learning=False,
        roster=roster,
        sample=sample,
        resources={CPU: cpu, MEMORY: memory},
        usage=usage_between(sample, sample),
        throttled_fraction=column(0.0, NAN, NAN, 0.61, 0.0),
        changes=(lowered, squeezed),
        outcomes=(
            Outcomes(
                Control.CPU_MAX, hog, column(0.5), column(0.5), np.array([Result.APPLIED], np.uint8)
            ),
            Outcomes(
                Control.MEMORY_HIGH,
                eater,
                column(400 * MIB),
                column(498 * MIB),
                np.array([Result.HELD_BACK], np.uint8),
                {1: "482M cannot be reclaimed"},
            ),
        ),
        forecaster="live",
        problems=("memory.low: configured but not enforceable for 1 tenant(s)",),
    )


def observed_web() -> TickRecord:
    """Return the same tick where web is only observed, and its cgroup as the kernel made it."""
    one, at = record(), NAMES.index("web")
    found = {
        Control.CPU_MAX: INF,
        Control.CPU_WEIGHT: 100.0,
        Control.MEMORY_HIGH: INF,
        Control.MEMORY_LOW: 0.0,
        Control.MEMORY_MAX: INF,
    }
    in_force = one.sample.in_force
    for control, value in found.items():
        filled = in_force.of(control).copy()
        filled[at] = value
        in_force = in_force.with_control(control, filled)
    wanted = {
        Control.CPU_WEIGHT: 4000.0,
        Control.MEMORY_HIGH: 510 * MIB,
        Control.MEMORY_LOW: 310 * MIB,
    }
    nobody = np.zeros(len(NAMES))
    cpu = replace(one.resources[CPU], emergency=nobody, grant_left_s=nobody)
    return replace(
        one,
        roster=replace(one.roster, is_observed_only=np.arange(len(NAMES)) == at),
        sample=replace(one.sample, in_force=in_force),
        resources={**one.resources, CPU: cpu},
        unwritten=tuple(
            Changes(control, np.array([at]), column(found[control]), column(value))
            for control, value in wanted.items()
        ),
    )


def bounded_web(one: TickRecord) -> TickRecord:
    """Return the same tick where web has a memory.max of 1 GiB, configured and in force."""
    at, maxima = NAMES.index("web"), one.roster.memory_max_bytes.copy()
    in_force = one.sample.in_force.memory_max_bytes.copy()
    maxima[at] = in_force[at] = 1024 * MIB
    limits = one.sample.in_force.with_control(Control.MEMORY_MAX, in_force)
    return replace(
        one,
        roster=replace(one.roster, memory_max_bytes=maxima),
        sample=replace(one.sample, in_force=limits),
    )


def crowd(size: int) -> TickRecord:
    """Return a record of `size` tenants, all alike."""
    one = record()
    names = tuple(f"tenant-{number:05}" for number in range(size))
    roster = Roster.of(Tenant(name, GOLD, {}) for name in names)
    fifth = np.full(size, 4)

    def spread(tick: ResourceTick) -> ResourceTick:
        columns = {
            name: getattr(tick, name)[..., fifth]
            for name in ResourceTick.__dataclass_fields__
            if isinstance(getattr(tick, name), np.ndarray)
        }
        return replace(tick, **columns)

    limits = Limits(*(one.sample.in_force.of(control)[fifth] for control in Control))
    sample = sample_of(roster, limits, [1] * size)
    return replace(
        one,
        roster=roster,
        sample=sample,
        usage=usage_between(sample, sample),
        resources={resource: spread(tick) for resource, tick in one.resources.items()},
        throttled_fraction=one.throttled_fraction[fifth],
        changes=(),
        outcomes=(),
    )


def with_quality(one: TickRecord, **figures: Any) -> TickRecord:
    """Return a record whose forecasts have been scored: the same figures for everybody."""
    found = quality(len(one.roster), **figures)
    resources = {name: replace(tick, quality=found) for name, tick in one.resources.items()}
    return replace(one, resources=resources, forecast_age_s=12.0)
