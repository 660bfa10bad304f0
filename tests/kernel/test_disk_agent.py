"""The whole agent on a disk: it divides, holds, follows, adopts and gives back."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from agents import ticked
from blocks import SIZE, WRITE_DIRECT, lab_disk, rate, stacked_on
from click.testing import CliRunner
from measuring import comes_to
from tenants import MIB, living_in, wait_until

from agent.cli import main
from agent.daemon import Daemon
from agent.explain import explain
from agent.host import read_config
from agent.record import TickRecord
from agent.settings import Config
from agent.status import AgentFacts, status
from agent.tenant import Kind, Resource
from enforce.columns import DiskControl

pytestmark = pytest.mark.kernel

TICK_S, CAPACITY = 0.5, 16 * MIB
HOST = """
[host]
cgroup_root = "{root}"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
cpu_reserve_cores = 0.1
[periods]
tick_s = 0.5
step_s = 1
horizon_s = 5
refit_s = 10
learning_s = {learning}
[disk.{disk}]
write_capacity_bytes_per_s = {capacity}
"""
TENANT = 'qos = "{qos}"\n[disk]\nwrite_floor_bytes_per_s = "2M"\n'


class Agent:
    """A daemon ticked by the test: a calm gold tenant, a busy silver one, one only observed."""

    def __init__(self, root: Path, folder: Path, disk: str, *, learning_s: int = 0) -> None:
        self.path, self._tenants, self.name = folder / "tidegate.toml", folder / "tenants.d", disk
        for made in (self._tenants, folder / "state", folder / "run"):
            made.mkdir(exist_ok=True)
        text = HOST.format(
            root=root, folder=folder, disk=disk, capacity=CAPACITY, learning=learning_s
        )
        self.path.write_text(text)
        for name, qos in (("busy", "silver"), ("calm", "gold")):
            (self._tenants / f"{name}.toml").write_text(TENANT.format(qos=qos))
        (self._tenants / "seen.toml").write_text('observe = true\nqos = "silver"\n')
        self.daemon = Daemon(self.reread(), self.reread)
        self._open = ExitStack()
        self._open.callback(self.daemon.close)

    def reread(self, accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(self.path, self._tenants)

    def close(self) -> None:
        self._open.close()

    def tick(self, count: int = 1) -> TickRecord:
        return ticked(self.daemon, count, TICK_S)


@pytest.fixture
def disk() -> Path:
    return lab_disk()


@pytest.fixture
def agent(cgroup_root: Path, tmp_path: Path, disk: Path) -> Iterator[Agent]:
    with closing(Agent(cgroup_root, tmp_path, disk.name)) as agent:
        yield agent


def limit(cgroup: Path, number: str = "wbps") -> float:
    """Return one number of the only line of io.max; inf where there is none."""
    words = (cgroup / "io.max").read_text().split()[1:]
    said = dict(word.split("=") for word in words).get(number, "max")
    return float("inf") if said == "max" else float(said)


def test_a_disk_is_divided_and_who_is_busy_gets_what_is_free_within_two_ticks(
    agent: Agent, cgroup_root: Path, disk: Path
) -> None:
    """Limits never add up to more than there is, and hold; released, all is as it was."""
    busy, calm = cgroup_root / "busy", cgroup_root / "calm"
    resource, at = Resource(Kind.DISK_WRITE, disk.name), agent.tick(12).roster.names.index("busy")
    idle = limit(busy)
    assert idle + limit(calm) <= CAPACITY * 1.001
    with living_in(busy, WRITE_DIRECT, disk, SIZE):
        wait_until(lambda: "wbytes" in (busy / "io.stat").read_text())
        for _ in range(4):  # in which it writes: a busy machine may let it wait
            if agent.tick(2).resources[resource].usage[at] > 0.9 * idle:
                break
        assert limit(busy) > 1.2 * idle
        records = [agent.tick() for _ in range(8)]
        assert limit(busy) + limit(calm) <= CAPACITY * 1.001
        assert limit(calm) >= 2 * MIB
        assert comes_to(limit(busy), partial(rate, busy, disk, "wbytes", over_s=2.0), within=0.1)
    assert any(one.resources[resource].is_censored[at] for one in records)
    record, part = records[-1], records[-1].resources[resource]
    assert part.balance[at] < 0 <= part.balance[1 - at]
    assert limit(cgroup_root / "seen") == float("inf")
    answer = status(record, AgentFacts(tick_s=TICK_S), now_s=record.taken_at_s)
    (pools,) = answer.host.rates
    assert pools.is_enforced
    seen = next(tenant for tenant in answer.tenants if tenant.name == "seen")
    control = f"io.max {disk.name} wbps"
    assert seen.in_force[control] == "max"
    assert int(seen.would_write[control]) < CAPACITY
    assert not any("disk" in problem for problem in record.problems)
    agent.close()
    done = CliRunner().invoke(main, ["release", "--config", str(agent.path)])
    assert done.exit_code == 0, done.output
    assert not busy.exists()  # it was empty, and tidegate's


def test_what_another_writes_to_io_max_is_noticed_in_a_tick_and_left_as_it_is(
    agent: Agent, cgroup_root: Path, disk: Path
) -> None:
    calm, control = cgroup_root / "calm", DiskControl(disk.name, "wbps")
    record = agent.tick(8)
    number = (Path("/sys/class/block") / disk.name / "dev").read_text().strip()
    assert record.drift is not None
    assert record.drift.total == 0
    # What of it nobody divides is nobody's, and less than a floor is for nobody to set.
    for text, value in (
        ("rbps=1000000", limit(calm)),
        ("wbps=9437184", 9 * MIB),
        ("wbps=4096", 2 * MIB),
        ("wbps=max", float("inf")),
    ):
        (calm / "io.max").write_text(f"{number} {text}")
        record = agent.tick()
        assert record.drift is not None
        names = [record.roster.names[one.tenant] for one in record.drift.changes]
        assert names == ["calm"] * text.startswith("wbps"), text
        agent.tick(2)
        assert limit(calm) == pytest.approx(value, rel=0.05), text
    assert record.drift is not None
    assert record.drift.total == 3
    answer = explain(record, "calm", now_s=record.taken_at_s)
    assert answer is not None
    steps = {one.text for chain in answer.chains for one in chain.steps}
    assert any(f"somebody else set {control} to no limit" in text for text in steps)
    agent.daemon.pins.drop([("calm", control)])
    agent.tick()
    assert limit(calm) < CAPACITY
    assert limit(calm, "rbps") == 1e6


def test_a_restart_leaves_the_limits_of_a_disk_where_they_are(
    cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    with closing(Agent(cgroup_root, tmp_path, disk.name)) as agent:
        agent.tick(12)
    before = {name: limit(cgroup_root / name) for name in ("busy", "calm")}
    with closing(Agent(cgroup_root, tmp_path, disk.name, learning_s=600)) as agent:
        for _ in range(3):
            agent.tick()
            after = {name: limit(cgroup_root / name) for name in before}
            assert after == before


def test_a_disk_that_comes_later_goes_and_comes_back_is_limited_while_it_is_there(
    cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    """Named by its name in device-mapper; its limits are gone with it, and back with it."""
    resource = Resource(Kind.DISK_WRITE, "tide-late")
    with closing(Agent(cgroup_root, tmp_path, "tide-late")) as agent:
        for is_there in (False, True, False, True):
            with stacked_on(disk, "tide-late") if is_there else nullcontext():
                record = agent.tick(3)
                said = [one for one in record.problems if one.startswith("disk tide-late")]
                assert bool(said) != is_there
                assert np.isnan(record.resources[resource].in_force).all() != is_there
                assert (limit(cgroup_root / "calm") < CAPACITY) == is_there
