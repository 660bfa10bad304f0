"""Tables of disks, the network and requests: TOML tables in, amounts by resource out.  Pure.

Nothing here opens a file; `agent.schema` says what each key may hold.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.amounts import amount_text, unit_of
from agent.keys import (
    INTERFACE_EXPECTATION,
    Faults,
    Key,
    dotted,
    is_interface,
    read_table,
    shown,
)
from agent.schema import SUPPLY_KEYS, TENANT_KEYS, UPLINK_KEYS
from agent.settings import UplinkSettings
from agent.tenant import Entitlement, Kind, Resource

DISK, NETWORK = Kind.DISK_READ.group, Kind.NET_OUT.group
GROUPS = tuple(dict.fromkeys(kind.group for kind in Kind))
SUPPLY_GROUPS = tuple(dict.fromkeys(kind.group for kind in SUPPLY_KEYS))
_DISK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!._-]{0,62}", re.ASCII)
_DISK_EXPECTATION = "a disk's name in /sys/class/block, such as sda or nvme0n1"

Settings = dict[Kind, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Supply:
    """What there is of one resource to be divided, and what of it is the system's own."""

    capacity: float
    reserve: float = 0.0


def supplies(document: Mapping[str, Any], faults: Faults) -> dict[Resource, Supply]:
    """Return what the host's file says that there is beside cpu and memory.

    What has no capacity is not divided: it is only counted.
    """
    found: dict[Resource, Supply] = {}
    for group in SUPPLY_GROUPS:
        table = document.get(group, {})
        for device, where, one in _devices(group, table, faults):
            sections = [key.name for key in UPLINK_KEYS] if group == NETWORK and device else []
            for kind, settings in _settings(one, SUPPLY_KEYS, where, faults, sections).items():
                supply = _supply(kind, settings, where, faults)
                if supply is not None:
                    found[Resource(kind, device)] = supply
    return found


def uplinks(document: Mapping[str, Any], faults: Faults) -> dict[str, UplinkSettings]:
    """Return how each uplink is set up that the host's file names."""
    names = [key.name for key in UPLINK_KEYS]
    found = {}
    for device, where, one in _devices(NETWORK, document.get(NETWORK, {}), Faults()):
        if device:
            own = {name: value for name, value in one.items() if name in names}
            settings = read_table(own, UPLINK_KEYS, where=where, faults=faults)
            found[device] = UplinkSettings(**settings)
    return found


def entitlements(
    document: Mapping[str, Any], resources: Sequence[Resource], faults: Faults
) -> dict[Resource, Entitlement]:
    """Return what a tenant's file promises it of each of the `resources` that the host divides."""
    promised: dict[Resource, Entitlement] = {}
    for group in GROUPS:
        table = document.get(group, {})
        divided = [resource for resource in resources if resource.kind.group == group]
        devices = [device for device in dict.fromkeys(r.device for r in divided) if device]
        of_all = _settings(table, TENANT_KEYS, group, faults, sections=devices)
        _check_divided(of_all, divided, group, faults)
        own = {"": of_all}
        for device in devices:
            own[device] = of_all
            if isinstance(table, Mapping) and device in table:
                where = dotted(group, device)
                of_one = _settings(table[device], TENANT_KEYS, where, faults)
                of_it = [resource for resource in divided if resource.device == device]
                _check_divided(of_one, of_it, where, faults)
                own[device] = {kind: of_all[kind] | of_one[kind] for kind in of_all}
        for resource in divided:
            settings = own[resource.device][resource.kind]
            where = dotted(group, resource.device) if resource.device else group
            promised[resource] = _entitlement(resource.kind, settings, where, faults)
    return promised


def check_reached(promised: Mapping[Resource, Entitlement], faults: Faults) -> None:
    """Refuse floors of interfaces to a tenant whose packets nothing tells from others'."""
    for resource, entitlement in promised.items():
        if resource.kind.group == NETWORK and resource.device and entitlement.floor:
            faults.add(
                f"{NETWORK}.{TENANT_KEYS[resource.kind][0].name}",
                f"expected none (of {resource.device}): a tenant that lives elsewhere has its "
                "packets told from others' only behind a veth of its own",
            )


