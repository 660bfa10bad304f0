"""What tenants used between two samples, as rates.  Pure; unknowable is NaN, never 0."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from agent.tenant import Bools, Floats, Ints, Kind, Resource, carried_over
from enforce.columns import COUNTERS, DiskColumns, HostSample, Limits, NetColumns, Vitals

_US_PER_S = 1e6
_RATED = (
    "io_read_bytes",
    "io_write_bytes",
    "io_read_ops",
    "io_write_ops",
    "net_out_bytes",
    "net_in_bytes",
    "requests",
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Rates over `elapsed_s` seconds; every column has shape (tenants,)."""

    elapsed_s: float
    is_present: Bools  # the cgroup exists now
    cpu_cores: Floats
    cpu_throttled_cores: Floats  # sums over CPUs: two waiting threads count twice
    cpu_throttled_fraction: Floats  # of the enforcement periods; NaN without any
    memory_bytes: Floats
    memory_high_events: Floats  # count in the interval
    memory_unreclaimable_bytes: Floats
    cpu_waited_fraction: Floats  # of the time some task waited for a CPU; NaN is not known
    cpu_stalled_fraction: Floats  # of a CPU's time all did that could have run there
    memory_stalled_fraction: Floats  # of the time all tasks stood still for memory
    io_stalled_fraction: Floats  # of the time some task waited for a disk; NaN is not known
    io_read_bytes_per_s: Floats  # of all devices together
    io_write_bytes_per_s: Floats
    io_read_ops_per_s: Floats
    io_write_ops_per_s: Floats
    net_out_bytes_per_s: Floats
    net_in_bytes_per_s: Floats
    requests_per_s: Floats
    disks_per_s: DiskColumns = field(default_factory=DiskColumns)
    network: NetColumns = field(default_factory=NetColumns)  # of counters rates, per second
    # Between two readings of the network: 0 where there was none since; NaN is as all else.
    network_elapsed_s: float = float("nan")
    host_idle_fraction: float = float("nan")  # of all CPUs' time

    def elapsed_of(self, resource: Resource) -> float:
        """Return how many seconds what was used of a resource is of, at least 0."""
        is_apart = resource.kind in _NET_COLUMN and not math.isnan(self.network_elapsed_s)
        return max(self.network_elapsed_s if is_apart else self.elapsed_s, 0.0)


_COLUMN = {
    Kind.CPU: "cpu_cores",
    Kind.MEMORY: "memory_bytes",
    Kind.DISK_READ: "io_read_bytes_per_s",
    Kind.DISK_WRITE: "io_write_bytes_per_s",
    Kind.DISK_READ_OPS: "io_read_ops_per_s",
    Kind.DISK_WRITE_OPS: "io_write_ops_per_s",
    Kind.NET_OUT: "net_out_bytes_per_s",
    Kind.NET_IN: "net_in_bytes_per_s",
    Kind.REQUESTS: "requests_per_s",
}
_DISK_COLUMN = {
    Kind.DISK_READ: "read_bytes",
    Kind.DISK_WRITE: "write_bytes",
    Kind.DISK_READ_OPS: "read_ops",
    Kind.DISK_WRITE_OPS: "write_ops",
}


_NET_COLUMN = {Kind.NET_OUT: "out_bytes", Kind.NET_IN: "in_bytes"}
_NET_COUNTED = [
    "out_bytes",
    "in_bytes",
    "out_offered_bytes",
    "out_dropped_packets",
    "in_dropped_packets",
]


def measured(resource: Resource, usage: Usage) -> Floats:
    """Return what each tenant used of `resource`; NaN where that is unknowable."""
    if not resource.device:
        column: Floats = getattr(usage, _COLUMN[resource.kind])
        return column
    if resource.kind in _NET_COLUMN:
        return usage.network.of(_NET_COLUMN[resource.kind], resource.device, len(usage.is_present))
    tenants = len(usage.is_present)
    return usage.disks_per_s.of(_DISK_COLUMN[resource.kind], resource.device, tenants)


def is_queued(resource: Resource, usage: Usage) -> Bools:
    """Say whose packets waited, or were dropped since they had: only an uplink's classes tell."""
    waiting, dropped, _ = queue_of(resource, usage)
    with np.errstate(invalid="ignore"):
        return np.asarray((waiting > 0) | (dropped > 0))


def queue_of(resource: Resource, usage: Usage) -> tuple[Floats, Floats, Floats]:
    """Return bytes that wait, packets dropped a second, bytes a second that programs saw.

    NaN where no uplink's class tells.
    """
    tenants = len(usage.is_present)
    if resource.kind not in _NET_COLUMN or not resource.device:
        unknown = np.full(tenants, np.nan)
        return unknown, unknown, unknown
    way = _NET_COLUMN[resource.kind].partition("_")[0]
    offered = "out_offered_bytes" if way == "out" else "in_bytes"
    names = (f"{way}_backlog_bytes", f"{way}_dropped_packets", offered)
    waiting, dropped, seen = (usage.network.of(n, resource.device, tenants) for n in names)
    return waiting, dropped, seen


