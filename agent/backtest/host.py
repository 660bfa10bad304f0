"""A simulated host: serves recorded demand under limits and weights, and counts as a kernel would.

It stands where cgroup files stand: the control loop samples it and applies changes to it.
"""

from dataclasses import dataclass, replace

import numpy as np

from agent.custody import Beside
from agent.fairness import filled
from agent.tenant import Floats, Kind, Resource
from enforce.columns import (
    COUNTERS,
    DEFAULT_WEIGHT,
    Changes,
    Control,
    DiskColumns,
    HostSample,
    Limits,
    NetColumns,
    Outcomes,
    Result,
    UnitControl,
    Vitals,
)

_US_PER_S = 1e6
_PERIODS_PER_S = 10.0  # of cpu.max, 100 ms each
_AT_LIMIT = 1 - 1e-9
_COUNTER = {
    Kind.DISK_READ: "io_read_bytes",
    Kind.DISK_WRITE: "io_write_bytes",
    Kind.DISK_READ_OPS: "io_read_ops",
    Kind.DISK_WRITE_OPS: "io_write_ops",
    Kind.NET_OUT: "net_out_bytes",
    Kind.NET_IN: "net_in_bytes",
    Kind.REQUESTS: "requests",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is to be seen of demand that was not served.

    Open loop (`is_exact`): the counters tell exactly what was missing, whatever the reason, so
    that every policy sees the true past; memory shows what was wanted as if it were held.
    Closed loop: as the kernel reports it, where a tenant with n runnable threads that is held at
    its limit is throttled for n times the time that it did not run, and one that waits for others
    is not throttled at all.
    """

    is_exact: bool

    def throttled_cores(self, demand: Floats, served: Floats, limit: Floats) -> Floats:
        """Return what `throttled_usec` gains a second, for demand and service in cores."""
        missing = np.maximum(demand - served, 0.0)
        if self.is_exact:
            return missing
        is_held = (demand > limit) & (served >= limit * _AT_LIMIT)
        return np.where(is_held, np.ceil(demand) - served, 0.0)


class SimulatedHost:
    """One resource of a host; `demand` and what is served have shape (tenants,)."""

    def __init__(
        self, tenants: int, *, resource: Resource, capacity: float, evidence: Evidence
    ) -> None:
        self._resource, self._capacity, self._evidence = resource, capacity, evidence
        self._decided = np.full(tenants, np.inf)  # limits of what no control file limits
        self._is_absent = np.zeros(tenants, dtype=np.bool_)
        zero = np.zeros(tenants)
        self._sample = HostSample(
            taken_at_s=0.0,
            cgroup_id=np.arange(1, tenants + 1),
            in_force=Limits(
                np.full(tenants, np.inf),
                np.full(tenants, DEFAULT_WEIGHT),
                np.full(tenants, np.inf),
                zero,
                np.full(tenants, np.inf),
            ),
            disks=DiskColumns(),
            vitals=Vitals(),
            network=NetColumns(),
            anew=frozenset(),
            disk_limits=DiskColumns(),
            **dict.fromkeys(COUNTERS, zero),
        )

    def read(self, taken_at_s: float) -> HostSample:
        """Return the counters, as the kernel's files would show them: of nobody who is absent."""
        sample = self._sample
        return replace(
            sample,
            taken_at_s=taken_at_s,
            cgroup_id=np.where(self._is_absent, 0, sample.cgroup_id),
            in_force=Limits(*(self._visible(sample.in_force.of(c)) for c in Control)),
            disks=sample.disks,
            vitals=sample.vitals,
            network=sample.network,
            anew=sample.anew,
            disk_limits=sample.disk_limits,
            **{name: self._visible(getattr(sample, name)) for name in COUNTERS},
        )

    def apply(self, changes: Changes) -> Outcomes:
        """Put limits in force, as they are: nothing is refused here."""
        in_force, control = self._sample.in_force, changes.control
        if not isinstance(control, Control):
            raise TypeError(f"{control}: this host has control files only")
        column = in_force.of(control).copy()
        column[changes.tenant] = changes.after
        limits = in_force.with_control(control, column)
        self._sample = replace(self._sample, in_force=limits)
        result = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        return Outcomes(changes.control, changes.tenant, changes.after, changes.after, result)

    def written_beside(self) -> Beside:
        """Have written nothing beside the ticks."""
        return {}

    def open_up(self, tenant: int, control: UnitControl) -> None:
        """Have all files already."""

    def protect_root(self, low_bytes: float, *, is_enforcing: bool) -> str | None:
        """Have no ancestors whose protection could be too small."""

    def close(self) -> None:
        """Hold nothing that would have to be closed."""

    def limit(self) -> Floats:
        """Return the limits in force, shape (tenants,); inf is none."""
        in_force = self._sample.in_force
        return {
            Resource.CPU: in_force.cpu_max_cores,
            Resource.MEMORY: in_force.memory_high_bytes,
        }.get(self._resource, self._decided)

    def hold(self, limit: Floats) -> None:
        """Let limits be in force of what no control file limits yet: disk and network."""
        self._decided = limit

    def run(self, demand: Floats, elapsed_s: float) -> Floats:
        """Let `elapsed_s` seconds pass under this demand; return what was served.

        Who has NaN for a demand is absent meanwhile, and is served NaN.
        """
        self._is_absent = np.isnan(demand)
        wanted = np.where(self._is_absent, 0.0, demand)
        if self._resource == Resource.CPU:
            served = self._ran(wanted, elapsed_s)
        elif self._resource == Resource.MEMORY:
            served = self._held(wanted)
        else:
            served = self._moved(wanted, elapsed_s)
        return self._visible(served)

    def _visible(self, column: Floats) -> Floats:
        return np.where(self._is_absent, np.nan, column)

    def _held(self, demand: Floats) -> Floats:
        """Let memory be held up to memory.high; return how much.

        Where all together is too much, each loses the same part of what it holds above its
        memory.low (kernel: Documentation/admin-guide/cgroup-v2.rst, memory.low: reclaim in
        proportion to the overage).
        """
        before, held = self._sample, np.minimum(demand, self.limit())
        protected = np.minimum(held, before.in_force.memory_low_bytes)
        overage = held - protected
        room = max(self._capacity - float(protected.sum()), 0.0)
        kept = min(1.0, room / float(overage.sum())) if overage.any() else 1.0
        served = protected + kept * overage
        events = before.memory_high_events + (demand > self.limit())
        shown = demand if self._evidence.is_exact else served
        self._sample = replace(before, memory_current_bytes=shown, memory_high_events=events)
        return served

    def _ran(self, demand: Floats, elapsed_s: float) -> Floats:
        """Let tenants run, each by its weight up to its limit; return at how many cores."""
        limit, before = self.limit(), self._sample
        weight = before.in_force.cpu_weight
        served = filled(self._capacity, room=np.minimum(demand, limit), weight=weight)
        throttled = self._evidence.throttled_cores(demand, served, limit)
        periods = _PERIODS_PER_S * elapsed_s
        self._sample = replace(
            before,
            cpu_usage_us=before.cpu_usage_us + served * elapsed_s * _US_PER_S,
            cpu_throttled_us=before.cpu_throttled_us + throttled * elapsed_s * _US_PER_S,
            cpu_periods=before.cpu_periods + periods,
            cpu_throttled_periods=before.cpu_throttled_periods + periods * (throttled > 0),
        )
        return served

    def _moved(self, demand: Floats, elapsed_s: float) -> Floats:
        """Let bytes or operations pass, each tenant's up to its limit; return how many a second."""
        room = np.minimum(demand, self._decided)
        served = filled(self._capacity, room=room, weight=np.ones_like(room))
        counter = _COUNTER[self._resource.kind]
        shown = demand if self._evidence.is_exact else served
        total = getattr(self._sample, counter) + shown * elapsed_s
        self._sample = replace(self._sample, **{counter: total})
        return served
