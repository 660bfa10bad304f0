"""Killed with -9 at random instants, under load, and started again: nothing jumps, nothing is lost.

TIDEGATE_KILLS says how often (`make soak`: 200), TIDEGATE_SEED when.
"""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from agents import memory_high, memory_max, quota_cores
from tenants import HOLD_ANON, MIB, cpu_used_s, living_in, order

from agent.checkpoint import Checkpoint
from agent.client import AgentError, get
from agent.config import load_host
from agent.release import release
from agent.settings import DEFAULT_QOS
from agent.tenant import BASIC, Resource, Roster, Tenant
from agent.tokens import Ledger
from enforce.columns import Floats

pytestmark = pytest.mark.kernel

KILLS = int(os.environ.get("TIDEGATE_KILLS", "20"))
MOST_KILLS = 3 * KILLS  # where a busy machine lets few starts be seen in time
TICK_S, LEARNING_S, LONGEST_LIFE_S = 0.2, 1.0, 2.0
CAPACITY_CORES, FLOOR_CORES, HELD_MIB, MOST_MIB = 0.4, 0.05, 32, 256
FAIR_CORES = CAPACITY_CORES / 3
NAMES = ("a", "b", "held")
FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low", "memory.max")
PATIENCE_S = 40.0
HOST = f"""
[host]
cgroup_root = "{{root}}"
state_dir = "{{folder}}/state"
runtime_dir = "{{folder}}/run"
cpu_capacity_cores = {CAPACITY_CORES + 0.1:.1f}
cpu_reserve_cores = 0.1
[periods]
tick_s = {TICK_S}
step_s = 10
horizon_s = 10
refit_s = 3600
learning_s = {LEARNING_S}
[modes]
cpu = "strict"
[log]
level = "error"
"""
# Forks an agent for each line, which saves the time of its imports: what runs is the service.
_NURSERY = """
import os, sys
from pathlib import Path
from agent.service import run
config = Path(sys.argv[1])
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        run(config, config.parent / "tenants.d")
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""
# Busy and idle in turn, so that limits move all the time.
_WAVES = """import os, sys, time
open(sys.argv[1] + '/cgroup.procs', 'w').write('0')
print('ready', flush=True)
busy_s, idle_s = float(sys.argv[2]), float(sys.argv[3])
while True:
    ends_s = time.monotonic() + busy_s
    while time.monotonic() < ends_s: pass
    time.sleep(idle_s)
"""


@contextmanager
def nursery(config: Path) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-c", _NURSERY, str(config)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        try:
            yield it
        finally:
            it.kill()


def born(it: "subprocess.Popen[str]") -> int:
    assert it.stdin is not None
    assert it.stdout is not None
    it.stdin.write("\n")
    it.stdin.flush()
    return int(it.stdout.readline())


def buried(it: "subprocess.Popen[str]") -> None:
    assert it.stdout is not None
    assert it.stdout.readline() == "ended\n"


def files(root: Path) -> dict[str, str]:
    return {f"{name}/{file}": (root / name / file).read_text() for name in NAMES for file in FILES}


def host_said(socket: Path) -> dict[str, int]:
    """Return what the agent says of its host; nothing while it starts."""
    try:
        host: dict[str, int] = json.loads(get(socket, "/v1/status"))["host"]
    except AgentError:
        return {}
    return host


def quotas_in(root: Path) -> dict[str, float]:
    """Return the quotas of one instant, though an agent may be writing: those read twice alike."""
    while True:
        first, again = ({name: quota_cores(root / name) for name in NAMES} for _ in range(2))
        if first == again:
            return first


def check_promises(root: Path) -> None:
    """What holds at any instant, whoever lives: floors, memory that is held, and law 2."""
    quotas = quotas_in(root)
    assert min(quotas.values()) >= FLOOR_CORES - 1e-5, quotas
    assert sum(quotas.values()) <= CAPACITY_CORES + 1e-4, quotas
    assert memory_high(root / "held") >= (HELD_MIB + 12) * MIB
    assert [memory_max(root / name) for name in NAMES] == [math.inf, math.inf, MOST_MIB * MIB]


def check_no_jump(before: dict[str, float], after: dict[str, float]) -> None:
    """While it learns, none rises but to its fair share, and none falls but for that, to its own.

    A tenant that is throttled below its fair share is guaranteed it, whoever holds more (rule 7).
    """
    for name, then in before.items():
        least, most = min(then, FAIR_CORES) * 0.98, max(then, FAIR_CORES) * 1.02
        assert least <= after[name] <= most, (name, then, after[name])
    risen = sum(max(after[name] - then, 0.0) for name, then in before.items())
    fallen = sum(max(then - after[name], 0.0) for name, then in before.items())
    assert fallen <= risen + 0.02 * CAPACITY_CORES, (before, after)


@dataclass(frozen=True)
class Kept:
    """The ledger of cpu as the last tick left it, how many ticks there were, and when it was."""

    ledger: Ledger
    ticks: int
    taken_at_s: float


def kept(folder: Path) -> Kept:
    """Return what the last tick left, of whichever agent."""
    roster = Roster.of(Tenant(name, DEFAULT_QOS[0], {}) for name in NAMES)
    checkpoint, nothing = Checkpoint(folder / "run"), {r: Ledger.opened(3) for r in BASIC}
    sample = checkpoint.sample(roster, ())
    assert sample is not None
    ledger = checkpoint.ledgers(roster, nothing)[Resource.CPU]
    return Kept(ledger, checkpoint.number, sample.taken_at_s)


class Storm:
    """An agent that is killed and started over and over, and what is to hold each time."""

    def __init__(self, it: "subprocess.Popen[str]", root: Path, folder: Path) -> None:
        self._it, self._root, self._folder = it, root, folder
        self._socket = folder / "run/control.sock"
        self.pid = born(it)
        self.states: set[tuple[float, ...]] = set()
        self.watched = 0  # starts that were seen within what they learn

    def work_off(self) -> None:
        """Wait until what was found without limits is within the capacity."""
        deadline_s = time.monotonic() + PATIENCE_S
        while sum(quota_cores(self._root / name) for name in NAMES) > CAPACITY_CORES + 1e-4:
            assert time.monotonic() < deadline_s, "what was found is not worked off"
            time.sleep(TICK_S)

    def strike(self) -> tuple[dict[str, float], Kept]:
        """Kill it; return the limits and what the last tick knew."""
        os.kill(self.pid, signal.SIGKILL)
        buried(self._it)
        dead = files(self._root)
        check_promises(self._root)
        limits = {name: quota_cores(self._root / name) for name in NAMES}
        self.states.add(tuple(limits.values()))
        left = kept(self._folder)
        assert files(self._root) == dead, "the dead write nothing"
        return limits, left

    def restart(self, limits: dict[str, float], left: Kept, *, is_watched: bool) -> None:
        """Start it again, and see that its first ticks move nothing and book what was."""
        began_s = time.monotonic()
        self.pid = born(self._it)
        while is_watched and kept(self._folder).ticks == left.ticks:
            assert time.monotonic() < began_s + PATIENCE_S, "it does not tick"
            check_promises(self._root)
            time.sleep(0.01)
        seen, now = kept(self._folder), quotas_in(self._root)
        ended_s = time.monotonic()
        moved = np.abs(seen.ledger.balance - left.ledger.balance)
        assert np.all(moved <= ended_s - left.taken_at_s + TICK_S), moved
        # Asked after that was read: who has been busy with other things for long learns no more.
        if seen.ticks == left.ticks + 1 and host_said(self._socket).get("is_learning"):
            check_no_jump(limits, now)
            self.watched += 1

    def status(self) -> dict[str, int]:
        """Return what the agent says of its host once it has ticked a few times."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (host := host_said(self._socket)).get("tick", 0) < 3:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        return host


