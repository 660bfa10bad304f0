"""The whole agent on a real kernel: the daemon's ticks, the real forecaster beside it."""

import math
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from agents import TENANT, TICK_S, Agent, memory_high, quota_cores, until
from tenants import (
    HOLD_ANON,
    MIB,
    SPIN,
    SPIN_A_LITTLE,
    cpu_used_s,
    is_done,
    living_in,
    order,
    tell,
    wait_until,
)

from agent.daemon import Daemon
from agent.sole import AgentRunningError, RootLock
from agent.tenant import Resource

pytestmark = pytest.mark.kernel


@pytest.fixture
def agent(cgroup_root: Path, tmp_path: Path) -> Iterator[Agent]:
    with closing(Agent(tmp_path, cgroup_root, learning_s=0)) as agent:
        yield agent


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def cpu_usage_of(agent: Agent, name: str) -> float:
    """Return what a tenant used in the last tick, in cores."""
    record = agent.daemon.record
    assert record is not None
    return float(record.resources[Resource.CPU].usage[record.roster.names.index(name)])


def test_a_spike_raises_the_limit_within_two_ticks(agent: Agent, cgroup_root: Path) -> None:
    agent.tick(8)
    before = quota_cores(cgroup_root / "spiky")
    with living_in(cgroup_root / "spiky", SPIN):
        for _ in range(4):  # in which it spins: what else is busy here may let it wait
            agent.tick(2)
            if cpu_usage_of(agent, "spiky") > 0.9 * before:
                break
        after = quota_cores(cgroup_root / "spiky")
    # Two idle tenants share 0.9 cores; one that spins is worth all but the other's floor.
    assert before == pytest.approx(0.45, abs=0.05)
    assert after >= 0.7


