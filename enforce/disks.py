"""Disks by name: which number the kernel counts each under."""

import re
from pathlib import Path

from enforce.counters import Disk

_BLOCK = Path("/sys/class/block")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!._-]{0,62}", re.ASCII)
_NUMBER = re.compile(r"(\d+):(\d+)\n", re.ASCII)


def disk_number(name: str, block: Path = _BLOCK) -> Disk | None:
    """Return the device number of the whole disk `name`, or None where there is no such disk.

    The kernel counts I/O by disk: of a partition there is nothing to be known.
    """
    if _NAME.fullmatch(name) is None or (block / name / "partition").exists():
        return None
    try:
        match = _NUMBER.fullmatch((block / name / "dev").read_text())
    except OSError:
        return None
    return (int(match[1]), int(match[2])) if match else None