def _devices(group: str, table: Any, faults: Faults) -> Iterator[tuple[str, str, Any]]:
    """Yield each device that has a table, the name of the table and what it holds."""
    if group == NETWORK and isinstance(table, Mapping):
        yield from _links(table, faults)
        return
    if group != DISK:
        yield "", group, table
        return
    if not isinstance(table, Mapping):
        faults.add(group, f"expected a table for each disk ([disk.sda]), got {shown(table)}")
        return
    for name, one in table.items():
        where = dotted(group, name)
        if not _DISK_NAME.fullmatch(name):
            faults.add(where, f"expected {_DISK_EXPECTATION}")
        elif not isinstance(one, Mapping):
            faults.add(where, f"expected a table for each disk ([disk.sda]), got {shown(one)}")
        else:
            yield name, where, one


def _links(table: Mapping[str, Any], faults: Faults) -> Iterator[tuple[str, str, Any]]:
    """Yield what the network's table says of no interface, then the table of each."""
    yield "", NETWORK, {name: one for name, one in table.items() if not isinstance(one, Mapping)}
    for name, one in table.items():
        if isinstance(one, Mapping):
            where = dotted(NETWORK, name)
            if is_interface(name):
                yield name, where, one
            else:
                faults.add(where, f"expected {INTERFACE_EXPECTATION}")


def _settings(
    table: Any,
    keys: Mapping[Kind, Sequence[Key]],
    where: str,
    faults: Faults,
    sections: Sequence[str] = (),
) -> Settings:
    """Read one table that holds keys of every kind of its group: settings by kind and field."""
    group = where.partition(".")[0]
    by_kind = {kind: own for kind, own in keys.items() if kind.group == group}
    by_name = {key.name: replace(key, field=key.name) for own in by_kind.values() for key in own}
    found = read_table(table, list(by_name.values()), where=where, faults=faults, sections=sections)
    return {
        kind: {key.field: found[key.name] for key in own if key.name in found}
        for kind, own in by_kind.items()
    }


def _supply(kind: Kind, settings: dict[str, Any], where: str, faults: Faults) -> Supply | None:
    capacity_key, reserve_key = SUPPLY_KEYS[kind]
    if not settings:
        return None
    if "capacity" not in settings:
        missing = dotted(where, capacity_key.name)
        faults.add(missing, f"expected {capacity_key.kind.expectation}, got nothing but a reserve")
        return None
    supply = Supply(**{field: float(value) for field, value in settings.items()})
    if supply.reserve >= supply.capacity:
        most, got = amount_text(kind, supply.capacity), amount_text(kind, supply.reserve)
        faults.add(
            dotted(where, reserve_key.name), f"expected less than the capacity of {most}, got {got}"
        )
    return supply


def _check_divided(
    settings: Settings, divided: Sequence[Resource], where: str, faults: Faults
) -> None:
    """Refuse what a tenant is promised of something that this host does not divide."""
    kinds = {resource.kind for resource in divided}
    lost: dict[str, Kind] = {}
    for kind, said in settings.items():
        for key in TENANT_KEYS[kind]:
            # A weight is shared by all kinds of a table: it counts where any of them is divided.
            is_of_use = kind in kinds or (key.field == "weight" and kinds)
            if key.field in said and not is_of_use:
                lost.setdefault(key.name, kind)
    for name, kind in lost.items():
        # A [network] without a name is divided, and nothing enforces it: not what a limit takes.
        table = f"[{kind.group}.NAME]" if kind.group in {DISK, NETWORK} else f"[{kind.group}]"
        capacity = f"{table} {SUPPLY_KEYS[kind][0].name}"
        faults.add(
            dotted(where, name), f"expected {capacity} in the host's file, which divides none of it"
        )


def _entitlement(kind: Kind, settings: dict[str, Any], where: str, faults: Faults) -> Entitlement:
    entitlement = Entitlement(**{field: float(value) for field, value in settings.items()})
    if entitlement.floor > entitlement.ceiling:
        floor_key, ceiling_key, _ = TENANT_KEYS[kind]
        fault = (
            f"{dotted(where, floor_key.name)}: expected at most {dotted(where, ceiling_key.name)} "
            f"({exact_text(kind, entitlement.ceiling)}), got {exact_text(kind, entitlement.floor)}"
        )
        if fault not in faults.lines:  # each disk would say so
            faults.add("", fault)
    return entitlement


def exact_text(kind: Kind, amount: float) -> str:
    """Return an amount as it may be written in a file, and for a person where that differs."""
    if kind is Kind.CPU:
        return f"{amount:g} cores"
    unit, text = unit_of(kind), amount_text(kind, amount)
    return f"{text} ({amount:.0f} {unit})" if "bytes" in unit else text
