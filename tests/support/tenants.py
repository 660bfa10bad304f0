"""Processes that live in a cgroup and use something of it, for tests on a real kernel."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
READY_LIMIT_S = 60.0

JOIN = "import os, sys\nopen(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"
READY = "print('ready', flush=True)\n"

SPIN = JOIN + READY + "while True: pass\n"
SPIN_A_LITTLE = (
    JOIN
    + READY
    + """
while True:
    began_s = time.process_time()
    while time.process_time() < began_s + 0.015: pass
    time.sleep(0.085)
"""
).replace("import os, sys", "import os, sys, time")
SPIN_TWICE = JOIN + "os.fork()\n" + READY + "while True: pass\n"
# Each line on stdin is an order: hold that many MiB more, and say when it is done.
_HOLD = (
    "held = []\n" + READY + "for line in sys.stdin:\n    {hold}\n    print('done', flush=True)\n"
)
HOLD_ANON = JOIN + _HOLD.format(hold="held.append(bytearray(b'x' * (int(line) << 20)))")
HOLD_TMPFS = JOIN + _HOLD.format(
    hold="open(sys.argv[2], 'ab').write(b'x' * (int(line) << 20))",
)
LOCK_ANON = (
    JOIN
    + "import ctypes, mmap\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    + _HOLD.format(
        hold="held.append(mmap.mmap(-1, int(line) << 20));"
        " assert libc.mlockall(3) == 0, ctypes.get_errno()"
    )
)
READ_DISK = (
    JOIN
    + "disk = os.open(sys.argv[2], os.O_RDONLY)\n"
    + "os.posix_fadvise(disk, 0, 0, os.POSIX_FADV_DONTNEED)\n"
    + _HOLD.format(hold="for _ in range(int(line)): os.read(disk, 1 << 20)")
)


@contextmanager
def living_in(
    cgroup: Path, program: str, *arguments: str | Path
) -> Iterator["subprocess.Popen[str]"]:
    """Run `program` in `cgroup`; it has joined and is ready when this yields."""
    argv = [sys.executable, "-I", "-S", "-c", program, str(cgroup), *map(str, arguments)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert _said(process) == "ready"
        yield process
    finally:
        (cgroup / "cgroup.kill").write_text("1")  # its children too
        process.communicate()
        wait_until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text())


def order(process: "subprocess.Popen[str]", mib: int) -> None:
    """Let a holding process hold `mib` MiB more, and wait until it does."""
    tell(process, mib)
    assert _said(process) == "done"


def tell(process: "subprocess.Popen[str]", mib: int) -> None:
    """Let a holding process hold `mib` MiB more, without waiting for it."""
    assert process.stdin is not None
    process.stdin.write(f"{mib}\n")
    process.stdin.flush()


def is_done(process: "subprocess.Popen[str]") -> bool:
    """Say whether a holding process holds by now what it was told to, without waiting for it."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0)[0]) and _said(process) == "done"


def wait_until(
    is_true: Callable[[], object], *, limit_s: float = 20.0, pause_s: float = 0.01
) -> None:
    """Wait for a condition, but not for ever."""
    deadline_s = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < deadline_s, "condition still false at the deadline"
        time.sleep(pause_s)


def cpu_used_s(cgroup: Path) -> float:
    """Return the CPU time that a cgroup has used."""
    line = (cgroup / "cpu.stat").read_text().splitlines()[0]
    return int(line.removeprefix("usage_usec ")) / 1e6


def scratch_disk(tmp_path: Path) -> Path:
    """Return a file or device to read 240 MiB from that no one else reads."""
    device = os.environ.get("LAB_DISK")
    if device:
        return Path(device)
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        for _ in range(240):
            file.write(bytes(MIB))
        os.fsync(file.fileno())
    return path


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
