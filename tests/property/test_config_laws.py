"""Whatever is in the files, loading them gives a configuration or says what is wrong."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from agent.config import ConfigError, load_config
from agent.schema import SECTIONS, SUPPLY_KEYS, TENANT_KEYS
from agent.sections import GROUPS
from agent.settings import Config

NAMES = [*SECTIONS, "modes", "qos", "gold", "x y", "weight"]
NAMES += [key.name for _, keys in SECTIONS.values() for key in keys]
NAMES += [
    key.name for table in (SUPPLY_KEYS, TENANT_KEYS) for keys in table.values() for key in keys
]
NAMES += [*GROUPS, "sda"]

scalars = (
    st.integers(-(10**30), 10**30)
    | st.integers(0, 100)
    | st.floats()
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["60s", "1G", "gold", "strict", "/x", "\x1b[2J", "\u202e"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), values, max_size=5)


def toml(value: Any) -> str:
    """Return a value as TOML; tables are written inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml(name)} = {toml(item)}' for name, item in value.items())}}}"
    return repr(value)


def loaded(host: bytes, tenant: bytes) -> Config | ConfigError:
    """Load a host's and a tenant's file."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tidegate.toml").write_bytes(host)
        (folder / "tenants.d").mkdir()
        (folder / "tenants.d" / "web.toml").write_bytes(tenant)
        try:
            return load_config(
                folder / "tidegate.toml", folder / "tenants.d", cores=4.0, memory_bytes=4e9
            )
        except ConfigError as error:
            return error


def document_bytes(document: dict[str, Any]) -> bytes:
    """Return a document whose keys are at the top."""
    lines = [f"{toml(name)} = {toml(value)}" for name, value in document.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_give_a_configuration_or_faults(host: bytes, tenant: bytes) -> None:
    assert isinstance(loaded(host, tenant), Config | ConfigError)


@given(documents, documents)
@example({"qos": {"\x1b[2J": []}}, {"qos": {}})
def test_any_tables_give_a_configuration_or_printable_faults(
    host: dict[str, Any], tenant: dict[str, Any]
) -> None:
    result = loaded(document_bytes(host), document_bytes({"qos": "gold", **tenant}))
    if isinstance(result, ConfigError):
        assert result.problems
        assert all(problem.isprintable() and len(problem) < 600 for problem in result.problems)
    else:
        _assert_promises_fit(result)


def _assert_promises_fit(config: Config) -> None:
    for resource in config.resources:
        floors = [tenant.entitlements[resource].floor for tenant in config.tenants]
        assert 0 <= sum(floors) <= config.capacity[resource] * (1 + 1e-9)
        assert config.capacity[resource] > 0
