"""Settings given on a command line in place of what configuration files say.  Pure.

Nothing here knows which settings there are: what comes of it is checked like any file.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_TENANTS = "tenants"
_FEWEST_PARTS, _MOST_PARTS = 2, 5  # tenants.web.disk.sda.floor
_LONGEST = 4096
_EXPECTATION = "expected SECTION.KEY=VALUE, or tenants.NAME.KEY=VALUE"


@dataclass(frozen=True, slots=True)
class Override:
    """One setting: where it is to stand in a file, and what it is to be."""

    path: tuple[str, ...]  # tables and key
    value: Any
    text: str  # as it was given

    @property
    def tenant(self) -> str | None:
        """Return whose file it is for, None of the host's."""
        return self.path[1] if self.path[0] == _TENANTS else None


def parsed_override(text: str) -> Override:
    """Return the setting meant by `text`: a TOML key, "=", and a TOML value or a bare word.

    Raises:
        ValueError: `text` is no such thing.

    """
    key, is_there, value = text.partition("=")
    if not is_there or not text.isprintable() or len(text) > _LONGEST:
        raise ValueError(_EXPECTATION)
    path = _path_in(key)
    least = _FEWEST_PARTS + (path[0] == _TENANTS)
    if not least <= len(path) <= _MOST_PARTS:
        raise ValueError(_EXPECTATION)
    return Override(path, _value_in(value.strip()), text)


def of_host(overrides: Sequence[Override]) -> tuple[Override, ...]:
    """Return those that are for the host's file."""
    return tuple(one for one in overrides if one.tenant is None)


def by_tenant(overrides: Sequence[Override]) -> dict[str, tuple[Override, ...]]:
    """Return those that are for tenants' files, by tenant, their paths as in such a file."""
    found: dict[str, tuple[Override, ...]] = {}
    for one in overrides:
        if one.tenant is not None:
            own = replace(one, path=one.path[2:])
            found[one.tenant] = (*found.get(one.tenant, ()), own)
    return found


def overridden(document: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Return a file's tables with settings in place of theirs; of two for one place the last."""
    tables = dict(document)
    for one in overrides:
        tables = _with(tables, one.path, one.value)
    return tables


def _with(table: Any, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    own = dict(table) if isinstance(table, Mapping) else {}
    own[name] = _with(own.get(name), tuple(rest), value) if rest else value
    return own


def _path_in(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, as TOML reads it."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(_EXPECTATION) from error
    path = []
    while isinstance(table, dict):
        if len(table) != 1:  # a comment has none
            raise ValueError(_EXPECTATION)
        ((name, table),) = table.items()
        path.append(name)
    return tuple(path)


def _value_in(text: str) -> Any:
    """Return a value as TOML reads it; what TOML does not read is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # numbers of thousands of digits, lists of lists of lists
        return text
