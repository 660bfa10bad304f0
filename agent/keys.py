"""Kinds of values in configuration files: how each is read and how it is described.  Pure.

`read_table` collects every fault of a table; nothing here opens a file or knows what keys exist.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.quoting import MOST_SHOWN, cut, meant
from agent.units import TooLargeError, UnknownUnitError, parse_bytes, parse_seconds

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}", re.ASCII)
INTERFACE_EXPECTATION = "an interface's name, such as eth0 or enp1s0, of at most 15 characters"
_MAX_SECONDS = 1e9
_MAX_COUNT = 1_000_000
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,240}\.(service|slice|scope)", re.ASCII)
_TOP_UNITS = ("-.slice", "init.scope")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value; `expectation` completes "expected ...".

    `read` raises ValueError or TypeError where a value is not of the kind.
    """

    expectation: str
    read: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table; `field` is the setting that it fills."""

    name: str
    kind: Kind
    field: str
    is_required: bool = False


class PartError(ValueError):
    """Part of a value is wrong: `place` is a key in its table, and the text says why."""

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        super().__init__(message)


class Faults:
    """What is wrong with one file, line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, message: str) -> None:
        """Note a fault of `where`, a file's section.key."""
        self.lines.append(f"{where}: {message}" if where else message)

    def wrong(self, where: str, kind: Kind, value: Any, error: Exception | None = None) -> None:
        """Note a value that is not of its kind, since reading it failed with `error`."""
        if isinstance(error, PartError):
            self.add(dotted(where, error.place), str(error))
            return
        hint = _hint(value, kind.choices)
        if isinstance(error, TooLargeError):
            hint = " (too large)"
        if isinstance(error, UnknownUnitError):
            hint = f" ({error.known})"
        self.add(where, f"expected {kind.expectation}, got {shown(value)}{hint}")

    def unknown(self, where: str, what: str, name: str, known: Sequence[str]) -> None:
        """Note a name that means nothing, with the one that was probably meant."""
        self.add(where, unknown_text(what, name, known))


def read_table(
    table: Any,
    keys: Sequence[Key],
    *,
    where: str,
    faults: Faults,
    sections: Sequence[str] = (),
    is_complete: bool = True,
) -> dict[str, Any]:
    """Return the settings in `table` by field name, without those that are at fault.

    `where` is the table's name, "" for the top of a file, whose `sections` are read elsewhere.
    Keys that are required are missed only where the table has to be complete.
    """
    if not isinstance(table, Mapping):
        faults.add(where, f"expected a table ([{where}]), got {shown(table)}")
        return {}
    by_name = {key.name: key for key in keys}
    found = {}
    for name in (name for name in table if name not in sections):
        key = by_name.get(name)
        if key is None:
            faults.unknown(dotted(where, name), "setting", name, [*by_name, *sections])
            continue
        try:
            found[key.field] = key.kind.read(table[name])
        except (TypeError, ValueError) as error:
            faults.wrong(dotted(where, name), key.kind, table[name], error)
    for key in keys:
        if is_complete and key.is_required and key.name not in table:
            faults.add(dotted(where, key.name), f"expected {key.kind.expectation}, got nothing")
    return found


def unknown_text(what: str, name: str, known: Sequence[str]) -> str:
    """Return that a name means nothing, and which was probably meant, or which there are."""
    return f"unknown {what}" + (_hint(name, known) or f" (known: {', '.join(known)})")


def dotted(where: str, name: str) -> str:
    """Return `name` under the table `where`, in quotes if TOML needs them."""
    is_bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    text = name if is_bare and len(name) <= MOST_SHOWN else shown(name)
    return f"{where}.{text}" if where else text


