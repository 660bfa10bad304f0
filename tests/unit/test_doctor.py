"""What doctor says of the tenants' weight beside the rest of the host, and of what protects."""

from pathlib import Path

import pytest

from agent.answers import Finding
from agent.doctor import _protection, examined
from enforce import systemd


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a hierarchy with tidegate's slice, a busy neighbour, an empty one and the agent."""
    monkeypatch.setattr(systemd, "_SYSTEMD", tmp_path)
    populated = {"system.slice": 1, "user.slice": 0, "tidegate.slice": 0, "tidegate.service": 1}
    for name, value in populated.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text("")
        (tmp_path / name / "cgroup.events").write_text(f"populated {value}\nfrozen 0\n")
        (tmp_path / name / "cpu.weight").write_text("100\n")
    (tmp_path / "tidegate.slice/tidegate-tenants.service").mkdir()
    (tmp_path / "tenants.d").mkdir()
    root = tmp_path / "tidegate.slice/tidegate-tenants.service"
    (tmp_path / "tidegate.toml").write_text(
        f'[host]\ncgroup_root = "{root}"\nruntime_dir = "{tmp_path}/run"\ncpu_reserve_cores = 0\n'
    )
    return tmp_path


def weighed(host: Path, *, floor_cores: float, is_observed: bool = False) -> Finding:
    observe = f"observe = {str(is_observed).lower()}\n"
    tenant = f"{observe}qos = 'gold'\n[cpu]\nfloor_cores = {floor_cores}\n"
    (host / "tenants.d/web.toml").write_text(tenant)
    found = examined(host / "tidegate.toml", host / "tenants.d", host / "none.sock")
    (finding,) = [one for one in found if one.name == "cpu.weight"]
    return finding


def test_observed_tenants_weigh_what_a_neighbour_does(host: Path) -> None:
    finding = weighed(host, floor_cores=0.1, is_observed=True)
    assert finding.state == "ok"
    assert finding.meaning.endswith("have 50%, by weight: tidegate.slice 100, system.slice 100")


def test_limits_to_come_are_said_to_weigh_more(host: Path) -> None:
    finding = weighed(host, floor_cores=0.1)
    assert finding.state == "ok"
    assert finding.meaning.endswith("system.slice 100; 91% once limits are set")
    (host / "tidegate.slice/cpu.weight").write_text("1000\n")
    assert weighed(host, floor_cores=0.1).meaning.endswith(
        "91%, by weight: tidegate.slice 1000, system.slice 100"
    )


def test_floors_that_do_not_fit_beside_the_neighbours_are_named(host: Path) -> None:
    (host / "system.slice/cpu.weight").write_text("10000\n")
    finding = weighed(host, floor_cores=0.5)
    assert finding.state == "degraded"
    assert "their floors add up to 0.5 of" in finding.meaning
    assert "CPUWeight=" in finding.remedy


def test_who_lives_elsewhere_has_no_part_in_what_tidegates_slice_weighs(host: Path) -> None:
    (host / "system.slice/cpu.weight").write_text("10000\n")
    (host / "tenants.d/shop.toml").write_text(
        "qos = 'gold'\ncgroup = 'machine.slice/shop.scope'\n[cpu]\nfloor_cores = 0.5\n"
    )
    finding = weighed(host, floor_cores=0)
    assert finding.state == "ok", "its floor is no promise of that weight"
    assert finding.meaning.startswith("of a busy host all tenants below tidegate.slice together")


def test_a_weight_of_the_operator_s_own_is_taken_as_it_is(host: Path) -> None:
    (host / "tidegate.slice/cpu.weight").write_text("300\n")
    assert weighed(host, floor_cores=0.1).meaning.endswith("tidegate.slice 300, system.slice 100")


@pytest.mark.parametrize(
    ("above", "setting"),
    [
        ("machine.slice", "systemctl set-property machine.slice MemoryLow=BYTES"),
        ("libpod_parent", "write to /sys/fs/cgroup/libpod_parent/memory.low"),
    ],
)
def test_what_protects_a_cgroup_is_named_as_it_is_set_there(above: str, setting: str) -> None:
    assert _protection(Path("/sys/fs/cgroup") / above) == setting
