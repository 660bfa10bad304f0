"""Has the running agent read its configuration again, and waits for what becomes of that."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.answers import Health
from agent.client import AgentError, AgentUnreachableError, get

PATIENCE_S = 60.0
_PAUSE_S = 0.05


def reload(socket_path: Path, *, pid: int | None = None) -> str | None:
    """Signal the agent and return why it refused its files; None where it goes on under them.

    `pid` is the agent's, where it is known: it is signalled then, whether or not it answers.

    Raises:
        AgentError: The agent cannot be asked, or has not answered for a minute.
        OSError: It cannot be signalled.

    """
    try:
        before = _health(socket_path)
    except AgentError:
        if pid is not None:
            os.kill(pid, signal.SIGHUP)
        raise
    if pid not in (None, before.pid):
        hint = "the agent is another process: leave out --pid"
        raise AgentError(f"{socket_path}: process {before.pid} answers, not {pid}", hint)
    agent = before.pid
    if agent <= 0:  # to the kernel that is a group of processes, or all of them
        raise AgentError(f"{socket_path}: the answer names no process", "is it tidegate's socket?")
    os.kill(agent, signal.SIGHUP)
    ends_at_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at_s:
        # One that was under way may have read the files before; ours is the one after it.
        with suppress(AgentError):
            now = _health(socket_path)
            if now.reloads_ended > before.reloads_begun:
                return now.reload_problem
        time.sleep(_PAUSE_S)  # noqa: TID251 - a person waits for this, and no tick
    raise AgentUnreachableError(
        f"the agent has not read its files for {PATIENCE_S:.0f} s", "see: systemctl status tidegate"
    )


def _health(socket_path: Path) -> Health:
    return msgspec.json.decode(get(socket_path, "/v1/health"), type=Health)
