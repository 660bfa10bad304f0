"""A setting that is given in place of a file's is as if it stood in the file."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from documents import NAMES, document_bytes, documents, toml, values
from hypothesis import example, given
from hypothesis import strategies as st

from agent.config import ConfigError, load_config
from agent.overrides import Override, overridden, parsed_override
from agent.settings import Config

keys = st.sampled_from(NAMES) | st.text(min_size=1, max_size=4)
paths = st.lists(keys, min_size=2, max_size=3).map(tuple)
overrides = st.lists(st.builds(Override, paths, values, st.just("")), min_size=1, max_size=3)
TENANT = b'qos = "gold"\n'


def loaded(host: bytes, tenant: bytes, changes: list[Override]) -> Config | list[str]:
    """Return a configuration, or its faults without whose they are."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tidegate.toml").write_bytes(host)
        (folder / "tenants.d").mkdir()
        (folder / "tenants.d" / "web.toml").write_bytes(tenant)
        sources = ("--set: tenants.web.", "--set: ")
        files = ("tenants.d/web.toml: ", "tidegate.toml: ", "tenants.d: ")
        prefixes = (*sources, *(f"{folder}/{file}" for file in files))
        try:
            return load_config(
                folder / "tidegate.toml",
                folder / "tenants.d",
                cores=4.0,
                memory_bytes=4e9,
                overrides=changes,
            )
        except ConfigError as error:
            return [_without(prefixes, problem) for problem in error.problems]


def _without(prefixes: tuple[str, ...], problem: str) -> str:
    for prefix in prefixes:
        if problem.startswith(prefix):
            return problem.removeprefix(prefix)
    return problem


@given(documents, overrides)
@example({"modes": {"cpu": "elastic"}}, [Override(("modes", "cpu"), "strict", "")])
@example({"qos": {"gold": {"weight": 2}}}, [Override(("qos", "gold", "burst_s"), "1s", "")])
@example({"modes": 3}, [Override(("modes", "memory"), "elastic", "")])
def test_a_hosts_setting_is_as_if_it_stood_in_the_file(
    document: dict[str, Any], changes: list[Override]
) -> None:
    changes = [one for one in changes if one.tenant is None]
    written = document_bytes(overridden(document, changes))
    assert loaded(document_bytes(document), TENANT, changes) == loaded(written, TENANT, [])


@given(documents, overrides)
@example({"qos": "gold"}, [Override(("cpu", "ceiling_cores"), 2, "")])
@example({"qos": "silver", "cpu": {"weight": 2}}, [Override(("cpu", "weight"), 3.5, "")])
def test_a_tenants_setting_is_as_if_it_stood_in_its_file(
    document: dict[str, Any], changes: list[Override]
) -> None:
    written = document_bytes(overridden(document, changes))
    own = [Override(("tenants", "web", *one.path), one.value, "") for one in changes]
    assert loaded(b"", document_bytes(document), own) == loaded(b"", written, [])


@given(paths, values)
def test_a_setting_that_is_written_out_is_read_back(path: tuple[str, ...], value: Any) -> None:
    if path[0] == "tenants" and len(path) < 3:
        return
    text = f"{'.'.join(map(toml, path))}={toml(value)}"
    found = parsed_override(text)
    assert (found.path, repr(found.value)) == (path, repr(value))
