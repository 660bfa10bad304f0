"""One cgroup and its control files: the only module that writes these.

Policy does not live here: values come in, kernel state and typed errors go out.
"""

import errno
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from cgroupspy.interfaces import BaseFileInterface, IntegerFile, ListFile

from enforce import limits
from enforce.columns import Control, DiskControl
from enforce.counters import Disk

NO_DISK_LIMIT = "rbps=max wbps=max riops=max wiops=max"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_READ_BYTES = 65_536
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.ELOOP)


class CgroupGoneError(Exception):
    """The cgroup no longer exists, which is normal when a tenant goes."""


class LimitRejectedError(Exception):
    """The kernel has no such control, refused a value, or holds another than the one written."""


class LimitFile(BaseFileInterface):  # type: ignore[misc]  # cgroupspy ships no types
    """A limit in base units; a write is read back and must be what the kernel now holds."""

    def __init__(self, control: Control) -> None:
        super().__init__(control.value)
        self.control = control

    def sanitize_get(self, value: str) -> float:
        """Turn the kernel's text into cores, a weight or bytes."""
        return _parsed(self.control, value)

    def sanitize_set(self, value: float) -> str:
        """Turn cores, a weight or bytes into the kernel's text."""
        return limits.text(self.control, value)

    def __set__(self, instance: "TenantCgroup", value: float) -> None:
        """Write, then read back, each by itself: while reclaim is waited for, others may look."""
        super().__set__(instance, value)
        _check_kept(self.control, value, self.__get__(instance, type(instance)))


