"""Settings on a command line: how they are read, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

from agent.allocation import Mode
from agent.config import ConfigError, load_config
from agent.overrides import parsed_override
from agent.settings import Config
from agent.tenant import Kind, Resource

HOST = '[disk.sda]\nread_capacity_bytes_per_s = "100M"\n'
WEB = 'qos = "gold"\n[cpu]\nfloor_cores = 1\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where a host's file and those of two tenants are."""
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tidegate.toml").write_text(HOST)
    for name in ("web", "x-1"):
        (tmp_path / "tenants.d" / f"{name}.toml").write_text(WEB)
    return tmp_path


def loaded(folder: Path, *texts: str) -> Config:
    return load_config(
        folder / "tidegate.toml",
        folder / "tenants.d",
        cores=4.0,
        memory_bytes=4e9,
        overrides=[parsed_override(text) for text in texts],
    )


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("modes.cpu=strict", ("modes", "cpu"), "strict"),
        ("modes.cpu = 'strict'", ("modes", "cpu"), "strict"),
        ("qos.gold.weight=6", ("qos", "gold", "weight"), 6),
        ("periods.horizon_s=5m", ("periods", "horizon_s"), "5m"),
        ("host.observe=true", ("host", "observe"), True),
        ("emergency.fraction=0.1", ("emergency", "fraction"), 0.1),
        ('disk."a.b".x=', ("disk", "a.b", "x"), ""),
        ("qos.new={weight = 1}", ("qos", "new"), {"weight": 1}),
        ("a.b=[1", ("a", "b"), "[1"),
        ("a.b=c=d", ("a", "b"), "c=d"),
        ("a.b=" + "9" * 4000, ("a", "b"), int("9" * 4000)),
        ("a.b=" + "[" * 4000, ("a", "b"), "[" * 4000),
    ],
)
def test_a_setting_is_a_key_and_a_value_or_a_bare_word(
    text: str, path: tuple[str, ...], value: Any
) -> None:
    found = parsed_override(text)
    assert (found.path, found.value, found.text, found.tenant) == (path, value, text, None)


def test_a_tenants_setting_says_whose_it_is() -> None:
    assert parsed_override("tenants.web.cpu.ceiling_cores=2").tenant == "web"
    assert parsed_override("tenants.web.qos=gold").value == "gold"


@pytest.mark.parametrize(
    "text",
    [
        *("", "=", "a", "a=1", "=1", "a.b", "a..b=1", "a b.c=1", "# a.b=1", "[a]\nb.c=1"),
        *("tenants.web=gold", "a.b=\x1b[2J", "a.b.c.d.e.f=1", "a.b=\udcff", "a.b=" + "1" * 5000),
    ],
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected SECTION\.KEY=VALUE, or tenants\.NAME"):
        parsed_override(text)


def test_settings_stand_in_the_files_the_last_of_two_for_one_place(folder: Path) -> None:
    config = loaded(
        folder,
        *("modes.cpu=elastic", "modes.cpu=strict", "qos.gold.weight=6"),
        *("disk.sda.read_reserve_bytes_per_s=1M", "tenants.web.cpu.ceiling_cores=2"),
    )
    assert config.modes[Resource.CPU] is Mode.STRICT
    web, other = config.tenants
    assert (web.qos.weight, other.qos.weight) == (6.0, 6.0)
    entitled = [tenant.entitlements[Resource.CPU] for tenant in (web, other)]
    assert [(one.floor, one.ceiling) for one in entitled] == [(1.0, 2.0), (1.0, float("inf"))]
    assert config.reserve[Resource(Kind.DISK_READ, "sda")] == 2.0**20


@pytest.mark.parametrize(
    ("texts", "problems"),
    [
        (
            ["modes.cpu=stict", "tenants.x-1.cpu.ceiling_cores=0"],
            [
                '--set: modes.cpu: expected "strict" or "elastic", got \'stict\' '
                "(did you mean 'strict'?)",
                "--set: tenants.x-1.cpu.ceiling_cores: expected cores above 0, got 0",
            ],
        ),
        (["tenants.wed.qos=gold"], ["--set: tenants.wed: expected a tenant that has a file, got"]),
        (
            ["qos.glod.weight=2", "qos.glod.burst_s=-1"],
            [
                "--set: qos.glod: unknown class (did you mean 'gold'?); one of its own needs",
                "--set: qos.glod.burst_s: expected seconds of at least 0",
            ],
        ),
        (["pools.fraction=0.1"], ["--set: pools: unknown section"]),
        (["tenants.web.qos=brass"], ["--set: tenants.web.qos: expected a QoS class,"]),
        (
            ["tenants.web.cpu.ceiling_cores=0.5"],
            ["--set: tenants.web.cpu.floor_cores: expected at most cpu.ceiling_cores (0.5 cores)"],
        ),
        (["tenants.web.cpu.floor_cores=3"], ["--set: sum of cpu.floor_cores: expected at most"]),
        (["modes.cpu.x=strict"], ['--set: modes.cpu: expected "strict" or "elastic", got a table']),
    ],
)
def test_faults_are_reported_in_the_usual_way(
    folder: Path, texts: list[str], problems: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, *texts)
    assert len(caught.value.problems) == len(problems)
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(expected)
