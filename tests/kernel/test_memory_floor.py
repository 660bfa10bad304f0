"""memory.high never goes below what a tenant cannot give back plus a margin (safety rule 4)."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tenants import (
    HOLD_ANON,
    HOLD_TMPFS,
    LOCK_ANON,
    MIB,
    READ_DISK,
    living_in,
    order,
    scratch_disk,
    wait_until,
)

from enforce.apply import Applier
from enforce.cgroup import TenantCgroup
from enforce.columns import Changes, Control, Outcomes, Result
from enforce.floor import memory_floor_bytes
from enforce.made import ensure
from enforce.originals import Originals
from enforce.sampler import Sampler

pytestmark = pytest.mark.kernel

MARGIN_BYTES = 16 * MIB
HELD_MIB = 64
# What Python itself, its page tables and the kernel's own counters' error add.
SLACK_BYTES = 12 * MIB


@pytest.fixture
def applier(cgroup_root: Path, tmp_path: Path) -> Iterator[Applier]:
    assert ensure(cgroup_root, ["a"]) == {}
    originals = Originals(tmp_path / "originals.json")
    applier = Applier(cgroup_root, ["a"], originals, memory_margin_bytes=MARGIN_BYTES)
    yield applier
    applier.close()


@pytest.fixture
def tmpfs_file() -> Iterator[Path]:
    path = Path("/dev/shm/tidegate-test")  # noqa: S108 - the tmpfs that every host has
    yield path
    path.unlink(missing_ok=True)


def memory_high(applier: Applier, wanted: float) -> Outcomes:
    return applier.apply(
        Changes(Control.MEMORY_HIGH, np.array([0]), np.array([np.inf]), np.array([wanted]))
    )


def in_force(cgroup: Path) -> float:
    with TenantCgroup(cgroup) as tenant:
        return tenant.memory_high


def test_anonymous_memory_is_never_squeezed(applier: Applier, cgroup_root: Path) -> None:
    with living_in(cgroup_root / "a", HOLD_ANON) as process:
        order(process, HELD_MIB)
        outcomes = memory_high(applier, 8 * MIB)
        assert outcomes.result.tolist() == [Result.HELD_BACK]
        least = HELD_MIB * MIB + MARGIN_BYTES
        assert least <= outcomes.kept[0] <= least + SLACK_BYTES
        assert in_force(cgroup_root / "a") == outcomes.kept[0]
        assert "cannot be reclaimed" in outcomes.why[0]


def test_nobody_is_killed_by_a_memory_max_that_comes_down(
    applier: Applier, cgroup_root: Path
) -> None:
    tenant = cgroup_root / "a"
    with living_in(tenant, HOLD_ANON) as process:
        order(process, HELD_MIB)
        low = np.array([28.0 * MIB])
        wanted = Changes(Control.MEMORY_MAX, np.array([0]), np.array([np.inf]), low)
        outcomes = applier.apply(wanted)
        assert outcomes.result.tolist() == [Result.HELD_BACK]
        least = HELD_MIB * MIB + MARGIN_BYTES
        assert least <= outcomes.kept[0] <= least + SLACK_BYTES
        assert (tenant / "memory.max").read_text() == f"{outcomes.kept[0]:.0f}\n"
        order(process, 4)  # twice that while it is made
        assert "oom_kill 0" in (tenant / "memory.events").read_text()
    assert applier.apply(wanted).result.tolist() == [Result.APPLIED]


def test_files_in_tmpfs_are_never_squeezed(
    applier: Applier, cgroup_root: Path, tmpfs_file: Path
) -> None:
    with living_in(cgroup_root / "a", HOLD_TMPFS, tmpfs_file) as process:
        order(process, HELD_MIB)
        outcomes = memory_high(applier, 8 * MIB)
        assert outcomes.result.tolist() == [Result.HELD_BACK]
        least = HELD_MIB * MIB + MARGIN_BYTES
        assert least <= outcomes.kept[0] <= least + SLACK_BYTES
        # And it goes on working: 8 MiB more stay within the margin, and are done at once.
        began_s = time.monotonic()
        order(process, 8)
        assert time.monotonic() - began_s < 5.0


def test_locked_memory_is_counted_once(applier: Applier, cgroup_root: Path) -> None:
    with living_in(cgroup_root / "a", LOCK_ANON) as process:
        order(process, HELD_MIB)
        with TenantCgroup(cgroup_root / "a") as tenant:
            floor = memory_floor_bytes(tenant, margin_bytes=0)
            usage = tenant.memory_current
        assert HELD_MIB * MIB <= floor <= usage + SLACK_BYTES


@pytest.fixture
def swap() -> Iterator[None]:
    disk = os.environ.get("LAB_DISK")
    if not disk:
        pytest.skip("needs a disk of its own to swap on: run in the lab")
    subprocess.run(["/sbin/mkswap", "--quiet", disk], check=True)
    subprocess.run(["/sbin/swapon", disk], check=True)
    yield
    subprocess.run(["/sbin/swapoff", disk], check=True)


@pytest.mark.usefixtures("swap")
def test_free_swap_takes_its_part_as_far_as_every_limit_lets_it(
    applier: Applier, cgroup_root: Path
) -> None:
    tenant = cgroup_root / "a"
    with living_in(tenant, HOLD_ANON) as process, TenantCgroup(tenant) as cgroup:
        order(process, HELD_MIB)

        def swappable_mib(of_tenant: str, of_root: str) -> int:
            (tenant / "memory.swap.max").write_text(of_tenant)
            (cgroup_root / "memory.swap.max").write_text(of_root)
            return round((usage - memory_floor_bytes(cgroup, margin_bytes=0)) / MIB)

        (tenant / "memory.swap.max").write_text("0")
        usage = memory_floor_bytes(cgroup, margin_bytes=0)
        assert usage >= HELD_MIB * MIB
        assert swappable_mib("max", "max") >= HELD_MIB
        assert swappable_mib(str(20 * MIB), "max") == 20
        assert swappable_mib("max", str(30 * MIB)) == 30
        assert swappable_mib(str(20 * MIB), "0") == 0
        with closing(Sampler(cgroup_root, ["a"])) as sampler:
            (cgroup_root / "memory.swap.max").write_text("max")
            sampled = sampler.read(0.0).memory_unreclaimable_bytes[0]
        assert round((usage - sampled) / MIB) == 20, "the sampler says the same"


def test_cache_counts_as_what_can_be_given_back(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    with living_in(cgroup_root / "a", READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, HELD_MIB)
        with TenantCgroup(cgroup_root / "a") as tenant:
            assert tenant.memory_current > HELD_MIB * MIB
            assert memory_floor_bytes(tenant, margin_bytes=0) < SLACK_BYTES


def test_a_limit_below_usage_comes_in_steps_beside_the_tick(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    tenant, wanted = cgroup_root / "a", 40 * MIB
    with living_in(tenant, READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, 240)
        outcomes = memory_high(applier, wanted)
        assert outcomes.result.tolist() == [Result.PENDING]
        assert outcomes.kept.tolist() == [np.inf]
        seen, steps = [np.inf], set[float]()

        def is_there() -> bool:
            seen.append(in_force(tenant))
            steps.update(applier.written_beside().get(Control.MEMORY_HIGH, {}).get(0, ()))
            if seen[-1] != wanted:
                memory_high(applier, wanted)  # once more, as ticks do: an offer lives a second
            return seen[-1] == wanted

        wait_until(is_there)
        assert len(steps) >= 4, f"expected steps on the way, saw {steps}"
        assert seen == sorted(seen, reverse=True)


def test_a_raise_takes_hold_at_once_while_a_lowering_is_under_way(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    with living_in(cgroup_root / "a", READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, 120)
        assert memory_high(applier, 40 * MIB).result.tolist() == [Result.PENDING]
        raised = memory_high(applier, 200 * MIB)
        assert raised.result.tolist() == [Result.APPLIED]
        time.sleep(1.5)  # longer than any offer lives
        assert in_force(cgroup_root / "a") == 200 * MIB


def test_a_tenant_that_cannot_shrink_gets_its_limit_back(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    tenant = cgroup_root / "a"
    (tenant / "cgroup.subtree_control").write_text("+memory")
    child = tenant / "child"
    child.mkdir()
    # Reclaim of the tenant spares what a child of it is promised, which memory.stat does not tell.
    (child / "memory.min").write_text(str(120 * MIB))
    with living_in(child, READ_DISK, scratch_disk(tmp_path)) as process:
        order(process, 120)
        assert memory_high(applier, 40 * MIB).result.tolist() == [Result.PENDING]

        def is_resting() -> bool:
            return bool(memory_high(applier, 40 * MIB).result[0] == Result.HELD_BACK)

        wait_until(is_resting)
        assert in_force(tenant) == np.inf
