"""Configuration: TOML files in, a frozen `Config` out, every fault of every file at once.

Nothing here decides what a setting does; `agent.schema` says what each may hold.
"""

import math
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.allocation import Mode
from agent.event import EventSource
from agent.event_sections import EVENT_GROUPS, Reading, event_sources
from agent.expanding import calendar_reading, expanded
from agent.homes import nested
from agent.keys import Faults, Kind, dotted, read_table, shown
from agent.overrides import Override, by_tenant, of_host, overridden
from agent.quoting import meant
from agent.reading import regular_file
from agent.schema import (
    METRICS,
    METRICS_KEYS,
    MODE_KEYS,
    QOS_KEYS,
    SECTION_NAMES,
    SECTIONS,
    TENANT_KEYS,
    tenant_keys,
)
from agent.sections import GROUPS, check_reached, entitlements, exact_text, supplies, uplinks
from agent.settings import DEFAULT_MODES, DEFAULT_QOS, Config, HostSettings, Periods
from agent.tenant import Entitlement, QosClass, Resource, Tenant
from agent.toml_faults import toml_fault
from agent.units import seconds_text

# A hundred classes of tenants take 10 kB; tomllib's time grows with the square of a key's parts.
_MAX_FILE_BYTES = 64 << 10
_MAX_DOTS = 100
_MAX_PROBLEMS_NAMED = 3
_SUFFIX = ".toml"
_OVERRIDES = "--set: "
_MAX_HORIZON_STEPS = 1000
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_NAME_EXPECTATION = "a-z, 0-9, '_' and '-', beginning with a letter or digit, at most 63 long"


class ConfigError(Exception):
    """The configuration is unusable; `problems` holds one line for each fault of each file.

    Its text names only the first: it goes into one line of a status, and files may be thousands.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        named = self.problems[:_MAX_PROBLEMS_NAMED]
        further = len(self.problems) - len(named)
        more = [f"and {further} more (`tidegate check-config` names all)"] if further else []
        super().__init__("; ".join([*named, *more]))


class _UnfitTextError(Exception):
    """A file's text is not even worth parsing."""


@dataclass(frozen=True, slots=True)
class _File:
    """One configuration file, what is to stand in it, and what was found wrong with it."""

    path: Path
    faults: Faults
    overrides: Sequence[Override] = ()
    source: str = ""  # whose fault it is, where it is not the file's
    events: list[EventSource] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """Return each fault behind the file's name."""
        source = self.source or f"{_path_text(self.path)}: "
        return (f"{source}{line}" for line in self.faults.lines)


def load_config(
    path: Path,
    tenants_dir: Path,
    *,
    cores: float,
    memory_bytes: float,
    overrides: Sequence[Override] = (),
) -> Config:
    """Read the host's file and each tenant's, and check them against what the host has.

    With `overrides` these stand in the files, which are good without them: all faults are theirs.

    Raises:
        ConfigError: Something is wrong; every fault of every file is named.

    """
    source, own = _OVERRIDES if overrides else "", by_tenant(overrides)
    host_file = _File(path, Faults(), of_host(overrides), source)
    document = _document(host_file)
    config = _host_config(document, host_file.faults, cores=cores, memory_bytes=memory_bytes)
    read = calendar_reading()
    host_file.events.extend(event_sources(document, host_file.faults, read=read))
    folder = _File(tenants_dir, Faults(), source=source)
    names, left_alone = _tenant_files(folder)
    _check_overridden(own, [name.removesuffix(_SUFFIX) for name in names], folder.faults)
    files = [_tenant_file(tenants_dir / name, own, source) for name in names]
    found = [_tenant(file, config, read) for file in files]
    tenants = tuple(tenant for tenant in found if tenant is not None)
    config = replace(config, tenants=tenants, left_alone=left_alone)
    config = _with_events(config, [host_file, *files])
    _check_floors(config, folder.faults)
    for name, fault in nested(tenants):
        folder.faults.add(f"{name}.toml", fault)
    problems = [line for file in (host_file, folder, *files) for line in file.problems()]
    if problems:
        raise ConfigError(problems)
    return config