def shown(value: Any) -> str:
    """Return a value from a file so that it fits on a line and controls no terminal."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return cut(ascii(value) if isinstance(value, str) else _number_text(value))


def _number_text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python converts
        return "a number of thousands of digits"


def number(
    unit: str, *, above: float | None = None, least: float = 0.0, most: float = math.inf
) -> Kind:
    """Return the kind of numbers in `unit` from `least` (or above `above`) to `most`."""
    text = f"{unit} {_range_text(above, least, most)}"

    def read(value: Any) -> float:
        return _within(_finite(value), above, least, most)

    return Kind(text, read)


def seconds(*, above: float | None = None, least: float = 0.0) -> Kind:
    """Return the kind of durations: a number of seconds or text such as "5m"."""

    def read(value: Any) -> float:
        amount = parse_seconds(value) if isinstance(value, str) else _finite(value)
        return _within(amount, above, least, _MAX_SECONDS)

    return Kind(f'seconds {_range_text(above, least)}, such as 60, "60s" or "5m"', read)


def byte_count(*, least: int = 0) -> Kind:
    """Return the kind of byte counts: a whole number or text such as "512M"."""

    def read(value: Any) -> int:
        amount = parse_bytes(value) if isinstance(value, str) else _whole(value)
        return int(_within(amount, None, least, 1 << 62))

    return Kind(f'bytes of at least {least}, such as 1048576, "512M" or "2G"', read)


def byte_rate(*, least: int) -> Kind:
    """Return the kind of bytes per second: a number or text such as "100M"."""

    def read(value: Any) -> float:
        amount = parse_bytes(value) if isinstance(value, str) else _finite(value)
        return _within(float(amount), None, least, 1 << 62)

    return Kind(f'bytes per second {_range_text(None, least)}, such as 1048576 or "100M"', read)


def rate(what: str) -> Callable[..., Kind]:
    """Return the kind of so many `what` per second, from the least that there may be."""

    def at_least(*, least: int) -> Kind:
        return number(f"{what} per second", least=least)

    return at_least


def count(*, least: int, most: int = _MAX_COUNT) -> Kind:
    """Return the kind of whole numbers from `least` to `most`."""

    def read(value: Any) -> int:
        return int(_within(_whole(value), None, least, most))

    return Kind(f"a whole number {_range_text(None, least, most)}", read)


def flag() -> Kind:
    """Return the kind of true and false."""

    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError("neither true nor false")
        return value

    return Kind("true or false", read)


def choice(names: Sequence[str], what: str = "") -> Kind:
    """Return the kind of text that is one of `names`; `what` says of what they are names."""

    def read(value: Any) -> str:
        if value not in names:
            raise ValueError("not a choice")
        return str(value)

    listed = " or ".join(f'"{name}"' for name in names)
    return Kind(f"{what} {listed}".lstrip(), read, tuple(names))


def is_interface(name: str) -> bool:
    """Say whether an interface may be called so, as far as TOML and people can write it."""
    return _INTERFACE.fullmatch(name) is not None


def interface() -> Kind:
    """Return the kind of names of interfaces."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not is_interface(value):
            raise ValueError("no name of an interface")
        return value

    return Kind(INTERFACE_EXPECTATION, read)


def absolute_path() -> Kind:
    """Return the kind of absolute paths without steps upwards."""

    def read(value: Any) -> Path:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError("no path")
        path = Path(value)
        if not path.is_absolute() or ".." in path.parts:
            raise ValueError("not absolute")
        return path

    return Kind("an absolute path", read)


def unit_name() -> Kind:
    """Return the kind of names of systemd's units that have a cgroup."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not _UNIT.fullmatch(value) or _is_nobodys(value):
            raise ValueError("no unit of a tenant's")
        return value

    return Kind('a unit such as "acme.service" or "acme.slice", not tidegate\'s own', read)


def _is_nobodys(name: str) -> bool:
    """Say whether a cgroup of that name is no tenant's: the whole host's, or ours."""
    return name in _TOP_UNITS or (name.startswith("tidegate") and "." in name)


def cgroup_path() -> Kind:
    """Return the kind of paths of cgroups below the mount, without steps upwards."""

    def read(value: Any) -> str:
        path = value.removeprefix("/sys/fs/cgroup/") if isinstance(value, str) else ""
        parts = path.split("/")
        if not path.isprintable() or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError("no path")
        if _is_nobodys(parts[0]) or _is_nobodys(parts[-1]) or "*" in parts[0]:
            raise ValueError("no tenant's")
        return path

    example = '"machine.slice/vm.scope"'
    return Kind(f"a path below /sys/fs/cgroup, such as {example}, not tidegate's own", read)


def _hint(value: Any, known: Sequence[str]) -> str:
    """Return a hint at the known name that a value of a file is close to, or nothing."""
    said = meant(value, known) if isinstance(value, str) else ""
    return f" ({said})" if said else ""


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    try:
        amount = float(value)
    except OverflowError as error:
        raise TooLargeError("no number of Python's is that large") from error
    if not math.isfinite(amount):
        raise ValueError("not finite")
    return amount


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _within(amount: float, above: float | None, least: float, most: float) -> float:
    if amount > most:
        raise TooLargeError(f"more than {most:g}")
    if amount < least or (above is not None and amount <= above):
        raise ValueError("out of range")
    return amount


def _range_text(above: float | None, least: float, most: float = math.inf) -> str:
    if above is not None:
        return f"above {above:g}" + ("" if math.isinf(most) else f", at most {most:g}")
    return f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