def configured(root: Path, folder: Path) -> Path:
    (folder / "tenants.d").mkdir()
    config = folder / "tidegate.toml"
    config.write_text(HOST.format(root=root, folder=folder))
    for name in NAMES:
        (root / name).mkdir()
        floors = f"[cpu]\nfloor_cores = {FLOOR_CORES}\n"
        most = f'memory_max_bytes = "{MOST_MIB}M"\n' if name == "held" else ""
        (folder / "tenants.d" / f"{name}.toml").write_text(f'qos = "silver"\n{most}{floors}')
    return config


def used_s(root: Path) -> Floats:
    return np.array([cpu_used_s(root / name) for name in NAMES])


@pytest.mark.timeout(30 * KILLS)
def test_killed_at_random_instants_nothing_jumps_and_nothing_is_lost_or_booked_twice(
    cgroup_root: Path, tmp_path: Path
) -> None:
    config = configured(cgroup_root, tmp_path)
    untouched = files(cgroup_root)
    seed = int(os.environ.get("TIDEGATE_SEED", "1"))
    draw = random.Random(seed)  # noqa: S311 - the same instants each time
    with ExitStack() as stack:
        holder = stack.enter_context(living_in(cgroup_root / "held", HOLD_ANON))
        order(holder, HELD_MIB)
        for name, (busy_s, idle_s) in {"a": ("0.9", "0.5"), "b": ("0.4", "0.7")}.items():
            stack.enter_context(living_in(cgroup_root / name, _WAVES, busy_s, idle_s))
        storm = Storm(stack.enter_context(nursery(config)), cgroup_root, tmp_path)
        storm.work_off()
        before, used_before = kept(tmp_path), used_s(cgroup_root)
        edges_s = time.monotonic() - before.taken_at_s
        for number in takewhile(
            lambda it: it < KILLS or storm.watched <= KILLS / 4, range(MOST_KILLS)
        ):
            time.sleep(draw.uniform(0.0, LONGEST_LIFE_S))
            limits, left = storm.strike()
            # Killed as it starts, every now and then.
            storm.restart(limits, left, is_watched=number % 5 != 4)
        host = storm.status()
        storm.strike()
        after, used = kept(tmp_path), used_s(cgroup_root) - used_before
        edges_s += time.monotonic() - after.taken_at_s
    assert (host["drift_total"], host["failed_ticks"]) == (0, 0)
    assert len(storm.states) > KILLS / 4, "limits stood still: nothing was tried"
    assert storm.watched > KILLS / 4, "no start was seen in time"
    # All that the kernel counted was booked, once, but for what passed since a tick at either end.
    first, last = before.ledger, after.ledger
    spent = last.spent - first.spent
    assert np.all(np.abs(spent - used) <= edges_s), (spent, used, edges_s)
    came, went = last.issued - first.issued, spent + last.expired - first.expired
    assert np.allclose(came, went + last.balance - first.balance, atol=1e-6)
    release(load_host(config))
    assert files(cgroup_root) == untouched
