"""`tidegate forecast` asked of the installed agent, run as a process over real cgroups."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tenants import SPIN, living_in, wait_until

pytestmark = pytest.mark.kernel

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
HOST = """
[host]
cgroup_root = "{root}"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
cpu_capacity_cores = 1.0
cpu_reserve_cores = 0.1
[periods]
tick_s = 0.25
step_s = 0.5
horizon_s = 1.5
refit_s = 5
learning_s = 0
"""
ANSWER_S = 80.0


@pytest.fixture
def environment(cgroup_root: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run an agent of two tenants; return what tells commands where it is."""
    config, tenants = tmp_path / "tidegate.toml", tmp_path / "tenants.d"
    config.write_text(HOST.format(root=cgroup_root, folder=tmp_path))
    tenants.mkdir()
    for name in ("busy", "idle"):
        (tenants / f"{name}.toml").write_text('qos = "silver"\n[cpu]\nfloor_cores = 0.1\n')
    words = [TIDEGATE, "run", "--config", str(config), "--tenants-dir", str(tenants)]
    where = {"TIDEGATE_CONFIG": str(config), "TIDEGATE_SOCKET": f"{tmp_path}/run/control.sock"}
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(words, stderr=log) as agent:
        try:
            yield os.environ | where
        finally:
            agent.terminate()
            agent.wait(20)


def asked(environment: dict[str, str], *words: str) -> tuple[Any, str]:
    """Return what `tidegate forecast` says, None while it does not, and what it complains of."""
    done = subprocess.run(
        [TIDEGATE, "forecast", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None, done.stderr


def is_known(said: Any) -> bool:
    """Say whether horizons that were forecast have ended, and one is forecast now."""
    return bool(said and said["windows"] > 5 and said["forecast"]["expected"] is not None)


def test_a_tenants_history_is_told_beside_what_had_been_and_what_is_forecast(
    environment: dict[str, str], cgroup_root: Path, tmp_path: Path
) -> None:
    wait_until((cgroup_root / "busy").exists, limit_s=ANSWER_S)
    with living_in(cgroup_root / "busy", SPIN):
        time.sleep(3.0)  # some steps; who spins longer leaves the forecaster nothing of one cpu
    until_s = time.monotonic() + ANSWER_S
    said, problem = asked(environment, "busy")
    while not is_known(said):
        assert time.monotonic() < until_s, f"{problem} {said and {**said, 'history': ()}}"
        time.sleep(1.0)
        said, problem = asked(environment, "busy")
    forecast = said["forecast"]
    assert [one["horizon_s"] for one in forecast["horizons"]] == [0.5, 1.0, 1.5]
    assert forecast["source"] in ("learning", "live", "fallback")  # a busy machine starts it late
    known = [step for step in said["history"] if step["demand"] is not None]
    assert max(step["demand"] for step in known) > 0.3  # it spins
    assert any(step["bound_95"] is not None for step in known)
    picture = tmp_path / "plot.svg"
    _, problem = asked(environment, "busy", "--output", str(picture))
    assert picture.read_bytes().startswith(b"<?xml"), problem
