"""Which files are on a mount whose server may not answer, told without asking it."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
# File systems that a process or another machine serves.
_SERVED = re.compile(r"(fuse|nfs|cifs|smb|9p|ceph|afs|virtiofs)")

Mounts = Mapping[str, str]  # type of file system by mount point


def read_mounts() -> Mounts:
    """Return what is mounted where; nothing where that cannot be read."""
    try:
        return parsed_mounts(_MOUNTS.read_text(errors="surrogateescape"))
    except OSError:
        return {}


def parsed_mounts(text: str) -> Mounts:
    """Return what is mounted where (proc(5), mountinfo); of two at one place the upper one."""
    found = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split(" ")
        if len(words) > 4 and rest:  # noqa: PLR2004 - the fifth is the mount point
            found[re.sub(r"\\(\d{3})", _letter, words[4])] = rest.partition(" ")[0]
    return found


def served_mount(path: str, mounts: Mounts) -> str | None:
    """Return the mount point that a path is below, if somebody has to answer there.

    Links among the folders are not followed: that would be to ask.
    """
    whole = PurePosixPath(path)
    for folder in (whole, *whole.parents):
        if (kind := mounts.get(str(folder))) is not None:
            return str(folder) if _SERVED.match(kind) else None
    return None


def _letter(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))
