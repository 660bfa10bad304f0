"""The stage: a scratch disk with the tenants' files, and the subtree of cgroups they live in."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.demo_scene import scene
from scripts.demo_scene.work import text

_TENANTS_UNIT = "tidegate-tenants.service"
ROOT = Path("/sys/fs/cgroup/tidegate.slice") / _TENANTS_UNIT
DISK = Path("/mnt/tidegate-demo")
WEB_FILE, SCAN_FILE = DISK / "web", DISK / "scan"
PATIENCE_S = 60.0


def run(*command: str, given: str = "") -> str:
    """Run `command` on what it is `given` to read, to its end, and return its output.

    Raises:
        RuntimeError: It failed; the message holds what it said.

    """
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """Wait until `is_so`.

    Raises:
        TimeoutError: It did not come true in `PATIENCE_S`; the message names `what`.

    """
    give_up_at_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"waited {PATIENCE_S:g} s in vain until {what}")
        time.sleep(0.02)


def set_up() -> Path:
    """Make the disk, its files, and the subtree that stands for the whole host; return the disk."""
    device = os.environ["LAB_DISK"]
    _make_disk(device)
    _make_root(device)
    return Path(device)


def drop_caches() -> None:
    """Forget all file data in memory, so that every regime starts with the same nothing."""
    Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def new_cgroups(tenants: Sequence[str]) -> Iterator[None]:
    """Make the tenants' cgroups with the kernel's defaults, and remove them afterwards."""
    for name in tenants:
        (ROOT / name).mkdir()
    try:
        yield
    finally:
        wait_for("all tenants' cgroups are empty", lambda: _are_removed(tenants))


def _make_disk(device: str) -> None:
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", "-O", "^has_journal", device)
    DISK.mkdir(exist_ok=True)
    run("mount", "-o", "noatime", device, str(DISK))
    WEB_FILE.write_bytes(text(scene.WEB_FILE_BYTES))
    part = text(8 * scene.MIB)
    with SCAN_FILE.open("wb") as file:
        for _ in range(scene.SCAN_FILE_BYTES // len(part)):
            file.write(part)
    os.sync()


def _make_root(device: str) -> None:
    run("scripts/lab-install")
    run("systemctl", "start", _TENANTS_UNIT)
    host = f"MemoryMax={scene.HOST_MEMORY_BYTES}"
    reads = f"IOReadIOPSMax={device} {scene.DISK_READS_PER_S}"
    read_bytes = f"IOReadBandwidthMax={device} {scene.DISK_READ_BYTES_PER_S}"
    run("systemctl", "set-property", "--runtime", _TENANTS_UNIT, host, reads, read_bytes)
    # What it weighs under tidegate it is to weigh under every regime.
    run("systemctl", "set-property", "--runtime", "tidegate.slice", "CPUWeight=1000")
    # Visitors come from elsewhere: they never have to wait for this host's CPU.
    run("systemctl", "set-property", "--runtime", "system.slice", "CPUWeight=10000")
    (ROOT / "cgroup.subtree_control").write_text("+cpu +memory +io")


def _are_removed(tenants: Sequence[str]) -> bool:
    for name in tenants:
        with suppress(OSError):  # a killed process is still on its way out
            (ROOT / name).rmdir()
    return not any((ROOT / name).exists() for name in tenants)
