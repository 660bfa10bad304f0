"""agent.sole: one agent for a host and for its tenants."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from agent.paths import LOCK_NAME
from agent.sole import AgentRunningError, RootLock, other_agent, sole_agent

_HOLD = """
import sys, time
from pathlib import Path
from agent.sole import sole_agent
with sole_agent(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

_HOLD_ROOT = """
import sys
from pathlib import Path
from agent.sole import RootLock, sole_agent
with sole_agent(Path(sys.argv[1])):
    lock = RootLock(Path(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
"""


_HOLD_FOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(program: str, *arguments: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program that holds a lock by the time this yields, until it is killed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            yield holder
        finally:
            holder.kill()


SINCE = r"; since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def test_a_second_agent_is_refused_and_told_the_firsts_process(tmp_path: Path) -> None:
    with sole_agent(tmp_path), pytest.raises(AgentRunningError) as caught, sole_agent(tmp_path):
        pass
    assert caught.value.pid == os.getpid()
    began = datetime.fromtimestamp(psutil.Process().create_time(), UTC)
    since = f"since {began:%Y-%m-%d %H:%M:%S} UTC"
    said = f"the agent is running already (process {os.getpid()}; {since})"
    assert str(caught.value) == said


def test_the_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    with other_process(_HOLD, tmp_path) as holder:
        with pytest.raises(AgentRunningError) as caught, sole_agent(tmp_path):
            pass
        holder.kill()
        holder.wait()
    assert caught.value.pid == holder.pid
    with sole_agent(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_missing_runtime_folder_is_made(tmp_path: Path) -> None:
    with sole_agent(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_NAME).stat().st_mode & 0o077 == 0


def test_a_holder_that_has_not_said_who_it_is_is_another_process() -> None:
    assert "another process" in str(AgentRunningError(None))


def test_a_root_has_one_agent_whatever_their_runtime_folders(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    with other_process(_HOLD_ROOT, other, root) as holder, sole_agent(tmp_path / "mine"):
        with pytest.raises(AgentRunningError) as caught:
            RootLock(root)
        holder.kill()
        holder.wait()
        RootLock(root).close()
    who = f"process {holder.pid} of {other}, which sets the limits below {root}"
    assert re.sub(SINCE, "", str(caught.value)) == f"the agent is running already ({who})"


def test_a_root_in_a_tenant_of_another_agent_is_refused_and_that_agent_named(
    tmp_path: Path,
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    with other_process(_HOLD_ROOT, other, root) as holder:
        with pytest.raises(AgentRunningError) as caught:
            RootLock(root / "tenant" / "inner")
        assert not (root / "tenant").exists()
        RootLock(tmp_path / "beside").close()
    who = f"process {holder.pid} of {other}, which sets the limits below {root}"
    assert re.sub(SINCE, "", str(caught.value)) == f"the agent is running already ({who})"


def test_a_folder_above_that_no_agent_has_locked_is_no_hindrance(tmp_path: Path) -> None:
    with other_process(_HOLD_FOLDER, tmp_path):
        RootLock(tmp_path / "root").close()


def test_who_only_looks_sees_the_other_agent_and_locks_nothing(tmp_path: Path) -> None:
    assert other_agent(tmp_path / "missing") is None
    assert other_agent(tmp_path) is None
    with other_process(_HOLD_ROOT, tmp_path / "other", tmp_path) as holder:
        seen = other_agent(tmp_path)
    assert seen is not None
    assert seen.pid == holder.pid


def test_an_agent_is_not_its_own_rival(tmp_path: Path) -> None:
    lock = RootLock(tmp_path)
    assert other_agent(tmp_path) is None
    lock.close()


def test_a_root_is_free_at_once_even_if_a_child_still_shares_the_lock(tmp_path: Path) -> None:
    lock = RootLock(tmp_path)
    if (child := os.fork()) == 0:  # as between a fork and its exec
        signal.pause()
    try:
        lock.close()
        RootLock(tmp_path).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_root_that_was_made_anew_is_not_the_one_that_was_locked(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with closing(RootLock(root)) as lock:
        assert lock.is_current()
        root.rmdir()
        assert not lock.is_current()
        root.mkdir()
        assert not lock.is_current()
        with closing(RootLock(root)) as again:
            assert again.is_current()


def test_a_root_that_cannot_be_made_is_named_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "missing" / "root", tmp_path / "file" / "root"):
        with pytest.raises(OSError, match=f"{root} cannot be made .*tidegate doctor"):
            RootLock(root)
