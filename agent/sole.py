"""The lock that lets one agent run at a time, and keeps `release` away from a running one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.paths import LOCK_NAME

_MAX_PID_BYTES = 16


class AgentRunningError(Exception):
    """An agent is running already; `pid` is its process, or None where it has not said so yet."""

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"the agent is running already ({who})")


@contextmanager
def sole_agent(runtime_dir: Path) -> Iterator[None]:
    """Hold the lock in `runtime_dir`, which is made where it is missing.

    The kernel lets go of the lock when the process ends, however it ends.

    Raises:
        AgentRunningError: Another process holds it.
        OSError: The directory or the file in it cannot be made.

    """
    runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(runtime_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        said = os.pread(descriptor, _MAX_PID_BYTES, 0).strip()
        raise AgentRunningError(int(said) if said.isdigit() else None) from error
