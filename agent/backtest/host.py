"""A simulated host: serves recorded demand under limits and weights, and counts as a kernel would.

It stands where cgroup files stand: the control loop samples it and applies changes to it.
"""

from dataclasses import dataclass, replace

import numpy as np

from agent.fairness import filled
from agent.tenant import Floats, Resource
from enforce.columns import Changes, Control, HostSample, Limits, Outcomes, Result

_US_PER_S = 1e6
_PERIODS_PER_S = 10.0  # of cpu.max, 100 ms each
_KERNEL_WEIGHT = 100.0  # what every cgroup starts with
_COLUMN = {
    Control.CPU_MAX: "cpu_max_cores",
    Control.CPU_WEIGHT: "cpu_weight",
    Control.MEMORY_HIGH: "memory_high_bytes",
    Control.MEMORY_LOW: "memory_low_bytes",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is to be seen of demand that was not served.

    Open loop (`is_exact`): the counters tell exactly what was missing, whatever the reason, so
    that every policy sees the true past.  Closed loop: as the kernel reports it, where a tenant
    with n runnable threads that is held at its limit is throttled for n times the time that it
    did not run, and one that waits for others is not throttled at all.
    """

    is_exact: bool

    def throttled_cores(self, demand: Floats, served: Floats, limit: Floats) -> Floats:
        """Return what `throttled_usec` gains a second, for demand and service in cores."""
        missing = np.maximum(demand - served, 0.0)
        if self.is_exact:
            return missing
        return np.where(demand > limit, np.ceil(demand) - served, 0.0)


class SimulatedHost:
    """One resource of a host; `demand` and what is served have shape (tenants,)."""

    def __init__(
        self, tenants: int, *, resource: Resource, capacity: float, evidence: Evidence
    ) -> None:
        self._resource, self._capacity, self._evidence = resource, capacity, evidence
        zero = np.zeros(tenants)
        self._sample = HostSample(
            taken_at_s=0.0,
            cgroup_id=np.arange(1, tenants + 1),
            in_force=Limits(
                np.full(tenants, np.inf),
                np.full(tenants, _KERNEL_WEIGHT),
                np.full(tenants, np.inf),
                zero,
            ),
            **dict.fromkeys(_counters(), zero),
        )

    def read(self, taken_at_s: float) -> HostSample:
        """Return the counters, as the kernel's files would show them."""
        return replace(self._sample, taken_at_s=taken_at_s)

    def apply(self, changes: Changes) -> Outcomes:
        """Put limits in force, as they are: nothing is refused here."""
        column = self._sample.in_force.of(changes.control).copy()
        column[changes.tenant] = changes.after
        limits = replace(self._sample.in_force, **{_COLUMN[changes.control]: column})
        self._sample = replace(self._sample, in_force=limits)
        result = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        return Outcomes(changes.control, changes.tenant, changes.after, changes.after, result)

    def protect_root(self, total_low_bytes: float) -> str | None:
        """Have no ancestors whose protection could be too small."""

    def close(self) -> None:
        """Hold nothing that would have to be closed."""

    def limit(self) -> Floats:
        """Return the limits in force, shape (tenants,); inf is none."""
        in_force = self._sample.in_force
        is_cpu = self._resource is Resource.CPU
        return in_force.cpu_max_cores if is_cpu else in_force.memory_high_bytes

    def run(self, demand: Floats, elapsed_s: float) -> Floats:
        """Let `elapsed_s` seconds pass under this demand; return what was served."""
        limit, before = self.limit(), self._sample
        weight = before.in_force.cpu_weight
        served = filled(self._capacity, room=np.minimum(demand, limit), weight=weight)
        if self._resource is Resource.MEMORY:
            is_short = (demand > served).astype(np.float64)
            events = before.memory_high_events + is_short
            self._sample = replace(before, memory_current_bytes=served, memory_high_events=events)
            return served
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


def _counters() -> tuple[str, ...]:
    return tuple(
        name
        for name in HostSample.__dataclass_fields__
        if name not in ("taken_at_s", "cgroup_id", "in_force")
    )
