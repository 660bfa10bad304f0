"""What `probe` says of a real kernel agrees with what its files do."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.doctor import examined
from enforce.capability import Capability, probe
from enforce.made import ensure

MOUNT = Path("/sys/fs/cgroup")


@pytest.fixture
def panicking_kernel() -> Iterator[None]:
    """Have the lab's kernel panic where a limit of memory is reached, until the test has ended."""
    if os.environ.get("TIDEGATE_LAB") != "1":
        pytest.skip("only in the lab: this changes the whole kernel")
    setting = Path("/proc/sys/vm/panic_on_oom")
    before = setting.read_text()
    setting.write_text("2")
    yield
    setting.write_text(before)


def probed(root: Path) -> dict[str, Capability]:
    return {capability.name: capability for capability in probe(root)}


@pytest.mark.kernel
def test_a_prepared_root_can_do_everything_that_limits_need(cgroup_root: Path) -> None:
    assert ensure(cgroup_root, ["a"]) == {}
    found = probed(cgroup_root)
    needed = ("cgroup v2", "own cgroups", "cpu controller", "memory controller", "io controller")
    assert {found[name].state for name in needed} == {"ok"}


@pytest.mark.kernel
def test_a_controller_that_does_not_reach_the_root_is_missing(cgroup_root: Path) -> None:
    (cgroup_root / "cgroup.subtree_control").write_text("-memory")
    root = cgroup_root / "root"
    assert str(root) in ensure(root, [])
    found = probed(root)
    assert found["memory controller"].state == "missing"
    assert "not enforceable" in found["memory controller"].meaning
    assert "cgroup.subtree_control" in found["memory controller"].remedy
    assert found["cpu controller"].state == "ok"


@pytest.mark.kernel
def test_an_ancestor_without_memory_low_undoes_protection(cgroup_root: Path) -> None:
    root = cgroup_root / "root"
    assert ensure(root, []) == {}
    assert probed(root)["memory.low"].state == "degraded"
    assert str(cgroup_root) in probed(root)["memory.low"].meaning
    outside = [parent for parent in cgroup_root.parents if MOUNT in parent.parents]
    if any((parent / "memory.low").read_text() == "0\n" for parent in outside):
        pytest.skip("this host protects nothing above the tests' own cgroup")
    (cgroup_root / "memory.low").write_text("max")
    assert probed(root)["memory.low"].state == "ok"


@pytest.mark.kernel
def test_a_kernel_without_pressure_files_is_said_to_have_none(cgroup_root: Path) -> None:
    state = probed(cgroup_root)["pressure stall information"].state
    assert (state == "ok") == Path("/proc/pressure/memory").exists()


@pytest.mark.kernel
def test_a_kernel_that_panics_where_a_tenant_reaches_its_memory_max_is_named_where_one_is_set(
    cgroup_root: Path, tmp_path: Path, panicking_kernel: None
) -> None:
    host, tenants = tmp_path / "tidegate.toml", tmp_path / "tenants.d"
    tenants.mkdir()
    host.write_text(f'[host]\ncgroup_root = "{cgroup_root}"\nruntime_dir = "{tmp_path}"\n')
    found = {}
    for said in ("", 'memory_max_bytes = "1G"\n'):
        (tenants / "web.toml").write_text(f'qos = "gold"\n{said}')
        found[said] = {one.name for one in examined(host, tenants, tmp_path / "none.sock")}
    assert ["vm.panic_on_oom" in names for names in found.values()] == [False, True]


@pytest.mark.qemu
def test_pressure_is_found_where_the_kernel_measures_it(cgroup_root: Path) -> None:
    assert probed(cgroup_root)["pressure stall information"].state == "ok"
    assert "some avg10=" in (cgroup_root / "memory.pressure").read_text()
