"""Measures what a tick of N tenants costs after sampling, and the agent's memory with it.

    deciding.py MOUNT RESULT_FILE N

The kernel is a function here: usage walks at random, and limits are what the last tick decided.
Memory is that of a whole agent: all its modules loaded, and cgroups of its own kept open.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from scratch import cgroups
from timing import median_ms, memory_mib, progress

import agent.service  # what the agent loads counts as its memory
import agent.tick
from agent.cycle import decide, observed
from agent.policy import loop_settings, policy_of, thrift_of
from agent.ports import Kernel
from agent.record import TickRecord
from agent.settings import DEFAULT_MODES, DEFAULT_QOS, Config
from agent.tenant import Entitlement, Kind, Resource, Roster, Tenant
from agent.tick import ControlLoop
from enforce.columns import (
    Changes,
    Control,
    DiskColumns,
    Floats,
    HostSample,
    Limits,
    Outcomes,
    Result,
)
from enforce.sampler import Sampler
from forecast.fallback import MAXIMUM_STEPS, fallback_profile
from forecast.history import History
from forecast.profile import Profile
from forecast.settings import ForecastSettings

T = TypeVar("T")

GIB = 1 << 30
ROUNDS = {100: 101, 1_000: 51, 10_000: 15}
PAST_STEPS = 60
CORES_PER_TENANT, BYTES_PER_TENANT = 0.04, GIB // 4


# cpu, memory, reads and writes of a disk, and the network, which nothing counts yet.
IO = tuple(
    Resource(kind, "sda")
    for kind in (Kind.DISK_READ, Kind.DISK_WRITE, Kind.DISK_READ_OPS, Kind.DISK_WRITE_OPS)
)
RATES = (*IO, Resource(Kind.NET_OUT), Resource(Kind.NET_IN))
RATE_PER_TENANT = 1e6


def config_of(count: int, *, has_rates: bool = False) -> Config:
    """Return a host of `count` tenants of mixed classes, with floors on a third of what it has."""
    cores, memory = CORES_PER_TENANT * count, BYTES_PER_TENANT * count
    floors = {
        Resource.CPU: Entitlement(floor=cores / count / 3),
        Resource.MEMORY: Entitlement(floor=memory / count / 3),
    }
    tenants = tuple(
        Tenant(f"t{n:05}", DEFAULT_QOS[n % len(DEFAULT_QOS)], floors) for n in range(count)
    )
    capacity = {Resource.CPU: cores, Resource.MEMORY: float(memory)}
    if has_rates:
        capacity |= dict.fromkeys(RATES, RATE_PER_TENANT * count)
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
        self.read_s = 0.0  # CPU time of making the last sample, which is no part of a tick
        nothing = np.full(count, np.inf)
        self.limits = Limits(
            nothing.copy(), np.full(count, 100.0), nothing, np.zeros(count), nothing.copy()
        )

    def usage(self) -> Floats:
        """Return one instant's usage as the forecaster's series: cpu, memory, then the disk's."""
        noise = self._random.lognormal(0.0, 0.3, self._count)
        disk = [self._rate * noise] * len(IO) if self._has_rates else []
        return np.concatenate([self._cpu * noise, self._memory, *disk])

    def read(self, taken_at_s: float) -> HostSample:
        """Return the next sample, a second later."""
        began_s = time.process_time()
        zero = np.zeros(self._count)
        cpu = np.minimum(self.usage()[: self._count], self.limits.cpu_max_cores)
        self._used_us = self._used_us + cpu * 1e6
        self._done = self._done + self._rate * self._random.lognormal(0.0, 0.3, self._count)
        disks = DiskColumns(("sda",), *[self._done[None]] * len(IO))
        sample = HostSample(
            taken_at_s=taken_at_s,
            cgroup_id=np.arange(1, self._count + 1),
            cpu_usage_us=self._used_us,
            cpu_periods=np.full(self._count, taken_at_s * 10),
            cpu_throttled_periods=zero,
            cpu_throttled_us=zero,
            memory_current_bytes=self._memory,
            memory_high_events=zero,
            memory_oom_kills=zero,
            populated=zero + 1,
            memory_unreclaimable_bytes=self._memory * 0.6,
            memory_stalled_us=zero,
            memory_stalled_at_us=zero,
            io_stalled_us=zero,
            io_stalled_at_us=zero,
            io_read_bytes=zero,
            io_write_bytes=zero,
            io_read_ops=zero,
            io_write_ops=zero,
            net_out_bytes=np.full(self._count, np.nan),
            net_in_bytes=np.full(self._count, np.nan),
            requests=np.full(self._count, np.nan),
            in_force=self.limits,
            disks=disks if self._has_rates else DiskColumns(),
        )
        self.read_s = time.process_time() - began_s
        return sample

    def close(self) -> None:
        """Nothing is open."""

    def apply(self, changes: Changes) -> Outcomes:
        """Take changes, to be in force at the next tick: writing is not what is measured."""
        result = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        after = changes.after
        return Outcomes(changes.control, changes.tenant, after, after, result)

    def written_beside(self) -> dict[Control, dict[int, set[float]]]:
        """Have written nothing beside the ticks."""
        return {}

    def open_up(self, tenant: int) -> None:
        """Have all files already."""

    def protect_root(self, *_: object, **__: object) -> None:
        """Protect nothing: there is no root."""

    def obey(self, record: TickRecord) -> None:
        """Let the limits that a tick wanted be in force at the next."""
        for changes in record.changes:
            if not isinstance(changes.control, Control):
                continue
            column = self.limits.of(changes.control).copy()
            column[changes.tenant] = changes.after
            name = str(changes.control).replace(".", "_") + {
                "cpu.max": "_cores",
                "memory.high": "_bytes",
                "memory.low": "_bytes",
            }.get(str(changes.control), "")
            self.limits = replace(self.limits, **{name: column})


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


