"""Reads files that anyone may have put there: regular ones of a sane size."""

import os
import stat
from contextlib import suppress
from pathlib import Path


def is_missing(path: Path) -> bool:
    """Say whether there is no such file; where nobody may look, reading says so."""
    with suppress(OSError):
        return not path.exists()
    return False


def regular_file(path: Path, *, most_bytes: int) -> bytes:
    """Return a file's contents; a pipe or a device would hold the agent up for ever.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger.

    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        contents = stream.read(most_bytes + 1) or b""  # None where it would have to wait
    if len(contents) > most_bytes:
        raise OSError(f"larger than {most_bytes >> 10} KiB")
    return contents


class SharedReading:
    """Reads each file once, however many ask for it, and no more than so much of all together."""

    def __init__(self, *, most_bytes: int, most_of_all_bytes: int, taken_bytes: int = 0) -> None:
        self._most_bytes, self._most_of_all_bytes = most_bytes, most_of_all_bytes
        self._left_bytes = most_of_all_bytes - taken_bytes
        self._read: dict[Path, bytes] = {}

    def __call__(self, path: Path) -> bytes:
        """Return a file's contents.

        Raises:
            OSError: See `regular_file`; or too much was read before.

        """
        if path not in self._read:
            contents = regular_file(path, most_bytes=self._most_bytes)
            if len(contents) > self._left_bytes:
                most = f"{self._most_of_all_bytes >> 10} KiB"
                raise OSError(f"all such files together are larger than {most}")
            self._left_bytes -= len(contents)
            self._read[path] = contents
        return self._read[path]
