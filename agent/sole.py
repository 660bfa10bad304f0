"""The locks that let one agent run on a host and on its tenants; `release` needs them too."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from agent.paths import LOCK_NAME
from enforce.made import make_root

_MAX_PID_BYTES = 16
_LOCKS = Path("/proc/locks")
_LOCK_LINE = re.compile(r"\d+: FLOCK .* (-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) \d+ \S+", re.ASCII)


class AgentRunningError(Exception):
    """An agent is running already; `pid` is its process, or None where it has not said so yet."""

    def __init__(self, pid: int | None, where: str = "") -> None:
        self.pid = pid
        who = "another process" if pid is None else f"process {pid}"
        since = "" if pid is None else _since(pid)
        super().__init__(f"the agent is running already ({who}{where}{since})")


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


class RootLock:
    """The lock on the tenants' parent itself, which agents with other folders see too.

    It is on the directory, so that nothing is left behind and nothing has to be agreed on.
    """

    def __init__(self, root: Path) -> None:
        """Make `root` where it is missing, and lock it.

        Raises:
            AgentRunningError: Another agent sets limits there, or `root` is in one of its tenants.
            OSError: It is no directory, or cannot be made or opened.

        """
        self._root = root
        if (outer := _agent_above(root)) is not None:
            raise outer
        problem = make_root(root)
        if problem is not None:
            raise OSError(f"{root} cannot be made ({problem}): see `tidegate doctor`")
        self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = _holder(self._descriptor)
            os.close(self._descriptor)
            raise AgentRunningError(pid, _whereabouts(root, pid)) from error
        except OSError:
            os.close(self._descriptor)
            raise

    def is_current(self) -> bool:
        """Say whether what is locked is still what has the root's name: it may be made anew."""
        try:
            return os.path.samestat(self._root.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the lock, also where a child is just being started and still shares it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


def other_agent(root: Path) -> AgentRunningError | None:
    """Return what would keep an agent from setting limits below `root`; nothing is locked."""
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = _holder(descriptor)
    finally:
        os.close(descriptor)
    is_other = pid is not None and pid != os.getpid()
    return AgentRunningError(pid, _whereabouts(root, pid)) if is_other else None


def _agent_above(root: Path) -> AgentRunningError | None:
    """Return the agent in one of whose tenants `root` lies, if there is one."""
    others = (other_agent(parent) for parent in root.parents)
    # Whoever else locks a folder for purposes of its own is no agent.
    found = (one for one in others if one is not None and one.pid is not None)
    return next((one for one in found if one.pid and _runtime_dir(one.pid)), None)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        said = os.pread(descriptor, _MAX_PID_BYTES, 0).strip()
        raise AgentRunningError(int(said) if said.isdigit() else None) from error


def _since(pid: int) -> str:
    """Say when a process began, if that can be seen."""
    with suppress(psutil.Error):
        began = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
        return f"; since {began:%Y-%m-%d %H:%M:%S} UTC"
    return ""


def _holder(descriptor: int) -> int | None:
    """Return the process that holds a lock on this file, None where the kernel does not tell."""
    found = os.fstat(descriptor)
    wanted = (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino)
    with suppress(OSError):
        for line in _LOCKS.read_text(errors="replace").splitlines():
            match = _LOCK_LINE.fullmatch(line)
            if match is None:  # another kind of lock, or one that is only waited for
                continue
            pid, major, minor, inode = match.groups()
            if (int(major, 16), int(minor, 16), int(inode)) == wanted and int(pid) > 0:
                return int(pid)
    return None


def _whereabouts(root: Path, pid: int | None) -> str:
    """Say what is locked, and which runtime folder its holder has, if that can be seen."""
    runtime_dir = None if pid is None else _runtime_dir(pid)
    of = "" if runtime_dir is None else f" of {runtime_dir}"
    return f"{of}, which sets the limits below {root}"


def _runtime_dir(pid: int) -> Path | None:
    """Return the folder in which a process keeps the agent's lock open."""
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                file = link.readlink()
                if file.name == LOCK_NAME:
                    return file.parent
    return None