def test_a_limit_rises_before_a_known_event_starts(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    event = (
        f'[[events]]\nname = "sale"\nstart = {start.isoformat(timespec="seconds")}\n'
        'duration_s = "1h"\nmultiplier = 4\n'
    )
    spiky = tmp_path / "tenants.d" / "spiky.toml"
    with (
        living_in(cgroup_root / "spiky", SPIN_A_LITTLE),
        living_in(cgroup_root / "calm", SPIN),
    ):
        agent.tick(16)
        until(agent, lambda: quota_cores(cgroup_root / "spiky") < 0.35)
        before = quota_cores(cgroup_root / "spiky")
        agent.write_host(more='[calendar]\nlead_s = "2h"\n')
        spiky.write_text(f"{TENANT}{event}")
        assert agent.reload_problem() is None
        agent.tick(4)
        after = quota_cores(cgroup_root / "spiky")
        assert after > before + 0.1
        # Nothing but the calendar says so; a host may stand still while it runs, and count that.
        until(agent, lambda: cpu_usage_of(agent, "spiky") < after - 0.1)


def test_limits_never_sum_to_more_than_the_capacity_while_demand_moves(
    agent: Agent, cgroup_root: Path
) -> None:
    agent.tick(12)  # what was found without a limit is worked off first
    for spinning in ("spiky", "calm"):
        with living_in(cgroup_root / spinning, SPIN):
            for _ in range(6):
                agent.tick()
                total = sum(quota_cores(cgroup_root / name) for name in ("calm", "spiky"))
                assert total <= 0.9 + 1e-4


@pytest.mark.parametrize("ticks_without", [0, 2])
def test_limits_that_go_with_a_controller_are_back_once_it_is(
    agent: Agent, cgroup_root: Path, ticks_without: int
) -> None:
    agent.tick(12)
    with living_in(cgroup_root / "spiky", SPIN), living_in(cgroup_root / "calm", SPIN):
        agent.tick(8)
        (cgroup_root / "cgroup.subtree_control").write_text("-cpu")
        if ticks_without:
            agent.tick(ticks_without)
        (cgroup_root / "cgroup.subtree_control").write_text("+cpu")
        assert quota_cores(cgroup_root / "calm") == math.inf
        agent.tick()
        total = sum(quota_cores(cgroup_root / name) for name in ("calm", "spiky"))
        assert total <= 0.9 + 1e-4


def test_a_cgroup_that_is_removed_is_made_again_and_limited_again(
    agent: Agent, cgroup_root: Path
) -> None:
    agent.tick(4)
    with living_in(cgroup_root / "calm", SPIN):
        agent.tick(4)
        (cgroup_root / "spiky").rmdir()
        record = agent.tick()
        gone = record.roster.names.index("spiky")
        # Unknowable, not zero and no spike; the other tenant is sampled and limited as ever.
        assert np.isnan(record.resources[Resource.CPU].usage[gone])
        assert record.resources[Resource.CPU].usage[1 - gone] > 0.1
        record = agent.tick(4)
    assert (cgroup_root / "spiky").is_dir()
    assert quota_cores(cgroup_root / "spiky") < 1
    assert record.resources[Resource.CPU].usage[gone] == pytest.approx(0.0, abs=0.02)


def test_a_cgroup_that_another_makes_again_at_once_is_taken_over(
    agent: Agent, cgroup_root: Path
) -> None:
    agent.tick(6)
    (cgroup_root / "spiky").rmdir()
    (cgroup_root / "spiky").mkdir()
    assert quota_cores(cgroup_root / "spiky") == math.inf
    record = agent.tick(3)
    usage = record.resources[Resource.CPU].usage[record.roster.names.index("spiky")]
    assert usage == pytest.approx(0.0, abs=0.02)
    assert quota_cores(cgroup_root / "spiky") < 1


def test_a_restart_adopts_what_is_in_force_and_moves_nothing_while_it_learns(
    cgroup_root: Path, tmp_path: Path
) -> None:
    with closing(Agent(tmp_path, cgroup_root, learning_s=0)) as first:
        spinner = ExitStack()
        spinner.enter_context(living_in(cgroup_root / "calm", SPIN))
        first.tick(24)  # by now what was found without a limit is worked off
    with spinner:
        before = {name: quota_cores(cgroup_root / name) for name in ("calm", "spiky")}
        assert sum(before.values()) <= 0.9 + 1e-4
        with closing(Agent(tmp_path, cgroup_root, learning_s=60)) as second:
            for _ in range(6):
                second.tick()
                now = {name: quota_cores(cgroup_root / name) for name in ("calm", "spiky")}
                assert now == before


def is_done_soon(process: subprocess.Popen[str]) -> bool:
    """Say whether a step is done within less than a tick, as it is if nothing holds it up."""
    for _ in range(5):
        time.sleep(TICK_S / 10)
        if is_done(process):
            return True
    return False


def test_while_learning_a_tenant_grows_beyond_its_ceiling_by_what_it_cannot_give_back_in_time(
    cgroup_root: Path, tmp_path: Path
) -> None:
    """Below that it would only crawl: the kernel makes it wait for each page."""
    (cgroup_root / "calm").mkdir()
    (cgroup_root / "calm" / "memory.high").write_text("32M")  # what an agent left behind
    with closing(Agent(tmp_path, cgroup_root, learning_s=60)) as agent:
        ceiling = TENANT + '[memory]\nceiling_bytes = "32M"\n'
        (tmp_path / "tenants.d" / "calm.toml").write_text(ceiling)
        assert agent.reload_problem() is None
        with living_in(cgroup_root / "calm", HOLD_ANON) as process:
            agent.tick(4)
            ticks = 0
            for _ in range(80):
                tell(process, 1)
                if is_done_soon(process):
                    continue
                while not is_done(process):
                    agent.tick()
                    ticks += 1
        # Six raises; where what it holds waited for its turn to be counted it took 19 ticks.
        assert ticks <= 10


def test_a_floor_holds_at_once_after_a_restart_also_where_nobody_else_may_be_lowered(
    cgroup_root: Path, tmp_path: Path
) -> None:
    (cgroup_root / "spiky").mkdir()
    (cgroup_root / "calm").mkdir()
    (cgroup_root / "calm" / "cpu.max").write_text("1000 100000")  # while the agent was stopped
    with closing(Agent(tmp_path, cgroup_root, learning_s=60)) as agent:
        (tmp_path / "tenants.d" / "spiky.toml").write_text("observe = true\n" + TENANT)
        assert agent.reload_problem() is None
        agent.tick()
        assert quota_cores(cgroup_root / "calm") >= 0.1
        assert quota_cores(cgroup_root / "spiky") == math.inf


def test_balances_outlive_a_restart(cgroup_root: Path, tmp_path: Path) -> None:
    with (
        closing(Agent(tmp_path, cgroup_root, learning_s=0)) as first,
        living_in(cgroup_root / "calm", SPIN),
    ):
        last = first.tick(10)
        spent = last.resources[Resource.CPU].balance
    with closing(Agent(tmp_path, cgroup_root, learning_s=0)) as second:
        kept = second.daemon._loop.ledgers[Resource.CPU].balance
        record = second.tick()
        settled = record.resources[Resource.CPU].balance
    assert spent[0] < -0.3  # `calm` overspent
    assert kept.tolist() == spent.tolist()
    # The first tick after a restart settles what was used and came in since the last one.
    assert np.all(np.abs(settled - kept) <= record.taken_at_s - last.taken_at_s)


def test_a_bad_change_keeps_the_old_configuration_and_a_good_one_is_applied(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    agent.tick(2)
    newcomer = tmp_path / "tenants.d" / "newcomer.toml"
    newcomer.write_text('qos = "diamond"\n')
    assert "newcomer" in (agent.reload_problem() or "")
    assert agent.tick().roster.names == ("calm", "spiky")
    newcomer.write_text(TENANT)
    assert agent.reload_problem() is None
    assert agent.tick(3).roster.names == ("calm", "newcomer", "spiky")
    wait_until(lambda: agent.tick() is not None and quota_cores(cgroup_root / "newcomer") < 1)


def test_a_tenant_that_is_removed_gets_back_what_its_files_held(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    with living_in(cgroup_root / "spiky", SPIN), living_in(cgroup_root / "calm", SPIN):
        agent.tick(6)
        assert quota_cores(cgroup_root / "spiky") < 1
        (tmp_path / "tenants.d" / "spiky.toml").unlink()
        assert agent.reload_problem() is None
        found = {"cpu.max": "max 100000", "cpu.weight": "100", "memory.high": "max"}
        for file, text in {**found, "memory.low": "0"}.items():
            assert (cgroup_root / "spiky" / file).read_text().strip() == text
        assert agent.tick(2).roster.names == ("calm",)
        assert quota_cores(cgroup_root / "spiky") == math.inf
        assert quota_cores(cgroup_root / "calm") < 1
    (tmp_path / "tenants.d" / "idle.toml").write_text(TENANT)
    assert agent.reload_problem() is None
    agent.tick(2)
    (tmp_path / "tenants.d" / "idle.toml").unlink()
    assert agent.reload_problem() is None
    assert not (cgroup_root / "idle").exists()  # nobody lives there
    assert not agent.daemon.facts().problems()


def test_a_tenant_that_is_removed_while_the_agent_is_stopped_gets_its_files_back_at_start(
    cgroup_root: Path, tmp_path: Path
) -> None:
    first = Agent(tmp_path, cgroup_root, learning_s=0)
    with living_in(cgroup_root / "spiky", SPIN):
        first.tick(4)
        (tmp_path / "tenants.d" / "spiky.toml").unlink()
        first.close()
        assert quota_cores(cgroup_root / "spiky") < 1
        with closing(Daemon(first.reread(), first.reread)) as second:
            wait_until(lambda: not second.is_releasing)
            assert quota_cores(cgroup_root / "spiky") == math.inf


def test_a_start_without_any_tenant_leaves_all_as_it_is_until_a_reload_finds_one(
    cgroup_root: Path, tmp_path: Path
) -> None:
    """As where the file system with tenants' files is not mounted yet."""
    folder, aside = tmp_path / "tenants.d", tmp_path / "aside"
    agent = Agent(tmp_path, cgroup_root, learning_s=0)
    (folder / "calm.toml").write_text(TENANT + '[memory]\nfloor_bytes = "32M"\n')
    assert agent.reload_problem() is None
    with living_in(cgroup_root / "spiky", SPIN):
        agent.tick(4)
        before = files_of(cgroup_root)
        assert int(before["memory.low"]) >= 32 * MIB
        agent.close()
        folder.rename(aside)
        folder.mkdir()
        with closing(Daemon(agent.reread(), agent.reread)) as daemon:
            agent.daemon = daemon
            agent.tick(2)
            assert agent.reload_problem() is None
            agent.tick(2)
            assert files_of(cgroup_root) == before
            assert "no tenant since the start" in daemon.facts().problems()[0]
            (folder / "calm.toml").write_text(TENANT)
            assert agent.reload_problem() is None
            assert not daemon.facts().problems()
            assert quota_cores(cgroup_root / "spiky") == math.inf


def files_of(root: Path) -> dict[str, str]:
    """Return what tidegate writes of the root and of its standard tenants."""
    files = ("cpu.max", "cpu.weight", "memory.high", "memory.low")
    paths = [root / "memory.low", *(root / n / f for n in ("calm", "spiky") for f in files)]
    return {str(path.relative_to(root)): path.read_text().strip() for path in paths}


def test_what_cannot_be_put_back_is_told_and_holds_up_no_reload(
    cgroup_root: Path, tmp_path: Path
) -> None:
    (cgroup_root / "spiky").mkdir()
    (cgroup_root / "spiky" / "memory.high").write_text("24M")
    with ExitStack() as stack:
        agent = stack.enter_context(closing(Agent(tmp_path, cgroup_root, learning_s=0)))
        holder = stack.enter_context(ExitStack())
        process = holder.enter_context(living_in(cgroup_root / "spiky", HOLD_ANON))
        wait_until(
            lambda: agent.tick() is not None and memory_high(cgroup_root / "spiky") > 80 * MIB
        )
        order(process, 32)
        spiky = tmp_path / "tenants.d" / "spiky.toml"
        spiky.unlink()
        assert agent.reload_problem() is None
        assert agent.tick().roster.names == ("calm",)
        told = agent.daemon.facts().problems()
        assert len(told) == 1
        assert "spiky/memory.high" in told[0]
        assert 32 * MIB < memory_high(cgroup_root / "spiky") < 80 * MIB
        assert quota_cores(cgroup_root / "spiky") == math.inf
        holder.close()
        assert agent.reload_problem() is None
        assert memory_high(cgroup_root / "spiky") == 24 * MIB
        assert not agent.daemon.facts().problems()


def test_a_tenant_that_is_only_observed_for_a_while_gets_back_what_its_files_held(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    spiky = cgroup_root / "spiky"
    with living_in(spiky, SPIN), living_in(cgroup_root / "calm", SPIN):
        agent.tick(6)
        assert quota_cores(spiky) < 1
        (tmp_path / "tenants.d" / "spiky.toml").write_text("observe = true\n" + TENANT)
        assert agent.reload_problem() is None
        agent.tick(2)
        found = {"cpu.max": "max 100000", "cpu.weight": "100", "memory.high": "max"}
        for file, text in {**found, "memory.low": "0"}.items():
            assert (spiky / file).read_text().strip() == text
        assert quota_cores(cgroup_root / "calm") < 1
        (spiky / "cpu.weight").write_text("77")  # its owner's
        (tmp_path / "tenants.d" / "spiky.toml").write_text(TENANT)
        assert agent.reload_problem() is None
        agent.tick(6)
        assert quota_cores(spiky) < 1
        assert (spiky / "cpu.weight").read_text() != "77\n"
        agent.write_host(observe="true")
        assert agent.reload_problem() is None
        agent.tick()
        assert (spiky / "cpu.weight").read_text() == "77\n"
        for path in (spiky, cgroup_root / "calm"):
            assert quota_cores(path) == math.inf
        assert (cgroup_root / "memory.low").read_text() == "0\n"
        assert not agent.daemon.facts().problems()


@pytest.mark.parametrize("mode", ["elastic", "strict"])
def test_less_capacity_lowers_limits_that_stood_above_it_in_the_kernel(
    agent: Agent, cgroup_root: Path, mode: str
) -> None:
    """What was all that is to be divided is more than that now, and less than the machine has."""
    agent.write_host(cores=0.85, mode=mode)
    assert agent.reload_problem() is None
    agent.tick(2)
    agent.write_host(cores=0.4, mode=mode)
    assert agent.reload_problem() is None
    for name in ("calm", "spiky"):
        (cgroup_root / name / "cpu.max").write_text("60000 100000")
    record = agent.tick(12)
    for name, limit in zip(record.roster.names, record.resources[Resource.CPU].limit, strict=True):
        assert quota_cores(cgroup_root / name) == pytest.approx(limit, rel=0.03)
        assert limit <= 0.4


def test_beside_floors_that_fill_the_capacity_nobody_stands_still_nor_waits_for_a_floor_of_its_own(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    """At the least cpu.weight beside theirs it ran not once in 25 s, nor 24 s after a raise."""
    agent.write_host(mode="elastic")
    floors = {"calm": 0.5, "spiky": 0.4, "poor": 0.0}
    with ExitStack() as spinners:
        promise(tmp_path, floors)
        assert agent.reload_problem() is None
        for name in floors:
            spinners.enter_context(living_in(cgroup_root / name, SPIN))
            agent.tick(4)
        used = [cpu_used_s(cgroup_root / "poor")]
        window = round(6 / TICK_S)
        for _ in range(window + window // 2):
            agent.tick()
            used.append(cpu_used_s(cgroup_root / "poor"))
        assert all(late > early for early, late in zip(used, used[window:], strict=False)), used
        promise(tmp_path, dict.fromkeys(floors, 0.3))
        assert agent.reload_problem() is None
        agent.tick(window // 2)
        before, before_s, rate = cpu_used_s(cgroup_root / "poor"), time.monotonic(), 0.0
        for _ in range(4):  # time that a host takes away is made up for later
            agent.tick(4)
            rate = (cpu_used_s(cgroup_root / "poor") - before) / (time.monotonic() - before_s)
            if rate >= 0.25:
                break
        assert rate >= 0.25


def promise(folder: Path, floors: dict[str, float]) -> None:
    """Write tenants' files with these floors, in cores."""
    for name, floor in floors.items():
        text = f'qos = "silver"\n[cpu]\nfloor_cores = {floor}\n'
        (folder / "tenants.d" / f"{name}.toml").write_text(text)


def test_a_newcomer_without_a_limit_takes_nothing_from_a_busy_tenant(
    cgroup_root: Path, tmp_path: Path
) -> None:
    with (
        closing(Agent(tmp_path, cgroup_root, learning_s=5)) as agent,
        living_in(cgroup_root / "calm", SPIN),
    ):
        agent.tick(16)
        before = quota_cores(cgroup_root / "calm")
        (tmp_path / "tenants.d" / "newcomer.toml").write_text('qos = "silver"\n')
        assert agent.reload_problem() is None
        agent.tick(4)  # while the newcomer is still learned
        assert before >= 0.65
        # It is unknown what the newcomer will need; the busy tenant keeps what it is known to.
        assert quota_cores(cgroup_root / "calm") >= 0.5


def test_an_observing_agent_writes_nothing(cgroup_root: Path, tmp_path: Path) -> None:
    with closing(Agent(tmp_path, cgroup_root, learning_s=0, observe="true")) as observer:
        for name in ("calm", "spiky"):
            (cgroup_root / name).mkdir()
        record = observer.tick(3)
    assert sum(map(len, record.unwritten)) > 0
    assert sum(map(len, record.changes)) == 0
    assert quota_cores(cgroup_root / "calm") == math.inf


def test_one_root_has_one_agent_that_sets_limits_and_any_that_only_observe(
    cgroup_root: Path, tmp_path: Path
) -> None:
    with closing(Agent(tmp_path / "first", cgroup_root, learning_s=0)):
        with pytest.raises(AgentRunningError) as caught:
            Agent(tmp_path / "second", cgroup_root, learning_s=0)
        assert caught.value.pid == os.getpid()
        observer = Agent(tmp_path / "third", cgroup_root, learning_s=0, observe="true")
        observer.write_host(observe="false")
        assert "running already" in (observer.reload_problem() or "")
        assert observer.tick().is_observing
    with closing(observer):
        assert observer.reload_problem() is None
        assert not observer.tick().is_observing


def test_churn_of_cgroups_and_rosters_leaks_no_descriptor_and_breaks_no_floor(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    comer = tmp_path / "tenants.d" / "comer.toml"
    agent.tick(4)
    with living_in(cgroup_root / "calm", SPIN):
        descriptors = open_files()
        for turn in range(40):
            if turn % 5 == 0:  # 8 times: it comes and goes
                comer.unlink() if comer.exists() else comer.write_text(TENANT)
                assert agent.reload_problem() is None
            churned = cgroup_root / ("spiky", "comer")[turn % 2]
            if churned.is_dir():
                churned.rmdir()
            if turn % 3 == 0:
                churned.mkdir()
            record = agent.tick()
            for name in record.roster.names:
                assert not (cgroup_root / name).is_dir() or quota_cores(cgroup_root / name) >= 0.1
        agent.tick(2)
        assert open_files() == descriptors


@pytest.mark.skipif(
    os.environ.get("TIDEGATE_LAB") != "1", reason="sets the machine's clock: in the lab only"
)
def test_a_jump_of_the_wall_clock_moves_no_limit_and_books_no_tokens(
    agent: Agent, cgroup_root: Path
) -> None:
    with living_in(cgroup_root / "calm", SPIN):
        record = agent.tick(16)
        for jump_s in (86_400.0, -2 * 86_400.0):
            limits = {name: quota_cores(cgroup_root / name) for name in record.roster.names}
            time.clock_settime(time.CLOCK_REALTIME, time.time() + jump_s)
            later = agent.tick()
            elapsed_s = later.taken_at_s - record.taken_at_s
            moved = later.resources[Resource.CPU].balance - record.resources[Resource.CPU].balance
            assert elapsed_s < 60
            assert np.abs(moved).max() <= elapsed_s  # a host of one core
            for name, limit in limits.items():
                assert quota_cores(cgroup_root / name) == pytest.approx(limit, rel=0.25)
            record = later


def test_a_root_that_is_removed_is_made_and_locked_anew(agent: Agent, cgroup_root: Path) -> None:
    agent.tick(2)
    removed(cgroup_root)
    agent.tick(3)  # sees that all is gone, makes it, finds it
    assert quota_cores(cgroup_root / "calm") > 0
    with pytest.raises(AgentRunningError):
        RootLock(cgroup_root)


def test_nothing_is_written_once_another_agent_has_taken_a_removed_root(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    agent.tick(2)
    removed(cgroup_root)
    with closing(Agent(tmp_path / "other", cgroup_root, learning_s=0)) as other:
        other.tick(3)
        (cgroup_root / "calm" / "cpu.max").write_text("12300 100000")
        for _ in range(3):
            assert not agent.daemon.tick(time.monotonic(), 0)
        assert quota_cores(cgroup_root / "calm") == pytest.approx(0.123)
    for _ in range(3):
        assert agent.daemon.tick(time.monotonic(), 0)


def removed(root: Path) -> None:
    """Remove a cgroup and its children, in which nothing runs."""
    for child in root.iterdir():
        if child.is_dir():
            child.rmdir()
    root.rmdir()
