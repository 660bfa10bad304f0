"""Keeps what holds for this boot in a file; one that makes no sense is set aside, and said."""

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from enforce.durable import aside_of, replace_file

Entry = TypeVar("Entry")

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_VERSION = 1
# What reading a file of anyone's making can raise.
_UNUSABLE = (
    IsADirectoryError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def boot_id() -> str:
    """Return what this boot is told apart by."""
    return BOOT_ID.read_text().strip()


class BootRecord:
    """Entries by name, as a JSON file that is replaced as a whole; they are called `what` there.

    `problem` says what happened to a file that makes no sense, and what is `lost` with it: it is
    set aside, never overwritten, or where it `is_left`, since one only looks, stays as it is.
    """

    def __init__(self, path: Path, what: str, *, lost: str, is_left: bool = False) -> None:
        self._path, self._what, self._lost, self._is_left = path, what, lost, is_left
        self._boot_id = boot_id()
        self._is_in_the_way = False  # a file that makes no sense, and could not be moved
        self.problem: str | None = None

    def read(self, checked: Callable[[str, Any], Entry]) -> dict[str, Entry]:
        """Return the entries of this boot, each as `checked` makes it of what is there.

        Raises:
            OSError: The file cannot be read now; what it holds may still be good.

        """
        try:
            said = json.loads(_read(self._path))
            if said["version"] != _VERSION:
                raise ValueError(f"version {said['version']!r}, expected {_VERSION}")
            entries = {name: checked(name, entry) for name, entry in said[self._what].items()}
            is_this_boot = said["boot_id"] == self._boot_id
        except FileNotFoundError:
            return {}
        except _UNUSABLE as error:
            self._set_aside(f"{type(error).__name__}: {error}")
            return {}
        return entries if is_this_boot else {}

    def save(self, entries: Mapping[str, Any]) -> None:
        """Replace the file by one that is on the disk already.

        Raises:
            OSError: The disk did not take it, or what is there must not be overwritten.

        """
        if self._is_in_the_way:
            raise FileExistsError(errno.EEXIST, self.problem, str(self._path))
        said = {"version": _VERSION, "boot_id": self._boot_id, self._what: entries}
        replace_file(self._path, json.dumps(said, indent=1, sort_keys=True))

    def _set_aside(self, why: str) -> None:
        if self._is_left:
            self.problem = f"{self._path} cannot be used ({why})"
            self._is_in_the_way = True
            return
        aside = aside_of(self._path)
        self.problem = f"{self._path} cannot be used ({why}): kept as {aside.name}. {self._lost}"
        try:
            self._path.replace(aside)
        except OSError as error:
            self.problem = f"{self._path} cannot be used ({why}) nor moved: {error.strerror}"
            self._is_in_the_way = True


def _read(path: Path) -> bytes:
    """Read a regular file; reading anything else may wait for ever.

    Raises:
        ValueError: It is something else.
        OSError: It cannot be read now.

    """
    # Without waiting: opening a pipe waits for who writes it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)
