"""What memory.high must not go below is refused, never guessed, where it cannot be told."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from enforce import floor
from enforce.apply import Applier
from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Changes, Control, Result
from enforce.floor import memory_floor_bytes
from enforce.originals import Originals
from enforce.sampler import Sampler

MIB = 1 << 20
STAT = {"anon": 64 * MIB, "shmem": 0, "inactive_anon": 64 * MIB, "active_anon": 0, "unevictable": 0}


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a cgroup that holds 64 MiB of anonymous memory, on a host with 1 GiB of free swap."""
    path = tmp_path / "a"
    path.mkdir()
    for file in ("cgroup.procs", "memory.current", "memory.high"):
        (path / file).write_text({"memory.current": "0\n", "memory.high": "max\n"}.get(file, ""))
    write_stat(path, STAT)
    (tmp_path / "meminfo").write_text("SwapTotal: 1048576 kB\nSwapFree: 1048576 kB\n")
    monkeypatch.setattr(floor, "_MEMINFO", tmp_path / "meminfo")
    return path


def write_stat(cgroup: Path, stat: dict[str, int]) -> None:
    (cgroup / "memory.stat").write_text("".join(f"{key} {n}\n" for key, n in stat.items()))


def floor_mib(cgroup: Path) -> float:
    with TenantCgroup(cgroup) as tenant:
        return memory_floor_bytes(tenant, margin_bytes=0) / MIB


def assert_refused(cgroup: Path, reason: str) -> None:
    """See that a lower memory.high is refused for `reason`, and that the file keeps its value."""
    state = cgroup.with_name("originals.json")
    applier = Applier(cgroup.parent, ["a"], Originals(state), memory_margin_bytes=0)
    outcomes = applier.apply(
        Changes(Control.MEMORY_HIGH, np.array([0]), np.array([np.inf]), np.array([8.0 * MIB]))
    )
    applier.close()
    assert outcomes.result.tolist() == [Result.REFUSED]
    assert reason in outcomes.why[0]
    assert (cgroup / "memory.high").read_text() == "max\n"


def test_swap_lowers_the_floor_as_far_as_the_cgroup_may_swap(cgroup: Path) -> None:
    (cgroup / "memory.swap.current").write_text("0\n")
    (cgroup / "memory.swap.max").write_text(f"{24 * MIB}\n")
    assert floor_mib(cgroup) == 40


def test_a_stat_without_a_needed_line_is_refused(cgroup: Path) -> None:
    write_stat(cgroup, {key: n for key, n in STAT.items() if key != "unevictable"})
    with pytest.raises(LimitRejectedError, match="does not say"):
        floor_mib(cgroup)
    assert_refused(cgroup, "does not say")


def test_a_host_that_does_not_tell_its_swap_is_refused(cgroup: Path) -> None:
    (cgroup.parent / "meminfo").unlink()
    assert_refused(cgroup, "No such file")


def test_samples_of_such_a_host_take_all_memory_for_stuck(cgroup: Path) -> None:
    (cgroup.parent / "meminfo").unlink()
    with closing(Sampler(cgroup.parent, ["a"])) as sampler:
        assert sampler.read(0.0).memory_unreclaimable_bytes.tolist() == [64 * MIB]


def test_a_swap_limit_that_cannot_be_read_is_not_taken_for_none(cgroup: Path) -> None:
    (cgroup / "memory.swap.current").write_text("0\n")
    (cgroup / "memory.swap.max").write_text("?\n")
    assert_refused(cgroup, "swap")
    (cgroup / "memory.swap.max").unlink()
    (cgroup / "memory.swap.max").mkdir()  # a file that is there and cannot be read
    assert_refused(cgroup, "memory.swap.max")
