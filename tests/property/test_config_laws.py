"""Whatever is in the files, loading them gives a configuration or says what is wrong."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from documents import document_bytes, documents
from hypothesis import example, given
from hypothesis import strategies as st

from agent.config import ConfigError, load_config
from agent.settings import Config


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
