"""The control loop over a host that shows no more than a kernel does, whatever it divides.

A disk's waiting and an uplink's queue are shown beside what the simulated host counts itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from agent.allocation import Mode
from agent.backtest.engine import OneResource
from agent.backtest.host import Evidence, SimulatedHost
from agent.cycle import Policy
from agent.emergency import EmergencySettings
from agent.plan import Pace
from agent.ports import Forecasting, Kernel
from agent.tenant import Floats, Kind, Resource, Roster
from agent.tick import ControlLoop, LoopSettings
from enforce.columns import (
    Changes,
    ClassControl,
    Control,
    DiskColumns,
    HostSample,
    NetColumns,
    Outcomes,
    Result,
)

STEP_S = 300.0
PLENTY = 1e15


class Host(SimulatedHost):
    """A host of one resource: cpu, memory, reads from a disk, or what an uplink sends."""

    def __init__(self, size: int, resource: Resource, capacity: float) -> None:
        evidence = Evidence(is_exact=False)
        super().__init__(size, resource=resource, capacity=capacity, evidence=evidence)
        self.served = np.full(size, np.nan)
        self._divided, self._waited_us = resource, np.zeros(size)
        self._rate, self._backlog = np.zeros(size), np.zeros(size)

    def run(self, demand: Floats, elapsed_s: float) -> Floats:
        """Let time pass; who is held at its limit waits for what is missing, or queues it."""
        self.served = super().run(demand, elapsed_s)
        missing = np.where(self.served >= self.limit() * (1 - 1e-9), demand - self.served, 0.0)
        waited = np.divide(missing, demand, out=np.zeros_like(demand), where=demand > 0)
        self._waited_us = self._waited_us + 1e6 * elapsed_s * waited
        self._backlog = missing * elapsed_s
        return self.served

    def read(self, taken_at_s: float) -> HostSample:
        """Return the counters, those of the disk and of the uplink among them."""
        sample, device = super().read(taken_at_s), self._divided.device
        limit, nothing = self.limit()[None], np.full((1, len(self.served)), np.nan)
        if self._divided.kind is Kind.DISK_READ:
            done, stalled_at_us = sample.io_read_bytes[None], np.full(len(self.served), 1e6)
            return replace(
                sample,
                disks=DiskColumns((device,), done, nothing, nothing, nothing),
                disk_limits=DiskColumns((device,), limit, nothing, nothing, nothing),
                io_stalled_us=self._waited_us,
                io_stalled_at_us=stalled_at_us * taken_at_s,
            )
        if self._divided.kind is Kind.NET_OUT:
            network = NetColumns.unknown((device,), len(self.served))
            counted = replace(
                network,
                out_bytes=sample.net_out_bytes[None],
                out_backlog_bytes=self._backlog[None],
                out_dropped_packets=np.zeros_like(nothing),
                out_rate=self._rate[None],
                out_ceil=limit,
                read_at_s=taken_at_s,
            )
            return replace(sample, network=counted)
        return sample

    def apply(self, changes: Changes) -> Outcomes:
        """Put limits in force, those of the disk and of the uplink's classes too."""
        if isinstance(changes.control, Control):
            return super().apply(changes)
        is_rate = isinstance(changes.control, ClassControl) and changes.control.number == "rate"
        column = (self._rate if is_rate else self.limit()).copy()
        column[changes.tenant] = changes.after
        if is_rate:
            self._rate = column
        else:
            self.hold(column)
        done = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        return Outcomes(changes.control, changes.tenant, changes.after, changes.after, done)


class FedRawUsage(OneResource):
    """Lets a forecaster see what the first tenant was served in place of what it demanded."""

    def __init__(self, forecaster: Forecasting, policy: Policy, host: Host, resource: Resource):
        size = len(host.served)
        super().__init__(forecaster, resource, size, foreseen=policy.foreseen)
        self._host, self._first = host, policy.foreseen.index(resource) * size

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Hand over a closed step."""
        raw = values.copy()
        raw[self._first] = self._host.served[0]
        super().offer(step, raw, now_s)


def served_strictly(
    demand: Floats,
    who: Callable[[tuple[Resource, ...]], Roster],
    forecaster: Forecasting,
    *,
    resource: Resource,
    capacity: float,
    is_raw: bool,
) -> Floats:
    """Run demand (steps, tenants) under strict limits; return what was served, the same shape."""
    amounts = {Resource.CPU: PLENTY, Resource.MEMORY: PLENTY, resource: capacity}
    modes = dict.fromkeys(amounts, Mode.STRICT)
    policy = Policy(amounts, amounts, amounts, modes, EmergencySettings(), Pace(), 0.0, 0.0)
    host, roster = Host(demand.shape[1], resource, capacity), who(policy.resources)
    fed = (
        FedRawUsage(forecaster, policy, host, resource)
        if is_raw
        else OneResource(forecaster, resource, len(roster), foreseen=policy.foreseen)
    )
    settings = LoopSettings(tick_s=STEP_S, step_s=STEP_S, is_observing=False)
    kernel = Kernel(host, host)
    loop = ControlLoop(roster, policy, settings, kernel=kernel, forecaster=fed, ledgers={})
    served = np.empty_like(demand)
    for step, row in enumerate(demand):
        loop.tick(STEP_S * (step + 1), late_ticks=0)
        served[step] = host.run(row, STEP_S)
    return served