class TenantCgroup:
    """One incarnation of a cgroup, held by its directory's descriptor.

    A cgroup that is removed and made again under the same name is another one: all files are
    opened relative to the descriptor, so no write can reach the wrong one.
    """

    cpu_max: float = LimitFile(Control.CPU_MAX)
    cpu_weight: float = LimitFile(Control.CPU_WEIGHT)
    memory_high: float = LimitFile(Control.MEMORY_HIGH)
    memory_low: float = LimitFile(Control.MEMORY_LOW)
    memory_max: float = LimitFile(Control.MEMORY_MAX)
    cpu_max_burst_us: int = IntegerFile("cpu.max.burst")
    memory_current: int = IntegerFile("memory.current", readonly=True)
    controllers: list[str] = ListFile("cgroup.controllers", readonly=True)
    controllers_of_children: list[str] = ListFile("cgroup.subtree_control", readonly=True)

    def __init__(self, path: Path) -> None:
        """Open the cgroup at `path`; a symbolic link is not followed.

        Raises:
            CgroupGoneError: There is no such cgroup.
            LimitRejectedError: It cannot be opened: no descriptor is left, or no permission.

        """
        self._path = str(path)  # a Path takes five times the room
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            kind = CgroupGoneError if error.errno in _GONE else LimitRejectedError
            raise kind(f"{path}: {error.strerror}") from error
        self.cgroup_id = os.fstat(self._fd).st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Return where it was as it was opened."""
        return Path(self._path)

    @property
    def path_text(self) -> str:
        """Return the same as text: making a path of it takes as long as a system call."""
        return self._path

    @property
    def descriptor(self) -> int:
        """Return the directory's descriptor, which ends with `close`."""
        return self._fd

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    @property
    def is_empty(self) -> bool:
        """Say whether no process is in it, nor in any cgroup below, as far as the kernel tells."""
        return self.has("cgroup.events") and b"populated 0" in self.read(b"cgroup.events")

    def has(self, filename: str) -> bool:
        """Say whether there is such a file: its controller may be missing."""
        try:
            os.stat(filename, dir_fd=self._fd)
        except OSError:
            return False
        return True

    def limit(self, control: Control) -> float:
        """Return the limit in force.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control.

        """
        return float(getattr(self, _ATTRIBUTE[control]))

    def set_limit(self, control: Control, value: float) -> float:
        """Write one limit and return what the kernel holds then: `value`, up to its grain.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control, or the kernel refused the value.

        """
        wanted = limits.text(control, value)
        said = self.exchanged(control.encode(), wanted)
        kept = _parsed(control, said)
        if said != wanted:
            _check_kept(control, value, kept)
        return kept

    def text(self, filename: str) -> str:
        """Return a control file's text without its last line end.

        "io.max 8:0" is what io.max says of that disk, "io.weight 8:0" what io.weight does.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control.

        """
        name, _, disk = filename.partition(" ")
        said = self.get_property(name.encode())
        return _of_disk(name, said, disk) if disk else said

    def set_disk_limit(self, control: DiskControl, file: str, value: float) -> float:
        """Write one number of a `disk_file` and return what the kernel holds then: `value`, whole.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control, or the kernel refused the value.

        """
        wanted = limits.text(control, value)
        disk = file.partition(" ")[2]
        line = f"{disk} {control.number}={wanted}"
        kept = _of_disk("io.max", self.exchanged(b"io.max", line), disk)
        said = dict(word.partition("=")[::2] for word in kept.split())
        if said.get(control.number) != wanted:
            raise LimitRejectedError(f"io.max: wrote {line!r}, the kernel kept {kept!r}")
        return math.inf if wanted == "max" else float(wanted)

    def restore(self, filename: str, text: str) -> None:
        """Write a text that was read from the file before (`text`), and read it back.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control, or the kernel refused the text.

        """
        name, _, disk = filename.partition(" ")
        self.set_property(name.encode(), f"{disk} {text}".lstrip())
        kept = self.text(filename)
        if kept != text:
            raise LimitRejectedError(f"{filename}: wrote {text!r}, the kernel kept {kept!r}")

    def get_property(self, filename: bytes) -> str:
        """Read a control file (cgroupspy's descriptors call this)."""
        return self.read(filename).decode().strip()

    def read(self, filename: bytes) -> bytes:
        """Return a control file's bytes.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control.

        """
        try:
            fd = os.open(filename, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                return os.read(fd, _READ_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._typed(error, filename) from error

    def exchanged(self, filename: bytes, value: str) -> str:
        """Write a control file in one write(2), and return what it says then.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It has no such control, or the kernel refused the value.

        """
        try:
            fd = os.open(filename, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                os.write(fd, value.encode())
                return os.pread(fd, _READ_BYTES, 0).decode().strip()
            finally:
                os.close(fd)
        except OSError as error:
            raise self._typed(error, filename, value) from error

    def set_property(self, filename: bytes, value: str | int) -> None:
        """Write a control file in one write(2) (cgroupspy's descriptors call this)."""
        try:
            fd = os.open(filename, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                os.write(fd, str(value).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise self._typed(error, filename, str(value)) from error

    def _typed(
        self, error: OSError, filename: bytes, value: str | None = None
    ) -> CgroupGoneError | LimitRejectedError:
        """Tell a vanished cgroup from a control that it does not have."""
        name = filename.decode()
        if error.errno in _GONE and not self.has("cgroup.procs"):
            return CgroupGoneError(f"{self._path}: gone")
        if error.errno in _GONE:
            return LimitRejectedError(f"{name}: not there (controller not enabled)")
        wrote = "" if value is None else f": {value!r}"
        return LimitRejectedError(f"{name}{wrote}: {error.strerror}")


def disk_file(disk: Disk, file: str = "io.max") -> str:
    """Return what `TenantCgroup.text` calls that disk's line of a file."""
    return f"{file} {disk[0]}:{disk[1]}"


def _parsed(control: Control, said: str) -> float:
    """Turn the kernel's text into cores, a weight or bytes.

    Raises:
        LimitRejectedError: It is none.

    """
    try:
        return limits.parse(control, said)
    except ValueError as error:
        raise LimitRejectedError(f"{control} reads {said!r}: not understood") from error


def _check_kept(control: Control, value: float, kept: float) -> None:
    """Raise LimitRejectedError where the kernel kept something else, which it does silently."""
    if not limits.is_kept(control, value, kept, page_bytes=PAGE_BYTES):
        raise LimitRejectedError(f"{control}: wrote {value:g}, the kernel kept {kept:g}")


def _of_disk(file: str, said: str, disk: str) -> str:
    """Return what io.max or io.weight says of one disk, by its number."""
    lines = (line.partition(" ") for line in said.splitlines())
    unsaid = NO_DISK_LIMIT if file == "io.max" else "default"
    return next((rest for number, _, rest in lines if number == disk), unsaid)


_ATTRIBUTE = {control: control.value.replace(".", "_") for control in Control}
