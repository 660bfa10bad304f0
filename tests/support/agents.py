"""The agent in a test's own process, ticked by the test, on a real kernel."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tenants import wait_until

from agent.daemon import Daemon
from agent.host import read_config
from agent.record import TickRecord
from agent.settings import Config
from agent.tenant import Resource

TICK_S, PATIENCE_TICKS = 0.5, 100
HOST = """
[host]
observe = {observe}
cgroup_root = "{root}"
state_dir = "{state}"
runtime_dir = "{state}"
cpu_capacity_cores = {cores}
cpu_reserve_cores = 0.1
[periods]
tick_s = {tick}
step_s = 1
horizon_s = 5
refit_s = 10
learning_s = {learning}
[modes]
cpu = "{mode}"
"""
TENANT = 'qos = "silver"\n[cpu]\nfloor_cores = 0.1\n'


class Agent:
    """A daemon ticked by the test, on a schedule of its own."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        *,
        learning_s: float,
        observe: str = "false",
        tick_s: float = TICK_S,
        more: str = "",
    ) -> None:
        self._tick_s = tick_s
        self._path, self._tenants = folder / "tidegate.toml", folder / "tenants.d"
        self._tenants.mkdir(exist_ok=True, parents=True)
        state = folder / "state"
        state.mkdir(exist_ok=True)
        self._settings = {
            "root": root,
            "state": state,
            "tick": tick_s,
            "learning": learning_s,
            "cores": 1.0,
            "mode": "strict",
        }
        self.write_host(observe=observe, more=more)
        for name in ("calm", "spiky"):
            (self._tenants / f"{name}.toml").write_text(TENANT)
        self.daemon = Daemon(self.reread(), self.reread)

    def write_host(self, *, observe: str = "false", more: str = "", **changed: object) -> None:
        self._path.write_text(HOST.format(**self._settings | changed, observe=observe) + more)

    def close(self) -> None:
        self.daemon.close()

    def reread(self, accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(self._path, self._tenants, accepted)

    def reload_problem(self) -> str | None:
        self.daemon.begin_reload(lambda: None)
        wait_until(lambda: self.daemon.has_loaded)
        self.daemon.end_reload()
        wait_until(lambda: not self.daemon.is_releasing)
        return self.daemon.reload_problem

    def tick(self, count: int = 1) -> TickRecord:
        return ticked(self.daemon, count, self._tick_s)


def ticked(daemon: Daemon, count: int, tick_s: float) -> TickRecord:
    """Tick a daemon so often, of which none may fail, and return its last record."""
    for _ in range(count):
        time.sleep(tick_s)
        daemon.tick(time.monotonic(), 0)
    assert daemon.failed_ticks == 0
    assert daemon.record is not None
    return daemon.record


def until(agent: Agent, is_true: Callable[[], object]) -> None:
    """Tick until a condition holds, but not for ever."""
    for _ in range(PATIENCE_TICKS):
        if is_true():
            return
        agent.tick()
    raise AssertionError(agent.daemon.facts().places_problem)


def quota_cores(cgroup: Path) -> float:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return math.inf if quota == "max" else int(quota) / int(period)


def memory_high(cgroup: Path) -> float:
    return _bytes_of(cgroup / "memory.high")


def memory_max(cgroup: Path) -> float:
    return _bytes_of(cgroup / "memory.max")


def _bytes_of(file: Path) -> float:
    text = file.read_text().strip()
    return math.inf if text == "max" else int(text)
