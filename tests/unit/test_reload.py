"""A reload that is asked for waits for the agent's verdict on its files as they are now."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from records import record

from agent.cli import main
from agent.client import AgentError
from agent.control import ControlServer
from agent.reload import reload
from agent.status import AgentFacts


@contextmanager
def agent(path: Path, verdicts: list[str | None], *, begun: int = 0) -> Iterator[None]:
    """Answer as an agent does whose reloads end, one a signal or question, with `verdicts`."""
    facts = AgentFacts(pid=os.getpid(), reloads_begun=begun)
    asked = 0

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal asked
        asked += 1

    def told() -> AgentFacts:
        nonlocal facts
        now = facts
        if asked and verdicts:
            ended = facts.reloads_ended + 1
            facts = replace(
                facts,
                reloads_begun=max(facts.reloads_begun, ended),
                reloads_ended=ended,
                reload_problem=verdicts.pop(0),
            )
        return now

    before = signal.signal(signal.SIGHUP, on_signal)
    try:
        with ControlServer(path, lambda: replace(record(), taken_at_s=1e12), told):
            yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize("verdict", [None, "web.toml: qos: missing"])
def test_the_verdict_is_waited_for(path: Path, verdict: str | None) -> None:
    with agent(path, [verdict]):
        assert reload(path) == verdict


def test_a_reload_that_was_under_way_is_not_taken_for_the_one_asked_for(path: Path) -> None:
    with agent(path, ["of files before they were mended", None], begun=1):
        assert reload(path) is None


def test_a_refusal_ends_with_1_and_names_the_fault(path: Path) -> None:
    with agent(path, ["web.toml: qos: missing"]):
        result = CliRunner().invoke(main, ["reload", "--socket", str(path)])
    assert result.exit_code == 1
    assert "web.toml: qos: missing" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--pid", str(os.getpid())]])
def test_who_cannot_be_asked_is_signalled_all_the_same_where_it_is_known(
    path: Path, arguments: list[str]
) -> None:
    came: list[int] = []
    handler: Callable[[int, object], None] = lambda number, _frame: came.append(number)  # noqa: E731
    before = signal.signal(signal.SIGHUP, handler)
    try:
        result = CliRunner().invoke(main, ["reload", "--socket", str(path), *arguments])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.exit_code == 3
    assert came == ([signal.SIGHUP] if arguments else [])
    with pytest.raises(AgentError):
        reload(path)


@pytest.mark.parametrize("pid", ["0", "-1"])
def test_no_group_of_processes_is_ever_signalled(path: Path, pid: str) -> None:
    result = CliRunner().invoke(main, ["reload", "--socket", str(path), "--pid", pid])
    assert result.exit_code == 2
    assert "not in the range" in result.stderr


def test_another_process_than_the_one_that_answers_is_never_signalled(path: Path) -> None:
    with agent(path, []), pytest.raises(AgentError, match=f"process {os.getpid()} answers, not 1"):
        reload(path, pid=1)
