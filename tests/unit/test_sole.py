import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.paths import LOCK_NAME
from agent.sole import AgentRunningError, sole_agent

_HOLD = """
import sys, time
from pathlib import Path
from agent.sole import sole_agent
with sole_agent(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_agent_is_refused_and_told_the_firsts_process(tmp_path: Path) -> None:
    with sole_agent(tmp_path), pytest.raises(AgentRunningError) as caught, sole_agent(tmp_path):
        pass
    assert caught.value.pid == os.getpid()
    assert str(caught.value) == f"the agent is running already (process {os.getpid()})"


def test_the_lock_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
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
