"""`tidegate release` on cgroups that the agent made: what it says, and how it exits."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tenants import SPIN, living_in

from agent.cli import main
from agent.paths import ORIGINALS_NAME
from enforce.apply import Applier
from enforce.columns import Changes, Control
from enforce.made import ensure
from enforce.originals import Originals

pytestmark = pytest.mark.kernel


def test_a_cgroup_in_which_processes_live_is_kept_and_that_is_no_failure(
    cgroup_root: Path, tmp_path: Path
) -> None:
    assert ensure(cgroup_root, ["busy", "idle"]) == {}
    originals = Originals(tmp_path / "state" / ORIGINALS_NAME)
    applier = Applier(cgroup_root, ["busy", "idle"], originals, memory_margin_bytes=0)
    lowered = Changes(Control.CPU_MAX, np.array([0]), np.array([np.inf]), np.array([0.5]))
    applier.apply(lowered)
    applier.close()
    config = tmp_path / "tidegate.toml"
    config.write_text(
        f'[host]\ncgroup_root = "{cgroup_root}"\nstate_dir = "{tmp_path}/state"\n'
        f'runtime_dir = "{tmp_path}/run"\n'
    )
    with living_in(cgroup_root / "busy", SPIN):
        result = CliRunner().invoke(main, ["release", "--json", "--config", str(config)])
        quota = (cgroup_root / "busy" / "cpu.max").read_text()
    assert result.exit_code == 0, result.output
    said = {(one["cgroup"], one["file"]): one["result"] for one in json.loads(result.output)}
    assert said["busy", "cpu.max"] == "restored"
    assert (said["busy", ""], said["idle", ""]) == ("kept", "removed")
    assert quota == "max 100000\n"
    assert not (cgroup_root / "idle").exists()
