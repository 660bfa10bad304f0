"""Two tenants whose memory cannot be reclaimed, anonymous and tmpfs, are never frozen by us."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from agents import memory_high
from tenants import (
    HOLD_ANON,
    HOLD_TMPFS,
    JOIN,
    MIB,
    is_done,
    living_in,
    order,
    scratch_disk,
    tell,
    wait_until,
)

from agent.daemon import Daemon
from agent.host import read_config
from agent.settings import Config
from agent.tenant import Resource
from enforce.apply import Applier
from enforce.columns import Changes, Control, Outcomes, Result
from enforce.lowering import STEP_BYTES
from enforce.made import ensure
from enforce.originals import Originals

pytestmark = pytest.mark.kernel

NAMES, HELD_MIB, LOW_MIB, MORE_MIB = ("anon", "tmpfs"), 48, 24, 8
FROZEN_S, DONE_S = 2.0, 6.0  # MORE_MIB take a tenth of a second where nothing holds them back
TICK_S, READ_MIB, LOWERED_S, LEFT_ALONE_S = 0.5, 160, 15.0, 2.0
ATTEMPTS, READ_AGAIN_S = 4, 30.0
# Pages that are read twice count as in use: to wait for one that was taken is a stall.
READ_OVER_AND_OVER = (
    JOIN
    + """
import random
disk, size = os.open(sys.argv[2], os.O_RDONLY), int(sys.argv[3]) << 20
os.posix_fadvise(disk, 0, 0, os.POSIX_FADV_RANDOM)
for _ in range(2):
    for at in range(0, size, 65536): os.pread(disk, 65536, at)
print('ready', flush=True)
while True: os.pread(disk, 4096, random.randrange(size) & ~4095)
"""
)
HOST = """
[host]
cgroup_root = "{root}"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
memory_capacity_bytes = "256M"
memory_reserve_bytes = "16M"
[periods]
tick_s = 0.5
step_s = 1
horizon_s = 5
refit_s = 10
learning_s = 0
"""


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "tmpfs"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.fixture
def holders(cgroup_root: Path, tmpfs: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    """Return one process of each tenant; each holds the same to begin with."""
    assert ensure(cgroup_root, NAMES) == {}
    with ExitStack() as stack:
        anon = stack.enter_context(living_in(cgroup_root / "anon", HOLD_ANON))
        files = stack.enter_context(living_in(cgroup_root / "tmpfs", HOLD_TMPFS, tmpfs / "file"))
        for process in (anon, files):
            order(process, HELD_MIB)
        yield [anon, files]


def test_a_naive_memory_high_freezes_both_and_ours_neither(
    holders: list["subprocess.Popen[str]"], cgroup_root: Path, tmp_path: Path
) -> None:
    for name in NAMES:
        (cgroup_root / name / "memory.high").write_text(str(LOW_MIB * MIB))
    for process in holders:
        tell(process, MORE_MIB)
    time.sleep(FROZEN_S)
    assert [is_done(process) for process in holders] == [False, False]
    for name in NAMES:
        (cgroup_root / name / "memory.high").write_text("max")
    for process in holders:
        wait_until(partial(is_done, process))
    originals = Originals(tmp_path / "originals.json")
    with closing(Applier(cgroup_root, NAMES, originals, memory_margin_bytes=16 * MIB)) as applier:
        wanted = np.full(2, LOW_MIB * MIB, dtype=float)
        changes = Changes(Control.MEMORY_HIGH, np.arange(2), np.full(2, np.inf), wanted)
        assert applier.apply(changes).result.tolist() == [Result.HELD_BACK] * 2
        began_s = time.monotonic()
        for process in holders:
            order(process, MORE_MIB)
        assert time.monotonic() - began_s < DONE_S


def test_the_agent_lets_both_grow_beyond_ceilings_that_they_cannot_keep(
    holders: list["subprocess.Popen[str]"], cgroup_root: Path, tmp_path: Path
) -> None:
    """A ceiling below what is held is a limit that would only freeze (safety rule 4)."""
    path, tenants_dir = tmp_path / "tidegate.toml", tmp_path / "tenants.d"
    for made in (tenants_dir, tmp_path / "state"):
        made.mkdir()
    path.write_text(HOST.format(root=cgroup_root, folder=tmp_path))
    for name in NAMES:
        text = f'qos = "silver"\n[memory]\nceiling_bytes = "{LOW_MIB}M"\n'
        (tenants_dir / f"{name}.toml").write_text(text)

    def read(accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(path, tenants_dir)

    with closing(Daemon(read(), read)) as daemon:
        for _ in range(4):
            for process in holders:
                tell(process, MORE_MIB)
            left = list(holders)
            for _ in range(round(DONE_S / TICK_S)):
                time.sleep(TICK_S)
                assert daemon.tick(time.monotonic(), 0)
                left = [process for process in left if not is_done(process)]
                if not left:
                    break
            assert not left
        highs = [(cgroup_root / name / "memory.high").read_text().strip() for name in NAMES]
    held = (HELD_MIB + 4 * MORE_MIB) * MIB
    assert all(high == "max" or int(high) >= held for high in highs)


@pytest.mark.qemu
def test_who_only_waits_for_its_own_pages_as_it_is_lowered_is_let_go(
    cgroup_root: Path, tmp_path: Path
) -> None:
    """Reclaim gets somewhere, and what it takes is read again at once: a pressure storm."""
    if "LAB_DISK" not in os.environ:
        pytest.skip("takes a disk of its own, which is made slow")
    assert ensure(cgroup_root, ["a"]) == {}
    tenant, disk = cgroup_root / "a", scratch_disk(tmp_path)
    number = Path(f"/sys/class/block/{disk.name}/dev").read_text().strip()
    originals = Originals(tmp_path / "originals.json")
    wanted = Changes(Control.MEMORY_HIGH, np.zeros(1, int), np.full(1, np.inf), np.zeros(1))
    with (
        closing(Applier(cgroup_root, ["a"], originals, memory_margin_bytes=4 * MIB)) as applier,
        living_in(tenant, READ_OVER_AND_OVER, disk, str(READ_MIB)),
    ):
        is_let_go = False
        for _ in range(ATTEMPTS):
            (tenant / "io.max").write_text(f"{number} rbps={4 * MIB}")
            if is_let_go := is_let_go_within(LOWERED_S, lambda: applier.apply(wanted)):
                break
            # While it was lowered the reader had no turn: what it reads now the kernel takes for
            # new, and not for what it had. So once more.
            (tenant / "io.max").write_text(f"{number} rbps=max")
            (tenant / "memory.high").write_text("max")
            wait_until(lambda: used_mib(tenant) > 0.9 * READ_MIB, limit_s=READ_AGAIN_S)
        assert is_let_go
        applier.written_beside()
        time.sleep(LEFT_ALONE_S)
        assert applier.apply(wanted).result.tolist() == [Result.HELD_BACK]
        assert applier.written_beside() == {}, "it is left alone"
        assert memory_high(tenant) > STEP_BYTES


def is_let_go_within(limit_s: float, apply: Callable[[], Outcomes]) -> bool:
    """Lower until the reader is let go, or for so long; say whether it was."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if "reclaim could not lower" in apply().why.get(0, ""):
            return True
        time.sleep(0.1)
    return False


def used_mib(tenant: Path) -> float:
    """Return how much of what it reads the kernel takes to be in use: read twice, that is."""
    stat = dict(map(str.split, (tenant / "memory.stat").read_text().splitlines()))
    return int(stat["active_file"]) / MIB
