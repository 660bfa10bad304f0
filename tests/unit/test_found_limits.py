"""What doctor says of limits that an engine had set, and that a tenant's file does not keep."""

from pathlib import Path

import pytest

from agent.answers import Finding
from agent.found_limits import unkept_limits
from agent.homes import elsewhere_of
from agent.host import read_config
from enforce.cgroup import TenantCgroup
from enforce.columns import Control
from enforce.originals import Original, Originals
from enforce.places import Places


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Make a container's cgroup with a limit of its engine's, in a mount of its own."""
    folder = tmp_path / "mount/docker/box"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("30000 100000\n")
    (folder / "memory.high").write_text("max\n")
    return folder


def found(box: Path, *, more: str = "") -> list[Finding]:
    folder = box.parents[2]
    (folder / "tenants.d").mkdir(exist_ok=True)
    (folder / "tidegate.toml").write_text(f'[host]\nstate_dir = "{folder}"\n')
    (folder / "tenants.d/box.toml").write_text(f'qos = "gold"\ncgroup = "docker/box"\n{more}')
    config = read_config(folder / "tidegate.toml", folder / "tenants.d")
    places = Places(
        config.host.cgroup_root, ["box"], elsewhere_of(config.tenants), mount=folder / "mount"
    )
    return list(unkept_limits(config, places))


def test_a_limit_of_an_engines_that_no_ceiling_keeps_is_named_with_what_keeps_it(box: Path) -> None:
    (finding,) = found(box)
    assert (finding.name, finding.state) == ("limit of box", "degraded")
    assert "cpu.max said 0.3 cores before tidegate" in finding.meaning
    assert finding.remedy == "to keep that, cpu.ceiling_cores = 0.3 in box.toml"


def test_it_is_the_recorded_one_once_ours_is_in_its_place(box: Path) -> None:
    with TenantCgroup(box) as cgroup:
        original = Original(str(box), cgroup.cgroup_id, Control.CPU_MAX, "20000 100000")
    Originals(box.parents[2] / "originals.json").record([original])
    (box / "cpu.max").write_text("80000 100000\n")
    (finding,) = found(box)
    assert finding.remedy.endswith("cpu.ceiling_cores = 0.2 in box.toml")


@pytest.mark.parametrize("more", ["[cpu]\nceiling_cores = 0.5\n", "[cpu]\nceiling_cores = 0.1\n"])
def test_a_file_with_a_ceiling_has_said_what_it_wants(box: Path, more: str) -> None:
    assert found(box, more=more) == []


def test_who_had_no_limit_has_lost_none(box: Path) -> None:
    (box / "cpu.max").write_text("max 100000\n")
    assert found(box) == []


def test_a_record_that_makes_no_sense_is_left_where_it_is_by_who_only_looks(box: Path) -> None:
    record = box.parents[2] / "originals.json"
    record.write_text("{")
    (finding,) = found(box)
    assert finding.name == "limit of box"
    assert record.read_text() == "{"