def usage_between(earlier: HostSample, later: HostSample) -> Usage:
    """Return rates between two samples of one roster.

    A recreated cgroup, a counter that went backwards and an interval without time give NaN
    for that tenant: a spike made of two cgroups' counters is worse than a gap.  The network's are
    over the time between its own readings: where the last one is late, nothing is known now.
    """
    elapsed_s = later.taken_at_s - earlier.taken_at_s
    network_s = later.network.read_at_s - earlier.network.read_at_s
    net_s = elapsed_s if math.isnan(network_s) else network_s
    same = (earlier.cgroup_id == later.cgroup_id) & (later.cgroup_id != 0)

    def gained(before: Floats, after: Floats, over_s: float = elapsed_s) -> Floats:
        difference = after - before
        with np.errstate(invalid="ignore"):
            knowable = same & (difference >= 0) & (over_s > 0)
        return np.where(knowable, difference, np.nan)

    def risen(before: Floats, after: Floats, over_s: float = elapsed_s) -> Floats:
        return gained(before, after, over_s) * (1.0 / over_s if over_s > 0 else np.nan)

    def rate(name: str) -> Floats:
        over_s = net_s if name.startswith("net_") else elapsed_s
        return risen(getattr(earlier, name), getattr(later, name), over_s)

    def stalled(what: str, at: str = "") -> Floats:
        waited = gained(getattr(earlier, f"{what}_us"), getattr(later, f"{what}_us"))
        name = f"{at or what}_at_us"
        passed = gained(getattr(earlier, name), getattr(later, name))
        unknown = np.full_like(waited, np.nan)
        return np.divide(waited, passed, out=unknown, where=passed > 0)

    periods = gained(earlier.cpu_periods, later.cpu_periods)
    throttled = gained(earlier.cpu_throttled_periods, later.cpu_throttled_periods)
    return Usage(
        elapsed_s=elapsed_s,
        is_present=later.cgroup_id != 0,
        cpu_cores=rate("cpu_usage_us") / _US_PER_S,
        cpu_throttled_cores=rate("cpu_throttled_us") / _US_PER_S,
        cpu_throttled_fraction=np.divide(
            throttled, periods, out=np.full_like(periods, np.nan), where=periods > 0
        ),
        memory_bytes=later.memory_current_bytes,
        memory_high_events=gained(earlier.memory_high_events, later.memory_high_events),
        memory_unreclaimable_bytes=later.memory_unreclaimable_bytes,
        cpu_waited_fraction=stalled("cpu_waited", "cpu_stalled"),
        cpu_stalled_fraction=stalled("cpu_stalled"),
        memory_stalled_fraction=stalled("memory_stalled"),
        io_stalled_fraction=stalled("io_stalled"),
        network=_net_rates(earlier.network, later.network, lambda a, b: risen(a, b, net_s)),
        network_elapsed_s=network_s,
        host_idle_fraction=_idle_fraction(earlier.vitals, later.vitals),
        disks_per_s=_disk_rates(earlier.disks, later.disks, risen),
        **{f"{name}_per_s": rate(name) for name in _RATED},
    )


def _idle_fraction(earlier: Vitals, later: Vitals) -> float:
    """Return the part of the CPUs' time in which nothing ran; NaN where counters went back."""
    passed_s, idle_s = (
        later.cpu_passed_s - earlier.cpu_passed_s,
        later.cpu_idle_s - earlier.cpu_idle_s,
    )
    return idle_s / passed_s if passed_s > 0 and idle_s >= 0 else math.nan


def _disk_rates(
    earlier: DiskColumns, later: DiskColumns, rate: Callable[[Floats, Floats], Floats]
) -> DiskColumns:
    """Return rates of each disk; all unknown where others were told apart before."""
    if earlier.names != later.names or not later.names:
        return later.mapped(lambda column: np.full_like(column, np.nan))
    return DiskColumns(
        later.names,
        rate(earlier.read_bytes, later.read_bytes),
        rate(earlier.write_bytes, later.write_bytes),
        rate(earlier.read_ops, later.read_ops),
        rate(earlier.write_ops, later.write_ops),
    )


def _net_rates(
    earlier: NetColumns, later: NetColumns, rate: Callable[[Floats, Floats], Floats]
) -> NetColumns:
    """Return rates of what each uplink counts, and what stands there now."""
    if not later.names:
        return later
    rates: dict[str, Any] = {}
    for name in _NET_COUNTED:
        after = getattr(later, name)
        is_same = earlier.names == later.names
        before = getattr(earlier, name) if is_same else np.full_like(after, np.nan)
        rates[name] = rate(before, after)
    return replace(later, **rates)


def rearranged(sample: HostSample, positions: Ints) -> HostSample:
    """Return `sample` in the order of a new roster; a tenant that was not there is absent."""
    counters = {name: carried_over(getattr(sample, name), positions) for name in COUNTERS}
    limits = {
        one.name: carried_over(getattr(sample.in_force, one.name), positions)
        for one in fields(Limits)
    }
    cgroup_id = carried_over(sample.cgroup_id.astype(np.float64), positions, 0.0).astype(np.int64)
    return HostSample(
        taken_at_s=sample.taken_at_s,
        cgroup_id=cgroup_id,
        in_force=Limits(**limits),
        disks=sample.disks.mapped(lambda column: carried_over(column, positions)),
        vitals=sample.vitals,
        network=sample.network.mapped(lambda column: carried_over(column, positions)),
        anew=sample.anew,
        disk_limits=sample.disk_limits.mapped(lambda column: carried_over(column, positions)),
        disk_weights=carried_over(sample.disk_weights, positions),
        **counters,
    )
