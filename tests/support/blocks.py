"""Block devices for tests on a real kernel, and processes that read and write them without end."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from measuring import per_s
from tenants import JOIN, MIB, READY, wait_until

_BUFFER = "import mmap\nchunk = mmap.mmap(-1, 1 << 17)\n"  # aligned, as O_DIRECT has it
_OPEN = "disk = os.open(sys.argv[2], os.O_{mode} | os.O_DIRECT)\nsize = int(sys.argv[3])\n"
_FOR_EVER = (
    READY
    + "place = 0\nwhile True:\n    {act}\n    place = (place + len(chunk)) % (size - len(chunk))\n"
)
WRITE_DIRECT = (
    JOIN
    + _BUFFER
    + _OPEN.format(mode="WRONLY")
    + _FOR_EVER.format(act="os.pwrite(disk, chunk, place)")
)
READ_DIRECT = (
    JOIN
    + _BUFFER
    + _OPEN.format(mode="RDONLY")
    + _FOR_EVER.format(act="os.preadv(disk, [chunk], place)")
)
WRITE_BUFFERED = (
    JOIN
    + "chunk, size = bytes(1 << 20), int(sys.argv[3])\n"
    + "disk = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)\n"
    + _FOR_EVER.format(act="os.pwrite(disk, chunk, place)")
)
SIZE = str(64 * MIB)


def lab_disk() -> Path:
    """Return a disk that nobody else uses, and whose contents are nobody's."""
    device = os.environ.get("LAB_DISK")
    if not device:
        pytest.skip("LAB_DISK names no disk that nobody else uses")
    return Path(device)


def sh(*argv: str | Path, given: str = "") -> str:
    """Run a command that must go well, and return what it says."""
    done = subprocess.run(argv, input=given, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def stacked_on(disk: Path, name: str) -> Iterator[Path]:
    """Stack a device-mapper device on all of `disk`."""
    sectors = int(Path(f"/sys/class/block/{disk.name}/size").read_text())
    sh("modprobe", "dm_mod")
    table = f"0 {sectors} linear {disk} 0"
    sh("dmsetup", "--noudevsync", "--noudevrules", "create", name, "--table", table)
    sh("dmsetup", "--noudevsync", "mknodes")
    try:
        yield Path("/dev/mapper") / name
    finally:
        sh("dmsetup", "--noudevsync", "--noudevrules", "remove", "--retry", name)


@contextmanager
def mounted(device: Path, where: Path) -> Iterator[Path]:
    """Make a file system on a device and mount it."""
    where.mkdir()
    sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", "-O", "^has_journal", device)
    sh("mount", device, where)
    try:
        yield where
    finally:
        sh("umount", where)


def counted(cgroup: Path, disk: Path, key: str) -> int:
    """Return one counter of a cgroup's io.stat for a disk; 0 where it has no line."""
    device = disk.stat().st_rdev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in (cgroup / "io.stat").read_text().splitlines():
        which, *words = line.split()
        if which == number:
            return int(dict(word.split("=") for word in words).get(key, 0))
    return 0


def rate(cgroup: Path, disk: Path, key: str, *, over_s: float) -> float:
    """Return how much a counter gains a second, from its next step on."""
    before = counted(cgroup, disk, key)
    wait_until(lambda: counted(cgroup, disk, key) != before)
    return per_s(lambda: counted(cgroup, disk, key), over_s)
