"""What somebody else writes to tenants' control files, and pins, on a real kernel."""

import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from agents import TENANT, Agent, memory_high, memory_max, quota_cores, until
from tenants import HOLD_ANON, MIB, READ_DISK, SPIN, is_done, living_in, order, scratch_disk, tell

from agent.pins import Origin, Pin
from agent.record import TickRecord
from enforce.columns import Control

pytestmark = pytest.mark.kernel

FLOOR_CORES = 0.1
TICK_S = 0.1
FILES = {"cpu.max": "max", "memory.high": "max", "cpu.weight": "100", "memory.low": "0"}
AT_ONCE = "[pace]\nramp_down_fraction_per_s = 1.0\n"


def agent_on(root: Path, folder: Path) -> Agent:
    return Agent(folder, root, learning_s=0, tick_s=TICK_S, more=AT_ONCE)


@pytest.fixture
def agent(cgroup_root: Path, tmp_path: Path) -> Iterator[Agent]:
    with closing(agent_on(cgroup_root, tmp_path)) as agent:
        yield agent


def bound(agent: Agent, folder: Path, most: str | None, *, more: str = "") -> None:
    """Have calm's file say where the kernel kills, or say nothing of it."""
    line = "" if most is None else f'memory_max_bytes = "{most}"\n'
    (folder / "tenants.d" / "calm.toml").write_text(line + TENANT + more)
    assert agent.reload_problem() is None


def changes(record: TickRecord) -> list[tuple[str, str]]:
    assert record.drift is not None
    names = record.roster.names
    return [(names[one.tenant], str(one.control)) for one in record.drift.changes]


def writes(record: TickRecord, control: Control) -> int:
    return sum(len(one) for one in record.changes if one.control == control)


def total(record: TickRecord) -> int:
    assert record.drift is not None
    return record.drift.total


def goes_on(agent: Agent, process: "subprocess.Popen[str]") -> None:
    """Tick until the process has what it was told to hold: nobody is frozen by us.

    The kernel would let a frozen one have a page or so in two seconds.
    """
    until(agent, lambda: is_done(process))


