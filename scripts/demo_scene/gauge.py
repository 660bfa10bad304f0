"""The gauge: reads the kernel's own counters of tenants and host, whoever is in control."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from scripts.demo_scene import scene, stage
from scripts.demo_scene.record import Answer, Moment, TenantNow, Waits

_DAEMON = Path("/sys/fs/cgroup/tidegate.service")
_US_PER_S = 1e6
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE, _IO_WAIT = 4, 5  # columns of /proc/stat's first line, the word "cpu" being 0


@dataclass(frozen=True, slots=True)
class Meters:
    """Counters at one instant, in seconds of one CPU since boot."""

    taken_at_s: float
    usage_core_s: dict[str, float]
    idle_core_s: float
    daemon_core_s: float
    web_refaults: int


def read_meters() -> Meters:
    """Read all counters."""
    return Meters(
        taken_at_s=time.monotonic(),
        usage_core_s={role.name: _usage_core_s(stage.ROOT / role.name) for role in scene.ROLES},
        idle_core_s=idle_core_s(),
        daemon_core_s=daemon_core_s(),
        web_refaults=_keyed(stage.ROOT / "web" / "memory.stat", "workingset_refault_file"),
    )


def idle_core_s() -> float:
    """Return for how long no CPU has had anything to do."""
    host = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(host[_IDLE]) + int(host[_IO_WAIT])) / _TICKS_PER_S


def daemon_core_s() -> float:
    """Return what the agent has used since it started, 0 while it is not there."""
    return _usage_core_s(_DAEMON) if _DAEMON.exists() else 0.0


def moment(before: Meters, now: Meters, ended: Sequence[Answer], start_at_s: float) -> Moment:
    """Return one line of the timeline: what happened between two readings, and limits now."""
    elapsed_s = now.taken_at_s - before.taken_at_s
    at_s = now.taken_at_s - start_at_s
    return Moment(
        at_s=at_s,
        asked_cores=scene.web_demand_cores(at_s - elapsed_s / 2),
        tenants={
            name: _tenant_now(name, (core_s - before.usage_core_s[name]) / elapsed_s)
            for name, core_s in now.usage_core_s.items()
        },
        idle_cores=(now.idle_core_s - before.idle_core_s) / elapsed_s,
        waits=Waits.of(ended),
    )


def _tenant_now(name: str, usage_cores: float) -> TenantNow:
    cgroup = stage.ROOT / name
    quota, period = (cgroup / "cpu.max").read_text().split()
    return TenantNow(
        usage_cores=usage_cores,
        memory_bytes=_number(cgroup / "memory.current"),
        limit_cores=inf if quota == "max" else int(quota) / int(period),
        weight=_number(cgroup / "cpu.weight"),
        high_bytes=_number(cgroup / "memory.high"),
        low_bytes=_number(cgroup / "memory.low"),
    )


def _number(file: Path) -> float:
    word = file.read_text().strip()
    return inf if word == "max" else float(word)


def _usage_core_s(cgroup: Path) -> float:
    return _keyed(cgroup / "cpu.stat", "usage_usec") / _US_PER_S


def _keyed(file: Path, key: str) -> int:
    for line in file.read_text().splitlines():
        name, value = line.split()
        if name == key:
            return int(value)
    raise RuntimeError(f"{file}: no {key}")
