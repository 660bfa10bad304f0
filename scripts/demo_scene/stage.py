"""The stage: a scratch disk with the tenants' files, and the subtree of cgroups they live in."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.demo_scene import scene
from scripts.demo_scene.work import text

ROOT = Path("/sys/fs/cgroup/tidegate.slice/demo-tenants.service/tenants")
DISK = Path("/mnt/tidegate-demo")
WEB_FILE, SCAN_FILE = DISK / "web", DISK / "scan"
PATIENCE_S = 20.0
# The unit's own process must leave the unit's cgroup before that can hand controllers down.
_KEEPER = (
    'mkdir "$1/keeper" && echo 0 >"$1/keeper/cgroup.procs"'
    " && systemd-notify --ready && exec sleep infinity"
)


def run(*command: str) -> str:
    """Run `command` to its end and return its output.

    Raises:
        RuntimeError: It failed; the message holds what it said.

    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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


def set_up() -> None:
    """Make the disk, its files, and the subtree that stands for the whole host."""
    _make_disk(os.environ["LAB_DISK"])
    _make_root()


def drop_caches() -> None:
    """Forget all file data in memory, so that every regime starts with the same nothing."""
    Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def new_cgroups() -> Iterator[None]:
    """Make the tenants' cgroups with the kernel's defaults, and remove them afterwards."""
    for role in scene.ROLES:
        (ROOT / role.name).mkdir()
    try:
        yield
    finally:
        wait_for("all tenants' cgroups are empty", _are_removed)


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


def _make_root() -> None:
    unit, tree = ROOT.parent.name, ROOT.parent.parent.name
    run(
        *("systemd-run", f"--unit={unit}", f"--slice={tree}", "--property=Delegate=yes"),
        *("--property=Type=notify", "--property=NotifyAccess=all"),
        *("sh", "-c", _KEEPER, "keeper", str(ROOT.parent)),
    )
    _hand_down(ROOT.parent)
    ROOT.mkdir()
    _hand_down(ROOT)
    (ROOT / "memory.max").write_text(str(scene.HOST_MEMORY_BYTES))
    disk = DISK.stat().st_dev
    (ROOT / "io.max").write_text(
        f"{os.major(disk)}:{os.minor(disk)} "
        f"riops={scene.DISK_READS_PER_S} rbps={scene.DISK_READ_BYTES_PER_S}"
    )


def _hand_down(cgroup: Path) -> None:
    (cgroup / "cgroup.subtree_control").write_text("+cpu +memory +io")


def _are_removed() -> bool:
    for role in scene.ROLES:
        with suppress(OSError):  # a killed process is still on its way out
            (ROOT / role.name).rmdir()
    return not any((ROOT / role.name).exists() for role in scene.ROLES)
