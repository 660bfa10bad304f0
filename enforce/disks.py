"""Disks by name: under which number the kernel counts and limits each."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from enforce.counters import Disk

_BLOCK, _DEVICES = Path("/sys/class/block"), Path("/sys/dev/block")
BFQ_WEIGHT = "io.bfq.weight"
BFQ_FINENESS = 10  # what is 1 to bfq, whose weights end at 1,000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!._-]{0,62}", re.ASCII)
_NUMBER = re.compile(r"(\d+):(\d+)\n", re.ASCII)


def disk_number(name: str, block: Path = _BLOCK) -> Disk | None:
    """Return the number of the disk that `name` means, or None where there is no such disk now.

    The kernel counts and limits whole disks: a partition's is that of its disk.  A device that is
    stacked on others (dm, md, loop) is a disk of its own.  Of dm also the name that it was given is
    known, as in /dev/mapper.
    """
    if _NAME.fullmatch(name) is None:
        return None
    there = block / name
    if not there.exists():
        found = _mapped(name, block)
        return None if found is None else _number(found)
    return _number(there.resolve().parent if (there / "partition").exists() else there)


def disk_numbers(
    names: Sequence[str], number_of: Callable[[str], Disk | None] = disk_number
) -> dict[str, Disk | None]:
    """Return each disk's number; none for a second name of the same disk: it is divided once."""
    found: dict[str, Disk | None] = {}
    for name in names:
        number = number_of(name)
        found[name] = None if number in found.values() else number
    return found


def incarnation(disk: Disk | None, devices: Path = _DEVICES) -> int:
    """Return what tells a disk from another that had its number, 0 where there is none."""
    with suppress(OSError):
        return (devices / f"{disk[0]}:{disk[1]}").stat().st_ino if disk else 0
    return 0


def weight_file(disk: Disk | None, root: Path, devices: Path = _DEVICES) -> str | None:
    """Return the control file that divides a disk by weight, None where nothing does.

    `root` is a cgroup of the hierarchy.  iocost does so where it is on for the disk (the kernel's
    io.cost.qos in the topmost cgroup), bfq where it is the disk's scheduler.
    """
    if disk is None:
        return None
    number = f"{disk[0]}:{disk[1]}"
    if any(_has_cost(level, number) for level in (root, *root.parents)):
        return "io.weight"
    with suppress(OSError):
        if "[bfq]" in (devices / number / "queue" / "scheduler").read_text():
            return BFQ_WEIGHT
    return None


def _has_cost(level: Path, number: str) -> bool:
    with suppress(OSError):
        lines = (level / "io.cost.qos").read_text().splitlines()
        return any(line.startswith(f"{number} enable=1 ") for line in lines)
    return False


def kernel_name(disk: Disk, devices: Path = _DEVICES) -> str:
    """Return what the kernel calls a disk, as in /sys/block."""
    return (devices / f"{disk[0]}:{disk[1]}").resolve().name


def disk_below(disk: Disk, block: Path = _BLOCK, devices: Path = _DEVICES) -> str | None:
    """Return the one disk that all of a stacked one is on; None of others."""
    below = {disk_number(name, block) for name in lower_disks(kernel_name(disk, devices), block)}
    if len(below) != 1:
        return None
    (number,) = below
    return None if number is None else kernel_name(number, devices)


def lower_disks(name: str, block: Path = _BLOCK) -> list[str]:
    """Return the devices that the disk `name` is stacked on, in order of name; none of a disk."""
    there = block / name
    there = there if there.exists() else _mapped(name, block) or there
    try:
        return sorted(path.name for path in (there / "slaves").iterdir())
    except OSError:
        return []


def _mapped(name: str, block: Path) -> Path | None:
    """Return the dm device that was given `name`."""
    for given in sorted(block.glob("dm-*/dm/name")):
        with suppress(OSError):
            if given.read_text() == f"{name}\n":
                return given.parent.parent
    return None


def _number(there: Path) -> Disk | None:
    try:
        match = _NUMBER.fullmatch((there / "dev").read_text())
    except OSError:
        return None
    return (int(match[1]), int(match[2])) if match else None
