"""Hosts of many tenants for benchmarks: a configuration, a kernel as a function, a forecaster."""

from dataclasses import dataclass, replace

import numpy as np
from stopwatch import Stopwatch

import agent.tick
from agent.custody import Beside
from agent.record import TickRecord
from agent.settings import DEFAULT_MODES, DEFAULT_QOS, Config
from agent.tenant import Entitlement, Kind, Resource, Tenant
from agent.tick import ControlLoop
from enforce.columns import (
    COUNTERS,
    LIMITED_BY,
    AnyControl,
    Changes,
    ClassControl,
    Control,
    DiskColumns,
    DiskControl,
    Floats,
    HostSample,
    Limits,
    NetColumns,
    Outcomes,
    Result,
    UnitControl,
)
from forecast.profile import Profile

GIB = 1 << 30
CORES_PER_TENANT, BYTES_PER_TENANT = 0.04, GIB // 4


# cpu, memory, reads and writes of a disk, and the network, both ways.
DISK, UPLINK = "sda", "up0"
IO = (Kind.DISK_READ, Kind.DISK_WRITE, Kind.DISK_READ_OPS, Kind.DISK_WRITE_OPS)
NETWORK = (Resource(Kind.NET_OUT, UPLINK), Resource(Kind.NET_IN, UPLINK))
CLASSES = {
    ClassControl(UPLINK, "out", "rate"): 0.0,
    ClassControl(UPLINK, "out", "ceil"): np.inf,
    ClassControl(UPLINK, "in", "rate"): 0.0,
    ClassControl(UPLINK, "in", "ceil"): np.inf,
}
RATE_PER_TENANT = 1e6


def config_of(count: int, disk: str | None = None) -> Config:
    """Return a host of `count` tenants of mixed classes, with floors on a third of what it has.

    With a disk, it and the network are divided too.
    """
    cores, memory = CORES_PER_TENANT * count, BYTES_PER_TENANT * count
    floors = {
        Resource.CPU: Entitlement(floor=cores / count / 3),
        Resource.MEMORY: Entitlement(floor=memory / count / 3),
    }
    tenants = tuple(
        Tenant(f"t{n:05}", DEFAULT_QOS[n % len(DEFAULT_QOS)], floors) for n in range(count)
    )
    capacity = {Resource.CPU: cores, Resource.MEMORY: float(memory)}
    if disk is not None:
        rates = (*(Resource(kind, disk) for kind in IO), *NETWORK)
        capacity |= dict.fromkeys(rates, RATE_PER_TENANT * count)
    return Config(
        machine=capacity,
        total=capacity,
        tenants=tenants,
        modes={resource: DEFAULT_MODES[resource.kind] for resource in capacity},
    )


class World:
    """A kernel as a function: counters that move by a random walk of usage, limits that hold."""

    def __init__(self, count: int, *, has_rates: bool = False) -> None:
        self._random = np.random.default_rng(7)
        self._cpu = self._random.gamma(0.7, CORES_PER_TENANT, count)
        self._memory = self._random.uniform(0.2, 1.0, count) * BYTES_PER_TENANT
        self._rate = self._random.gamma(0.7, RATE_PER_TENANT, count)
        self._used_us, self._count = np.zeros(count), count
        self._done, self._has_rates = np.zeros(count), has_rates
        nothing = np.full(count, np.inf)
        self.limits = Limits(
            nothing.copy(), np.full(count, 100.0), nothing, np.zeros(count), nothing.copy()
        )
        self._of_devices: dict[AnyControl, Floats] = {}

    def usage(self) -> Floats:
        """Return one instant's usage as the forecaster's series: cpu, memory, then the rates."""
        noise = self._random.lognormal(0.0, 0.3, self._count)
        n_rates = len(IO) + len(NETWORK) if self._has_rates else 0
        rates = [self._rate * noise] * n_rates
        return np.concatenate([self._cpu * noise, self._memory, *rates])

    def read(self, taken_at_s: float) -> HostSample:
        """Return the next sample, a second later."""
        zero = np.zeros(self._count)
        cpu = np.minimum(self.usage()[: self._count], self.limits.cpu_max_cores)
        self._used_us = self._used_us + cpu * 1e6
        self._done = self._done + self._rate * self._random.lognormal(0.0, 0.3, self._count)
        unlimited = np.full(self._count, np.inf)
        held = {"cgroup_id": np.arange(1, self._count + 1), "populated": zero + 1}
        return HostSample(
            taken_at_s=taken_at_s,
            in_force=self.limits,
            disks=DiskColumns((DISK,), *[self._done[None]] * len(IO)),
            disk_limits=DiskColumns(
                (DISK,),
                *(
                    self._of_devices.get(DiskControl(DISK, number), unlimited)[None]
                    for number in LIMITED_BY
                ),
            ),
            network=self.network(),
            **dict.fromkeys(COUNTERS, zero)
            | held
            | {
                "cpu_usage_us": self._used_us,
                "cpu_periods": np.full(self._count, taken_at_s * 10),
                "memory_current_bytes": self._memory,
                "memory_unreclaimable_bytes": self._memory * 0.6,
            },
        )

    def network(self) -> NetColumns:
        """Return what is counted on the uplink, and the numbers of its classes."""
        done = self._done[None]
        columns = NetColumns.unknown((UPLINK,), self._count).mapped(np.zeros_like)
        columns = replace(columns, out_bytes=done, in_bytes=done)
        for control, at_first in CLASSES.items():
            found = self._of_devices.get(control, np.full(self._count, at_first))[None]
            getattr(columns, f"{control.direction}_{control.number}")[:] = found
        return columns

    def close(self) -> None:
        """Nothing is open."""

    def apply(self, changes: Changes) -> Outcomes:
        """Take changes, to be in force at the next tick: writing is not what is measured."""
        result = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        after = changes.after
        return Outcomes(changes.control, changes.tenant, after, after, result)

    def written_beside(self) -> Beside:
        """Have written nothing beside the ticks."""
        return {}

    def open_up(self, tenant: int, control: UnitControl) -> None:
        """Have all files already."""

    def protect_root(self, *_: object, **__: object) -> None:
        """Protect nothing: there is no root."""

    def obey(self, record: TickRecord) -> None:
        """Let the limits that a tick wrote be in force at the next."""
        for done in record.outcomes:
            control = done.control
            if isinstance(control, Control):
                column = self.limits.of(control).copy()
                column[done.tenant] = done.kept
                self.limits = self.limits.with_control(control, column)
            else:
                column = self._of_devices.get(control, record.sample.limit(control)).copy()
                column[done.tenant] = done.kept
                self._of_devices[control] = column


@dataclass(frozen=True, slots=True)
class Ready:
    """A forecaster whose last answer is good: 59 of 60 ticks meet it so."""

    profile: Profile

    def reset(self, *_: object) -> None:
        """Begin."""

    def offer(self, *_: object) -> None:
        """Take a step's values; no step ends here."""

    def poll(self, _: float) -> Profile:
        """Return the answer."""
        return self.profile

    def state(self, _: float) -> str:
        """Say that it is good."""
        return "live"


def watch_parts(watch: Stopwatch, loop: ControlLoop) -> None:
    """Time the parts of a tick, but for those that meet the kernel."""
    watch.wrap("forecast", loop, "_forecast")
    watch.wrap("decide", agent.tick, "observed", "decide")
    watch.wrap("plan", loop._enforcer, "enforce")
    watch.wrap("drift", loop.drift, "seen", "left")
    watch.wrap("record", loop, "_record")
