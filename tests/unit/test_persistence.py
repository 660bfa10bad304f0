"""agent.persistence: a daemon that is started anew begins with what the last one recorded."""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tenants import wait_until

from agent.daemon import Daemon
from agent.history import HISTORY_NAME, read_past
from agent.host import read_config
from agent.settings import Config
from agent.tenant import Resource

HOST = """
[host]
cgroup_root = "{folder}/root"
state_dir = "{folder}/state"
runtime_dir = "{folder}"
[periods]
tick_s = 0.1
step_s = 1
"""
MEMORY_BYTES = 7.0 * (1 << 20)


@pytest.fixture(autouse=True)
def _wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass with each step that is recorded: ticks here take less than they say."""
    seconds = count(1_700_000_000)
    monkeypatch.setattr("agent.persistence.unix_now_s", lambda: float(next(seconds)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a host of one tenant whose cgroup is a plain directory that holds 7 MiB."""
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "tidegate.toml").write_text(HOST.format(folder=tmp_path))
    (tmp_path / "tenants.d" / "acme.toml").write_text('qos = "gold"\n')
    (tmp_path / "root" / "acme").mkdir(parents=True)
    (tmp_path / "root" / "acme" / "memory.current").write_text(f"{MEMORY_BYTES:.0f}\n")
    return tmp_path


def daemon_in(folder: Path) -> Daemon:
    def read(accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(folder / "tidegate.toml", folder / "tenants.d", accepted)

    return Daemon(read(), read)


def run_steps(daemon: Daemon, steps: int, *, began_s: float | None = None) -> float:
    """Tick on a clock of our own until so many steps have ended; return the time by it."""
    now_s = time.monotonic() if began_s is None else began_s
    for _ in range(10 * steps + 1):
        assert daemon.tick(now_s, 0)
        now_s += 0.1
    return now_s


def test_steps_are_recorded_as_they_end(folder: Path) -> None:
    with closing(daemon_in(folder)) as daemon:
        run_steps(daemon, 3)
        wait_until(lambda: daemon.facts().history_problem is None)
    past = read_past(folder / "state" / HISTORY_NAME, since_s=0.0)
    assert past.tenants == ("acme",)
    assert past.step_s == 1.0
    memory = past.demand[Resource.MEMORY][:, 0]
    assert memory == pytest.approx(np.full(3, MEMORY_BYTES))
    assert past.usage[Resource.MEMORY][:, 0] == pytest.approx(memory)


def test_a_model_is_fitted_at_once_where_there_is_a_past(folder: Path) -> None:
    with closing(daemon_in(folder)) as daemon:
        run_steps(daemon, 40)
    with closing(daemon_in(folder)) as daemon:

        def is_live() -> bool:
            assert daemon.tick(time.monotonic(), 0)
            record = daemon.record
            return record is not None and record.forecaster == "live"

        wait_until(is_live, limit_s=60.0)
        assert daemon.record is not None
        assert daemon.record.resources[Resource.MEMORY].source.tolist() == [1]


def test_a_history_that_cannot_be_written_is_told_and_stops_no_tick(folder: Path) -> None:
    with closing(daemon_in(folder)) as daemon:
        with closing(sqlite3.connect(folder / "state" / HISTORY_NAME)) as other:
            other.execute("BEGIN IMMEDIATE")
            now_s = run_steps(daemon, 1)
            wait_until(lambda: "locked" in str(daemon.facts().history_problem))
        run_steps(daemon, 1, began_s=now_s)
        wait_until(lambda: daemon.facts().history_problem is None)


def test_a_fault_in_keeping_a_step_stops_no_tick(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with closing(daemon_in(folder)) as daemon:
        monkeypatch.setattr("agent.persistence.names_of", broken)
        run_steps(daemon, 2)