def load_host(path: Path) -> HostSettings:
    """Read only where things are from the host's file, whatever else may be wrong with it.

    Raises:
        ConfigError: The file cannot be read, or its [host] table is at fault.

    """
    file = _File(path, Faults())
    _, keys = SECTIONS["host"]
    found = read_table(_document(file).get("host", {}), keys, where="host", faults=file.faults)
    if file.faults.lines:
        raise ConfigError(tuple(file.problems()))
    return HostSettings(**found)


def check_reload(before: Config, after: Config) -> None:
    """Refuse a reload that would leave limits, records or the socket behind at another place.

    Raises:
        ConfigError: A setting differs that is read at start only.

    """
    problems = [
        f"host.{name}: expected {getattr(before.host, name)} until the agent is restarted, "
        f"got {getattr(after.host, name)}"
        for name in ("cgroup_root", "state_dir", "runtime_dir")
        if getattr(before.host, name) != getattr(after.host, name)
    ]
    if problems:
        raise ConfigError(problems)


def _document(file: _File) -> dict[str, Any]:
    """Return a file's tables, or none of them and a fault."""
    text = ""
    try:
        text = regular_file(file.path, most_bytes=_MAX_FILE_BYTES).decode("utf-8")
        _check_text(text)
        return overridden(tomllib.loads(text), file.overrides)
    except OSError as error:
        file.faults.add("", f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        file.faults.add("", f"not UTF-8: {error.reason} at byte {error.start}")
    except RecursionError:
        file.faults.add("", "not valid TOML: nested too deeply")
    except tomllib.TOMLDecodeError as error:
        file.faults.add("", toml_fault(str(error), text))
    except _UnfitTextError as error:
        file.faults.add("", str(error))
    except ValueError:  # of Python's conversion, which tomllib lets through
        file.faults.add("", "not valid TOML: a number of thousands of digits")
    return {}


def _check_text(text: str) -> None:
    """Refuse what tomllib would be puzzled by, or would take very long for."""
    if text.startswith("\ufeff"):
        raise _UnfitTextError("begins with a byte order mark: save it as UTF-8 without one")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _MAX_DOTS and not line.lstrip(" \t").startswith("#"):
            raise _UnfitTextError(
                f"expected at most {_MAX_DOTS} dots on a line, got more on line {number}"
            )


def _host_config(
    document: Mapping[str, Any], faults: Faults, *, cores: float, memory_bytes: float
) -> Config:
    for name in (name for name in document if name not in SECTION_NAMES):
        faults.unknown(dotted("", name), "section", name, SECTION_NAMES)
    host, periods, emergency, pace, forecast, calendar, drift, log = (
        made(**read_table(document.get(name, {}), keys, where=name, faults=faults))
        for name, (made, keys) in SECTIONS.items()
    )
    modes = read_table(document.get("modes", {}), MODE_KEYS, where="modes", faults=faults)
    total = _capacities(host, faults, cores=cores, memory_bytes=memory_bytes)
    configured = supplies(document, faults)
    said = {resource: supply.capacity for resource, supply in configured.items()}
    _check_periods(periods, faults)
    return Config(
        machine={Resource.CPU: cores, Resource.MEMORY: memory_bytes, **said},
        total={**total, **said},
        reserve={resource: supply.reserve for resource, supply in configured.items()},
        host=host,
        periods=periods,
        modes={r: Mode(modes.get(r.kind, DEFAULT_MODES[r.kind])) for r in (*total, *said)},
        emergency=emergency,
        pace=pace,
        forecast=forecast,
        calendar=calendar,
        drift=drift,
        log=log,
        qos=_qos_classes(document.get("qos", {}), faults),
        uplinks=uplinks(document, faults),
    )


def _is_slip(name: str, settings: Any, where: str, faults: Faults) -> bool:
    """Say whether a new class is half of one, and named nearly as one that there is: a fault."""
    hint = meant(name, [qos.name for qos in DEFAULT_QOS])
    needed = [key.name for key in QOS_KEYS]
    if not hint or not isinstance(settings, Mapping) or set(needed) <= set(settings):
        return False
    faults.add(where, f"unknown class ({hint}); one of its own needs {', '.join(needed)}")
    return True


def _capacities(
    host: HostSettings, faults: Faults, *, cores: float, memory_bytes: float
) -> dict[Resource, float]:
    """Return the totals to divide, checked against the machine and against the reserve."""
    cpu, memory = Resource.CPU, Resource.MEMORY
    said = {cpu: host.cpu_capacity_cores, memory: host.memory_capacity_bytes}
    total = {}
    for resource, has in ((cpu, cores), (memory, memory_bytes)):
        kind, is_cpu = resource.kind, resource == cpu
        capacity = has if said[resource] is None else float(said[resource] or 0.0)
        unit = "cores" if is_cpu else "bytes"
        if capacity > has:
            most, got = exact_text(kind, has), exact_text(kind, capacity)
            where = f"host.{resource}_capacity_{unit}"
            faults.add(where, f"expected at most the {most} that this host has, got {got}")
        reserve = host.cpu_reserve_cores if is_cpu else host.memory_kept_bytes(capacity)
        if reserve >= capacity:
            most, got = exact_text(kind, capacity), exact_text(kind, reserve)
            where = f"host.{resource}_reserve_{unit}"
            faults.add(where, f"expected less than the capacity of {most}, got {got}")
        total[resource] = capacity
    return total


def _check_periods(periods: Periods, faults: Faults) -> None:
    step_text = f"periods.step_s ({seconds_text(periods.step_s)})"
    if periods.step_s < periods.tick_s:
        faults.add(
            "periods.step_s",
            f"expected at least periods.tick_s ({seconds_text(periods.tick_s)}), "
            f"got {seconds_text(periods.step_s)}",
        )
    steps = periods.horizon_s / periods.step_s
    if abs(steps - round(steps)) > 1e-9 * steps or not 1 <= round(steps) <= _MAX_HORIZON_STEPS:
        faults.add(
            "periods.horizon_s",
            f"expected 1 to {_MAX_HORIZON_STEPS} times {step_text}, "
            f"got {seconds_text(periods.horizon_s)}",
        )
    if periods.refit_s < periods.step_s:
        faults.add(
            "periods.refit_s",
            f"expected at least {step_text}, got {seconds_text(periods.refit_s)}",
        )


def _qos_classes(table: Any, faults: Faults) -> tuple[QosClass, ...]:
    """Return the built-in classes as changed by the file, and then its own."""
    if not isinstance(table, Mapping):
        faults.add("qos", f"expected a table of classes, got {shown(table)}")
        return DEFAULT_QOS
    built_in = {qos.name: qos for qos in DEFAULT_QOS}
    classes = dict(built_in)
    for name, settings in table.items():
        where = dotted("qos", name)
        is_new = name not in built_in
        if not NAME.fullmatch(name):
            faults.add(where, f"expected a class name of {_NAME_EXPECTATION}")
        is_slip = is_new and _is_slip(name, settings, where, faults)
        is_complete = is_new and not is_slip
        found = read_table(settings, QOS_KEYS, where=where, faults=faults, is_complete=is_complete)
        if is_new and not NAME.fullmatch(name):
            continue  # tenants' faults would name it, whatever it does to a terminal
        stem = built_in.get(name, QosClass(name, 1.0, 0.0, 0, 0.0))
        classes[name] = replace(stem, **found)
    return tuple(classes.values())


def _tenant_files(folder: _File) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of the tenants' files in order, and those of other files with why."""
    try:
        names = sorted(os.listdir(folder.path))  # noqa: PTH208 - names only, ten thousand of them
    except OSError as error:
        folder.faults.add("", f"the tenants' directory cannot be read: {error.strerror or error}")
        return [], ()
    why = {name: _why_left_alone(name) for name in names}
    left_alone = tuple(f"{_path_text(Path(name))} ({why[name]})" for name in names if why[name])
    return [name for name in names if not why[name]], left_alone


def _why_left_alone(name: str) -> str:
    """Say why a file is no tenant's; editors' backups must not be."""
    if name.startswith("."):
        return "hidden"
    return "" if name.endswith(_SUFFIX) else f"does not end in {_SUFFIX}"


def _tenant_file(path: Path, overrides: Mapping[str, Sequence[Override]], source: str) -> _File:
    name = path.name.removesuffix(_SUFFIX)
    source = source and f"{source}{dotted('tenants', name)}."
    return _File(path, Faults(), overrides.get(name, ()), source)


def _check_overridden(overridden: Iterable[str], names: Sequence[str], faults: Faults) -> None:
    """Refuse settings of tenants that have no file."""
    known = Kind("a tenant that has a file", str, tuple(names))
    for name in overridden:
        if name not in known.choices:
            faults.wrong(dotted("tenants", name), known, name)


def _tenant(file: _File, config: Config, read: Reading) -> Tenant | None:
    """Return the tenant that a file describes, or None and the file's faults."""
    name, faults = file.path.name.removesuffix(_SUFFIX), file.faults
    if not NAME.fullmatch(name):
        faults.add("", f"expected a file name of {_NAME_EXPECTATION}, and then .toml")
    before = len(faults.lines)
    document = _document(file)
    if len(faults.lines) > before:
        return None
    classes = config.qos
    by_name = {qos.name: qos for qos in classes}
    sections = (*GROUPS, METRICS, *EVENT_GROUPS)
    found = read_table(document, tenant_keys(classes), where="", faults=faults, sections=sections)
    metrics = read_table(document.get(METRICS, {}), METRICS_KEYS, where=METRICS, faults=faults)
    file.events.extend(event_sources(document, faults, tenant=name, read=read))
    promised = entitlements(document, config.resources, faults)
    if "unit" in found and "cgroup" in found:
        faults.add("cgroup", "expected nothing beside unit, which says where the tenant lives")
    if "memory_max_bytes" in found and ("unit" in found or "cgroup" in found):
        why = "is its owner's to set: a tenant elsewhere is killed by no limit of tidegate's"
        faults.add("memory_max_bytes", why)
    if ("unit" in found or "cgroup" in found) and "veth" not in found:
        check_reached(promised, faults)
    most = float(found.get("memory_max_bytes", math.inf))
    promised[Resource.MEMORY] = _below_max(promised[Resource.MEMORY], most, faults)
    if faults.lines:
        return None
    return Tenant(
        name=name,
        qos=by_name[found["qos"]],
        entitlements=promised,
        is_observed_only=found.get("is_observed_only", False),
        metrics_file=str(metrics["file"]) if "file" in metrics else None,
        regions=found.get("regions", ()),
        memory_max_bytes=most,
        veth=found.get("veth"),
        unit=found.get("unit", ""),
        cgroup=found.get("cgroup", ""),
    )


def _below_max(memory: Entitlement, most: float, faults: Faults) -> Entitlement:
    """Return a promise of memory whose ceiling is no higher than where the kernel kills."""
    if most < memory.floor:
        least = exact_text(Resource.MEMORY.kind, memory.floor)
        got = exact_text(Resource.MEMORY.kind, most)
        faults.add("memory_max_bytes", f"expected at least memory.floor_bytes ({least}), got {got}")
    return replace(memory, ceiling=min(memory.ceiling, most))


def _check_floors(config: Config, faults: Faults) -> None:
    """Refuse promises that cannot all be kept at once (law 3)."""
    for resource in config.resources:
        kind, where = resource.kind, ".".join(filter(None, (resource.kind.group, resource.device)))
        floors = {tenant.name: tenant.entitlements[resource].floor for tenant in config.tenants}
        capacity, promised = config.capacity[resource], sum(floors.values())
        if 0 < capacity < promised * (1 - 1e-12):
            largest = sorted(floors, key=lambda name: (-floors[name], name))[:3]
            named = ", ".join(f"{name} {exact_text(kind, floors[name])}" for name in largest)
            reserve = config.total[resource] - capacity
            faults.add(
                f"sum of {where}.{TENANT_KEYS[kind][0].name}",
                f"expected at most {exact_text(kind, capacity)} "
                f"({exact_text(kind, config.total[resource])} less a reserve of "
                f"{exact_text(kind, reserve)}), got {exact_text(kind, promised)} "
                f"from {len(floors)} tenant(s), the largest being {named}",
            )


def _with_events(config: Config, files: Sequence[_File]) -> Config:
    """Add all files' events; what cannot be expanded keeps no agent from starting."""
    events = tuple(event for file in files for event in file.events)
    expansion = expanded(events, datetime.now(UTC).timestamp())
    return replace(config, events=events, expansion=expansion)


def _path_text(path: Path) -> str:
    """Return a path that any terminal can show, bytes that are not text escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
