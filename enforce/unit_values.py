"""Values of a unit's control files, as systemd's properties have them and as the kernel does.

When systemd is asked for them is none of its business: see `enforce.units`.

systemd 252 keeps CPUQuota= in whole per cents: only such quotas outlive a daemon-reload.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from enforce import limits
from enforce.cgroup import PAGE_BYTES, LimitRejectedError, TenantCgroup, disk_file
from enforce.columns import Control, DiskControl, UnitControl
from enforce.counters import Disk
from enforce.disks import disk_below, disk_number, kernel_name

_IO_PROPERTY = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
_PROPERTY = {
    Control.CPU_MAX: "CPUQuotaPerSecUSec",
    Control.CPU_WEIGHT: "CPUWeight",
    Control.MEMORY_HIGH: "MemoryHigh",
    Control.MEMORY_LOW: "MemoryLow",
}
_SETTINGS = ("CPUQuota", "CPUWeight", "MemoryHigh", "MemoryLow")  # in unit files
PERSISTENT = Path("/etc/systemd/system.control")
_PERCENT = 0.01
_US_PER_S = 1_000_000
_INFINITY = (1 << 64) - 1  # also a weight that is not set


def property_name(control: UnitControl) -> str:
    """Return what systemd calls it over D-Bus."""
    if isinstance(control, DiskControl):
        return _IO_PROPERTY[control.number]
    return _PROPERTY[control]


def properties(values: Mapping[UnitControl, float]) -> list[tuple[str, tuple[str, Any]]]:
    """Return the properties that hold `values`, with their D-Bus types; one has all its disks.

    Raises:
        LimitRejectedError: systemd has no way to limit one of the disks.

    """
    disks: dict[str, list[tuple[str, int]]] = {}
    found: list[tuple[str, tuple[str, Any]]] = []
    for control, value in values.items():
        if isinstance(control, DiskControl):
            each = disks.setdefault(property_name(control), [])
            each.append((_node(control.disk), _amount(control, value)))
        else:
            found.append((property_name(control), ("t", _amount(control, value))))
    return [*found, *((name, ("a(st)", each)) for name, each in disks.items())]


def check_disk(name: str) -> None:
    """See that systemd can limit a disk by itself.

    Raises:
        LimitRejectedError: It would limit another in its place, or there is no such disk.

    """
    _node(name)


def _node(name: str) -> str:
    """Return the device node by which systemd finds a disk, as most people write it.

    It knows its settings by their text: under another name of the disk there would be two of them.
    """
    disk = _disk_of(name)
    if below := disk_below(disk):
        why = f"of a unit systemd would limit the disk below it, {below}: divide that"
        raise LimitRejectedError(f"configured but not enforceable: disk {name}: {why}")
    return f"/dev/{kernel_name(disk).replace('!', '/')}"


def _disk_of(name: str) -> Disk:
    disk = disk_number(name)
    if disk is None:
        raise LimitRejectedError(f"disk {name}: there is no such disk now")
    return disk


def _amount(control: UnitControl, value: float) -> int:
    if isinstance(control, DiskControl):
        text = limits.text(control, value)
        return _INFINITY if text == "max" else int(text)
    if math.isinf(value):
        return _INFINITY
    return round(value * _US_PER_S) if control is Control.CPU_MAX else int(value)


def held_by_systemd(control: UnitControl, value: float) -> float:
    """Return what systemd keeps of a value: whole per cents of a core, upwards, and whole pages."""
    if control is Control.CPU_MAX and math.isfinite(value):
        return max(math.ceil(value / _PERCENT - 1e-6), 1) * _PERCENT
    return held_in_kernel(control, value)


def held_in_kernel(control: UnitControl, value: float) -> float:
    """Return what the kernel makes of a value: whole pages."""
    if control in (Control.MEMORY_HIGH, Control.MEMORY_LOW) and math.isfinite(value):
        return value // PAGE_BYTES * PAGE_BYTES
    return limits.parse(control, limits.text(control, value))


def is_held(control: UnitControl, value: float, in_force: float) -> bool:
    """Say whether the kernel holds a value, up to its own grain."""
    return limits.is_kept(control, value, in_force, page_bytes=PAGE_BYTES)


def said(cgroup: TenantCgroup, control: UnitControl) -> str:
    """Return what the kernel says of it, of a disk its line.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: It has no such control, or there is no such disk.

    """
    if not isinstance(control, DiskControl):
        return cgroup.text(str(control))
    return cgroup.text(disk_file(_disk_of(control.disk)))


def in_force(cgroup: TenantCgroup, control: UnitControl) -> float:
    """Return the limit in force.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: As `said`, or it is not understood.

    """
    if not isinstance(control, DiskControl):
        return cgroup.limit(control)
    numbers = dict(word.partition("=")[::2] for word in said(cgroup, control).split())
    try:
        return limits.parse(control, numbers.get(control.number, ""))
    except ValueError as error:
        raise LimitRejectedError(f"{control}: {numbers} is not understood") from error


def persistent_settings(
    unit: str, folder: Path = PERSISTENT, *, has_disks: bool = False
) -> list[str]:
    """Return what `systemctl set-property` without --runtime has set of a unit, that we set too.

    It outranks what is set at runtime, whenever systemd loads the unit anew; those of disks
    together, since they are one setting.
    """
    wanted, found = (*_SETTINGS, *(_IO_PROPERTY.values() if has_disks else ())), []
    for path in sorted((folder / f"{unit}.d").glob("*.conf")):
        with suppress(OSError, UnicodeDecodeError):
            lines = path.read_text().splitlines()
            keys = {line.partition("=")[0].strip() for line in lines}
            found += [f"{path} ({name}=)" for name in wanted if name in keys]
    return found