class Bench:
    """One host of `count` tenants, ticked on a clock of its own."""

    def __init__(self, count: int, *, has_rates: bool = False) -> None:
        config = config_of(count, has_rates=has_rates)
        self.world, self.now_s = World(count, has_rates=has_rates), 1.0
        n_series = len(self.world.usage())
        steps = ForecastSettings().kept_steps(n_series)
        self.history = History(n_series, steps)  # as much as the agent keeps for its forecaster
        for _ in range(PAST_STEPS):
            self.history.append(self.world.usage())
        profile = fallback_profile(self.history.recent(MAXIMUM_STEPS), step=PAST_STEPS)
        self.loop = ControlLoop(
            Roster.of(config.tenants, config.resources),
            policy_of(config),
            replace(loop_settings(config, thrift_of(config)), step_s=1e9),
            kernel=Kernel(self.world, self.world),
            forecaster=Ready(profile),  # type: ignore[arg-type]
            ledgers={},
        )
        self.decided_s = 0.0
        for part in (observed, decide):
            setattr(agent.tick, part.__name__, self.timed(part))

    def tick(self) -> tuple[float, float]:
        """Run one tick; return the CPU seconds of its decision and of all the rest but reading."""
        self.now_s += 1.0
        self.decided_s = 0.0
        began_s = time.process_time()
        record = self.loop.tick(self.now_s, late_ticks=0)
        whole_s = time.process_time() - began_s
        self.world.obey(record)
        return self.decided_s, whole_s - self.decided_s - self.world.read_s

    def timed(self, part: Callable[..., T]) -> Callable[..., T]:
        """Return `part` with its CPU time added to the decision's."""

        def run(*arguments: object, **options: object) -> T:
            began_s = time.process_time()
            answer = part(*arguments, **options)
            self.decided_s += time.process_time() - began_s
            return answer

        return run


def main() -> None:
    """Measure one size in this process, and write the result."""
    mount, result, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    progress(f"deciding for {count} tenants")
    rounds = ROUNDS.get(count, 21)
    with cgroups(mount, count) as (root, names):
        bench = Bench(count)
        sampler = Sampler(root, names)
        for _ in range(20):
            sampler.read(0.0)
            bench.tick()
        decide_s, plan_s = np.median([bench.tick() for _ in range(rounds)], axis=0)
        recent = bench.history.recent(MAXIMUM_STEPS)
        fallback_ms = median_ms(lambda: fallback_profile(recent, step=0), rounds)
        sampler.close()
    del bench
    all_bench = Bench(count, has_rates=True)
    for _ in range(5):
        all_bench.tick()
    all_s = np.median([sum(all_bench.tick()) for _ in range(rounds)])
    said = {
        "tenants": count,
        "decide_ms": decide_s * 1e3,
        "plan_ms": plan_s * 1e3,
        "every_resource_ms": all_s * 1e3,
        "fallback_ms": fallback_ms,
        "rss_mib": memory_mib("VmRSS"),
        "peak_rss_mib": memory_mib("VmHWM"),
    }
    result.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
