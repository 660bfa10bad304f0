"""Each control is written, read back and obeyed by the kernel."""

import math
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from agents import Agent
from tenants import MIB, SPIN, cpu_used_s, living_in

from agent.answers import Finding
from agent.doctor import examined
from agent.tenant_places import TICKS_BETWEEN
from enforce.apply import Applier
from enforce.cgroup import PAGE_BYTES
from enforce.columns import Changes, Control, Outcomes, Result
from enforce.made import ensure
from enforce.originals import Originals
from enforce.places import MOUNT

pytestmark = pytest.mark.kernel

MARGIN_BYTES = 16 * MIB


@pytest.fixture
def applier(cgroup_root: Path, tmp_path: Path) -> Applier:
    names = ("a", "b")
    assert ensure(cgroup_root, names) == {}
    originals = Originals(tmp_path / "originals.json")
    return Applier(cgroup_root, names, originals, memory_margin_bytes=MARGIN_BYTES)


def write(applier: Applier, control: Control, *values: float) -> Outcomes:
    before = np.full(len(values), np.inf)
    return applier.apply(Changes(control, np.arange(len(values)), before, np.array(values)))


@pytest.mark.parametrize(
    ("control", "value", "text"),
    [
        (Control.CPU_MAX, 0.5, "50000 100000"),
        (Control.CPU_MAX, 0.01, "1000 100000"),
        (Control.CPU_MAX, 0.001, "1000 100000"),
        (Control.CPU_MAX, 1.23456, "123456 100000"),
        (Control.CPU_MAX, math.inf, "max 100000"),
        (Control.CPU_WEIGHT, 1, "1"),
        (Control.CPU_WEIGHT, 250.4, "250"),
        (Control.CPU_WEIGHT, 10_000, "10000"),
        (Control.CPU_WEIGHT, 1e6, "10000"),
        (Control.MEMORY_HIGH, math.inf, "max"),
        (Control.MEMORY_LOW, 0, "0"),
        (Control.MEMORY_LOW, math.inf, "max"),
        (Control.MEMORY_MAX, math.inf, "max"),
    ],
)
def test_the_kernel_keeps_what_is_written(
    applier: Applier, cgroup_root: Path, control: Control, value: float, text: str
) -> None:
    outcomes = write(applier, control, value)
    assert outcomes.result.tolist() == [Result.APPLIED]
    assert (cgroup_root / "a" / control).read_text().strip() == text


@pytest.mark.parametrize("control", [Control.MEMORY_HIGH, Control.MEMORY_LOW, Control.MEMORY_MAX])
def test_memory_limits_are_rounded_to_pages_and_count_as_applied(
    applier: Applier, cgroup_root: Path, control: Control
) -> None:
    outcomes = write(applier, control, 100 * MIB + PAGE_BYTES + 1)
    assert outcomes.result.tolist() == [Result.APPLIED]
    assert outcomes.kept.tolist() == [100 * MIB + PAGE_BYTES]
    assert (cgroup_root / "a" / control).read_text() == f"{100 * MIB + PAGE_BYTES}\n"


def test_one_tenants_refusal_stops_no_other(applier: Applier, cgroup_root: Path) -> None:
    (cgroup_root / "a").rmdir()
    outcomes = write(applier, Control.CPU_MAX, 0.5, 0.25)
    assert outcomes.result.tolist() == [Result.GONE, Result.APPLIED]
    assert 0 in outcomes.why
    assert outcomes.kept[1] == 0.25


def test_a_value_that_is_no_number_is_refused(applier: Applier) -> None:
    outcomes = write(applier, Control.CPU_WEIGHT, math.nan, 50)
    assert outcomes.result.tolist() == [Result.REFUSED, Result.APPLIED]


def test_a_control_without_its_controller_is_refused(applier: Applier, cgroup_root: Path) -> None:
    (cgroup_root / "cgroup.subtree_control").write_text("-memory")
    outcomes = write(applier, Control.MEMORY_LOW, 64 * MIB)
    assert outcomes.result.tolist() == [Result.REFUSED]
    assert "not enabled" in outcomes.why[0]


@pytest.mark.parametrize("most_open_files", [0, 4096], ids=["visited", "kept-open"])
def test_a_cgroup_that_was_made_since_the_sample_is_not_written_before_it_is_sampled(
    cgroup_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_open_files: int
) -> None:
    monkeypatch.setattr("enforce.sampler.raise_open_files_limit", lambda _: most_open_files)
    calm, spiky = (cgroup_root / "root" / name for name in ("calm", "spiky"))
    with closing(Agent(tmp_path, cgroup_root / "root", learning_s=60, tick_s=0.05)) as agent:
        agent.tick()
        applier = agent.daemon._kernel.applier
        assert isinstance(applier, Applier)
        before = calm.stat().st_ino
        calm.rmdir()
        calm.mkdir()
        assert calm.stat().st_ino != before
        outcomes = write(applier, Control.CPU_WEIGHT, 7, 7)
        assert outcomes.result.tolist() == [Result.GONE, Result.APPLIED]
        assert [(one / "cpu.weight").read_text() for one in (calm, spiky)] == ["100\n", "7\n"]
        spiky.rmdir()  # and who was not there when sampled is new as well
        agent.tick()
        spiky.mkdir()
        outcomes = write(applier, Control.CPU_WEIGHT, 8, 8)
        assert outcomes.result.tolist() == [Result.APPLIED, Result.GONE]
        assert [(one / "cpu.weight").read_text() for one in (calm, spiky)] == ["8\n", "100\n"]