def test_every_file_that_another_writes_is_noticed_in_a_tick_and_left_as_it_is(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    calm = cgroup_root / "calm"
    bound(agent, tmp_path, "1G")
    assert total(agent.tick(12)) == 0, "what the agent writes itself is no drift"
    texts = {
        "cpu.max": "max 100000",
        "cpu.weight": "777",
        "memory.high": "536870912",
        "memory.low": "33554432",
        "memory.max": "805306368",
    }
    for number, (file, text) in enumerate(texts.items(), start=1):
        (calm / file).write_text(text)
        record = agent.tick()
        assert changes(record) == [("calm", file)]
        assert total(record) == number
    # By another name, which the kernel has for the same weight.
    (cgroup_root / "spiky" / "cpu.weight.nice").write_text("-5")
    assert changes(agent.tick()) == [("spiky", "cpu.weight")]
    agent.tick(6)
    assert {file: (calm / file).read_text().strip() for file in texts} == texts
    # Ended, they are the agent's again.
    agent.daemon.pins.drop([("calm", control) for control in Control])
    agent.tick(16)
    assert quota_cores(calm) < 1
    assert (calm / "cpu.weight").read_text().strip() != "777"
    assert memory_max(calm) == 1 << 30
    assert total(agent.tick()) == 6


def test_a_memory_max_is_written_once_and_put_back_when_it_is_taken_out_of_the_file(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    calm, spiky = cgroup_root / "calm", cgroup_root / "spiky"
    (spiky / "memory.max").write_text("700M")  # its own: nobody has configured it
    bound(agent, tmp_path, "1G")
    assert writes(agent.tick(), Control.MEMORY_MAX) == 1
    assert memory_max(calm) == 1 << 30
    assert [writes(agent.tick(), Control.MEMORY_MAX) for _ in range(4)] == [0] * 4
    bound(agent, tmp_path, None)
    assert memory_max(calm) == math.inf
    assert total(agent.tick(2)) == 0
    assert (memory_max(calm), memory_max(spiky)) == (math.inf, 700 * MIB)


def test_a_foreign_memory_max_below_the_floor_does_not_stand(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    floor = '[memory]\nfloor_bytes = "64M"\n'
    bound(agent, tmp_path, "1G", more=floor)
    agent.tick(2)
    (cgroup_root / "calm" / "memory.max").write_text("32M")
    assert changes(agent.tick()) == [("calm", "memory.max")]
    assert memory_max(cgroup_root / "calm") == 1 << 30


def test_what_goes_with_a_controller_is_no_drift(agent: Agent, cgroup_root: Path) -> None:
    agent.tick(12)
    for _ in range(2):
        for sign in "-+":
            (cgroup_root / "cgroup.subtree_control").write_text(f"{sign}cpu {sign}memory")
        record = agent.tick(2)
        assert total(record) == 0
        assert quota_cores(cgroup_root / "calm") < 1


def test_a_cgroup_made_anew_between_two_ticks_is_sampled_and_limited_in_the_next(
    agent: Agent, cgroup_root: Path
) -> None:
    """Nothing of the old one is kept open, and nothing that it used is counted for the new one."""
    calm, used_s, booked_s = cgroup_root / "calm", 0.0, 0.0
    with living_in(calm, SPIN):
        record = agent.tick(6)
    at, before = record.roster.names.index("calm"), open_files()
    turns = 0
    for _ in range(12):
        if turns == 2:
            break
        calm.rmdir()
        calm.mkdir()
        with living_in(calm, SPIN):
            record = agent.tick()
            assert record.sample.cgroup_id[at] == calm.stat().st_ino
            assert not record.usage.cpu_cores[at] > 0, "of one sample nothing is known"
            if is_after_pause(record):
                continue
            for file, unset in FILES.items():
                assert (calm / file).read_text().split()[0] != unset, file
            record = agent.tick()
            if is_after_pause(record):
                continue
            booked_s += record.usage.cpu_cores[at] * record.usage.elapsed_s
            used_s += record.sample.cpu_usage_us[at] / 1e6
            turns += 1
    assert turns == 2, "each tick was after a pause"
    assert 0 < booked_s <= used_s
    assert total(agent.tick()) == 0
    after = open_files()
    assert len(after) == len(before)
    assert not [name for name in after if name.endswith("(deleted)")]


def is_after_pause(record: TickRecord) -> bool:
    """Say whether a machine stood still for so long that the agent begins as at its first tick."""
    return record.usage.elapsed_s == 0


def open_files() -> list[str]:
    """Return what this process has open in cgroups."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    names = [str(link.readlink()) for link in links]
    return [name for name in names if name.startswith("/sys/fs/cgroup")]


def test_a_foreign_limit_below_the_floor_or_what_is_held_freezes_nobody(
    agent: Agent, cgroup_root: Path
) -> None:
    """Nor is there a war with who insists: it is theirs then, and said."""
    agent.tick(4)
    calm = cgroup_root / "calm"
    with living_in(calm, HOLD_ANON) as process:
        order(process, 48)
        agent.tick(2)
        (calm / "cpu.max").write_text("1000 100000")
        (calm / "memory.high").write_text(str(4 * MIB))
        agent.tick()
        assert quota_cores(calm) == pytest.approx(FLOOR_CORES)
        assert memory_high(calm) >= 48 * MIB + 12 * MIB
        agent.daemon.pins.drop([("calm", Control.CPU_MAX)])  # or a tenth of a core holds it up
        tell(process, 24)  # beyond what was held: it goes on all the same
        goes_on(agent, process)
        left, record = 0, agent.tick()
        for _ in range(8):
            (calm / "cpu.max").write_text("5000 100000")
            record = agent.tick()
            left += quota_cores(calm) == pytest.approx(0.05)
        assert left >= 4
        assert any("keeps changing it back" in problem for problem in record.problems)
        # The kernel holds only what they wrote by now; memory is still above what is held.
        assert memory_high(calm) >= 72 * MIB


def test_a_pin_is_reached_outlives_a_kill_and_ends(cgroup_root: Path, tmp_path: Path) -> None:
    assert any(is_kept_until_it_ends(cgroup_root, tmp_path, lasts_s) for lasts_s in (4.0, 40.0))


def is_kept_until_it_ends(root: Path, folder: Path, lasts_s: float) -> bool:
    """See that a pin is; return False if it ended too early for that, on a busy machine."""
    calm = root / "calm"
    with closing(agent_on(root, folder)) as first:
        first.tick(8)
        pin = Pin("calm", Control.CPU_MAX, 0.2, time.monotonic() + lasts_s)
        first.daemon.pins.put([pin])
        first.tick(8)
        found = [quota_cores(calm)]
    with closing(agent_on(root, folder)) as second:
        record = second.tick()
        for _ in range(2):
            found.append(quota_cores(calm))
            record = second.tick()
        if time.monotonic() >= pin.until_s:
            return False
        assert found == pytest.approx([0.2] * 3)
        assert record.drift is not None
        assert not record.drift.pins.is_foreign[Control.CPU_MAX].any()
        deadline_s = pin.until_s + 10.0
        while quota_cores(calm) < 0.3:
            second.tick()
            assert time.monotonic() < deadline_s
        assert time.monotonic() >= pin.until_s
    return True


def test_a_pin_of_memory_below_what_is_held_waits_for_the_tenant_to_let_go(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    calm = cgroup_root / "calm"
    (tmp_path / "tenants.d" / "calm.toml").write_text(TENANT)
    with living_in(calm, HOLD_ANON) as process:
        order(process, 48)
        agent.tick(4)
        pin = Pin("calm", Control.MEMORY_HIGH, 8.0 * MIB, time.monotonic() + 60.0)
        agent.daemon.pins.put([pin])
        agent.tick(8)
        assert memory_high(calm) >= 60 * MIB
        tell(process, 16)
        goes_on(agent, process)


def test_a_lowering_beside_the_ticks_is_no_drift_and_another_ends_it(
    agent: Agent, cgroup_root: Path, tmp_path: Path
) -> None:
    calm, disk = cgroup_root / "calm", scratch_disk(tmp_path)
    agent.tick(2)
    with living_in(calm, READ_DISK, disk) as process:
        order(process, 160)  # of page cache, which can be given back
        agent.tick(2)
        pin = Pin("calm", Control.MEMORY_HIGH, 64.0 * MIB, time.monotonic() + 60.0)
        agent.daemon.pins.put([pin])
        assert memory_high(calm) > 80 * MIB
        until(agent, lambda: memory_high(calm) <= 80 * MIB)
        assert total(agent.tick(4)) == 0
        (calm / "memory.high").write_text(str(200 * MIB))
        record = agent.tick()
        assert changes(record) == [("calm", "memory.high")]
        # What an operator pinned is put back.
        until(agent, lambda: memory_high(calm) <= 80 * MIB)
        agent.daemon.pins.drop([("calm", Control.MEMORY_HIGH)])
        (calm / "memory.high").write_text(str(200 * MIB))
        agent.tick(5)
        assert memory_high(calm) == 200 * MIB
        pins = agent.daemon.pins.of("calm")
        assert [one.origin for one in pins] == [Origin.ANOTHER]
