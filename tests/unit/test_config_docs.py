"""docs/config.md against the keys themselves: every key, its values and its default."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config import load_config
from agent.event_sections import CALENDAR_KEYS, EVENT_KEYS
from agent.keys import Key
from agent.schema import (
    METRICS_KEYS,
    MODE_KEYS,
    QOS_KEYS,
    SECTIONS,
    SUPPLY_KEYS,
    TENANT_KEYS,
    UPLINK_KEYS,
    tenant_keys,
)
from agent.sections import Supply
from agent.settings import DEFAULT_MODES, DEFAULT_QOS, UplinkSettings
from agent.tenant import Entitlement, Kind
from agent.units import parse_bytes

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "config.md").read_text()
NO_DEFAULT = {
    "(none is read)": None,
    "what the host has": None,
    "(not divided)": None,
    "the host": float("inf"),
}
NO_DEFAULT["512M, or 5 % of the memory where that is more; at most half of it"] = None
NO_DEFAULT["(none is read)"] = None
NO_DEFAULT["16M, or 32M where there is no swap"] = None


def rows(start: str) -> dict[str, list[str]]:
    """Return the cells after the key of each row below the heading that begins with `start`."""
    _, _, after = TEXT.partition(f"\n### {start}")
    assert after, f"no heading {start}"
    section = re.split(r"\n##", after)[0]
    found = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, flags=re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in found}


def default_of(key: Key, cell: str) -> Any:
    """Return what a documented default means."""
    if cell in NO_DEFAULT:
        return NO_DEFAULT[cell]
    return key.kind.read(tomllib.loads(f"x = {cell.strip('`')}")["x"])


def assert_documented(name: str, key: Key, default: Any, cells: list[str]) -> None:
    """Check one row: what may be written, and what holds where nothing is."""
    assert cells[0] == key.kind.expectation.split(", such as")[0], name
    assert default_of(key, cells[1]) == default, name


def test_the_spellings_of_bytes_that_are_said_to_mean_the_same_do() -> None:
    said = TEXT.partition("All are powers of 1024, and ")[2].partition(" mean")[0]
    spellings = re.findall(r'`"([^"]+)"`', said)
    assert len(spellings) == 4
    assert {parse_bytes(text) for text in spellings} == {512 << 20}


def test_the_readme_says_what_each_class_buys() -> None:
    text = (DOCS.parent / "README.md").read_text()
    for qos in DEFAULT_QOS:
        weight, shielded = f"{qos.weight:g}", f"{100 * qos.risk_aversion:g} %"
        row = f"| {qos.name} | {weight} | {shielded} | {qos.emergency_rank}"
        (line,) = (line for line in text.splitlines() if line.startswith(row))
        assert line.endswith(f" | {qos.burst_s:g} s |")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_host_is_documented_with_its_default(section: str) -> None:
    made, keys = SECTIONS[section]
    documented = rows(f"`[{section}]`")
    assert list(documented) == [key.name for key in keys]
    for key in keys:
        default = getattr(made(), key.field)
        assert_documented(key.name, key, default, documented[key.name])


def test_modes_are_documented_with_their_defaults() -> None:
    documented = rows("`[modes]`")
    assert list(documented) == [key.name for key in MODE_KEYS]
    for key in MODE_KEYS:
        default = DEFAULT_MODES[Kind(key.name)].value
        assert_documented(key.name, key, default, documented[key.name])


def test_every_key_of_what_is_to_be_divided_is_documented() -> None:
    documented = rows("`[disk.NAME]`, `[network]` and `[requests]`")
    section = {"disk": "disk.NAME"}
    expected = {
        f"{section.get(kind.group, kind.group)}.{key.name}": key
        for kind, keys in SUPPLY_KEYS.items()
        for key in keys
    }
    assert list(documented) == list(expected)
    for name, key in expected.items():
        default = None if key.field == "capacity" else Supply(1.0).reserve
        assert_documented(name, key, default, documented[name])


def test_every_key_of_an_uplink_is_documented() -> None:
    documented = rows("`[network.NAME]`")
    assert list(documented) == [f"network.NAME.{key.name}" for key in UPLINK_KEYS]
    for key in UPLINK_KEYS:
        name = f"network.NAME.{key.name}"
        assert_documented(name, key, getattr(UplinkSettings(), key.field), documented[name])


def test_classes_are_documented_with_their_numbers() -> None:
    documented = rows("`[qos.CLASS]`")
    assert list(documented) == [key.name for key in QOS_KEYS]
    for key in QOS_KEYS:
        for place, qos in enumerate(DEFAULT_QOS, start=1):
            said = documented[key.name][place]
            assert default_of(key, said) == getattr(qos, key.field), (key.name, qos.name)


def test_every_key_of_an_event_and_of_a_calendar_is_documented() -> None:
    documented = rows("`[[events]]` and `[[calendars]]`")
    expected = {f"events.{key.name}": key for key in EVENT_KEYS}
    expected |= {f"calendars.{key.name}": key for key in CALENDAR_KEYS}
    assert list(documented) == list(expected)
    for name, key in expected.items():
        assert documented[name][0] == key.kind.expectation.split(", such as")[0], name
        assert (documented[name][1] == "(required)") == key.is_required, name


def test_every_key_of_a_tenant_is_documented_with_its_default() -> None:
    documented = rows("`[cpu]` and `[memory]`") | rows("`[disk]`, `[network]` and `[requests]`")
    expected = {f"{k.group}.{key.name}": key for k, keys in TENANT_KEYS.items() for key in keys}
    assert set(documented) == set(expected)
    for name, key in expected.items():
        default = getattr(Entitlement(), key.field)
        assert_documented(name, key, default, documented[name])
    (key,), metrics = METRICS_KEYS, rows("`[metrics]`")
    assert list(metrics) == [f"metrics.{key.name}"]
    assert_documented("metrics.file", key, None, metrics["metrics.file"])


def test_every_key_at_the_top_of_a_tenants_file_is_documented() -> None:
    section = TEXT.partition("\n## A tenant's file\n")[2].partition("\n### ")[0]
    found = re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, flags=re.MULTILINE)
    documented = {name: cells.split(" | ") for name, cells in found}
    expected = {key.name: key for key in tenant_keys(DEFAULT_QOS)}
    assert set(documented) == set(expected)
    for name, key in expected.items():
        assert (documented[name][1] == "(required)") == key.is_required, name
    bounded, cells = expected["memory_max_bytes"], documented["memory_max_bytes"]
    assert cells[:2] == [bounded.kind.expectation.split(", such as")[0], "(left as it is)"]


def test_the_examples_are_valid(tmp_path: Path) -> None:
    config = load_config(
        DOCS / "examples" / "tidegate.toml",
        DOCS / "examples" / "tenants.d",
        cores=2.0,
        memory_bytes=float(2 << 30),
    )
    assert {tenant.qos.name for tenant in config.tenants} == {"platinum", "gold", "silver"}
    (tmp_path / "name.toml").write_text((DOCS / "examples" / "tenant.toml").read_text())
    one = load_config(
        DOCS / "examples" / "tidegate.toml", tmp_path, cores=2.0, memory_bytes=float(4 << 30)
    )
    assert len(one.tenants) == 1