def test_a_burst_above_the_quota_to_come_is_lowered_first_and_comes_back(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    tenant = cgroup_root / "a"
    (tenant / "cpu.max").write_text("50000 100000")
    (tenant / "cpu.max.burst").write_text("40000")
    (tenant / "child").mkdir()  # keeps it from being removed as empty
    assert write(applier, Control.CPU_MAX, 0.2).result.tolist() == [Result.APPLIED]
    assert (tenant / "cpu.max.burst").read_text() == "20000\n"
    for cores, burst_us in ((0.3, 30_000), (0.1, 10_000), (2.0, 40_000), (0.2, 20_000)):
        assert write(applier, Control.CPU_MAX, cores).result.tolist() == [Result.APPLIED]
        assert (tenant / "cpu.max.burst").read_text() == f"{burst_us}\n"
    (tenant / "cpu.max.burst").write_text("5000")  # who sets it anew keeps it
    assert write(applier, Control.CPU_MAX, 2.0).result.tolist() == [Result.APPLIED]
    assert (tenant / "cpu.max.burst").read_text() == "5000\n"
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert (tenant / "cpu.max").read_text() == "50000 100000\n"
    assert (tenant / "cpu.max.burst").read_text() == "40000\n"


def test_a_busy_tenant_is_held_to_its_limit_within_3_percent(
    applier: Applier, cgroup_root: Path
) -> None:
    """A host that takes the guest's CPU away meanwhile leaves a debt, which is paid over time."""
    tenant = cgroup_root / "a"
    assert write(applier, Control.CPU_MAX, 0.25).result.tolist() == [Result.APPLIED]
    with living_in(tenant, SPIN):
        began_s, before_s, used_cores = time.monotonic(), cpu_used_s(tenant), 0.0
        for _ in range(4):
            time.sleep(4.0)
            used_cores = (cpu_used_s(tenant) - before_s) / (time.monotonic() - began_s)
            if used_cores == pytest.approx(0.25, rel=0.03):
                break
    assert used_cores == pytest.approx(0.25, rel=0.03)


def test_the_root_is_given_the_protection_that_its_children_add_up_to(
    applier: Applier, cgroup_root: Path, tmp_path: Path
) -> None:
    assert applier.protect_root(96 * MIB, is_enforcing=True) is None
    assert (cgroup_root / "memory.low").read_text() == f"{96 * MIB}\n"
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert (cgroup_root / "memory.low").read_text() == "0\n"


def test_an_ancestor_of_another_that_protects_less_is_told_until_it_protects_enough(
    cgroup_root: Path, tmp_path: Path
) -> None:
    """Safety rule 8: the kernel counts memory.low no further than what stands above it has."""
    root = cgroup_root / "root"
    assert ensure(root, ["a"]) == {}
    (cgroup_root / "memory.low").write_text(str(32 * MIB))
    originals = Originals(tmp_path / "originals.json")
    with closing(Applier(root, ["a"], originals, memory_margin_bytes=0)) as applier:
        problem = applier.protect_root(96 * MIB, is_enforcing=True)
        assert problem is not None
        assert f"{cgroup_root} protects 32 MiB of the 96 MiB" in problem
        assert applier.protect_root(32 * MIB, is_enforcing=True) is None
        (cgroup_root / "memory.low").write_text("max")
        said = [
            applier.protect_root(96 * MIB, is_enforcing=True) for _ in range(61)
        ]  # it is looked at now and then
    assert said[0] == problem
    assert said[-1] is None
    assert (root / "memory.low").read_text() == f"{96 * MIB}\n"


def test_a_tenant_elsewhere_whose_memory_low_counts_for_less_is_told_until_it_counts(
    cgroup_root: Path, tmp_path: Path
) -> None:
    box, guest = cgroup_root / "box", cgroup_root / "box" / "guest"
    box.mkdir()
    (box / "cgroup.subtree_control").write_text("+cpu +memory")
    guest.mkdir()
    (cgroup_root / "memory.low").write_text("max")
    outside = [parent for parent in cgroup_root.parents if MOUNT in parent.parents]
    if any((parent / "memory.low").read_text() == "0\n" for parent in outside):
        pytest.skip("this host protects nothing above the tests' own cgroup")
    with closing(Agent(tmp_path, cgroup_root / "root", learning_s=0, tick_s=0.05)) as agent:
        where = f'cgroup = "{guest.relative_to(MOUNT)}"'
        (tmp_path / "tenants.d" / "guest.toml").write_text(
            f'qos = "gold"\n{where}\n[memory]\nfloor_bytes = "64M"\n'
        )
        assert agent.reload_problem() is None
        said = {}
        for low in ("0", "16M", "max"):
            (box / "memory.low").write_text(low)
            agent.tick(TICKS_BETWEEN + 1)
            (found,) = [one for one in examined_by(tmp_path) if one.name == "owner of guest"]
            said[low] = (agent.daemon.facts().places_problem, found.state, found.meaning)
        assert int((guest / "memory.low").read_text()) == 64 * MIB
    counts = f"its memory.low of 64.0M counts for {{}}: {box} protects no more"
    assert said["0"][:2] == (f"guest: {counts.format('0B')}", "degraded")
    assert f"its memory.low is without effect: {box} protects 0 bytes" in said["0"][2]
    assert said["16M"][:2] == (f"guest: {counts.format('16.0M')}", "degraded")
    assert counts.format("16.0M") in said["16M"][2]
    assert said["max"][:2] == (None, "ok")


def examined_by(folder: Path) -> list[Finding]:
    return examined(folder / "tidegate.toml", folder / "tenants.d", folder / "none.sock")
