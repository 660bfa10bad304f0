"""`tidegate backtest --since` on a small history: what it prints, and how it ends."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import drawn
from click.testing import CliRunner, Result
from pasts import record, write_files

from agent.backtest.command import backtest

QUICK = ("--since", "1h", "--no-fits", "--jobs", "1")
FILES = {
    "acme": 'qos = "platinum"\n',
    "beta": 'qos = "gold"\n[cpu]\nfloor_cores = 0.1\n',
    "core": 'qos = "silver"\n',
    "late": 'qos = "silver"\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where a host keeps all its files; `gone` was recorded and has none any more."""
    write_files(tmp_path, FILES)
    demand = drawn(180, 4) / 4.0
    demand[150:155] = np.nan
    names = ("acme", "beta", "core", "gone")
    record(
        tmp_path,
        {name: demand[:, place] for place, name in enumerate(names)},
        ended_at_s=datetime.now(UTC).timestamp(),
        served_fraction=0.9,
        limit=0.5,
    )
    return tmp_path


def ran(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(backtest, ["--config", str(folder / "tidegate.toml"), *arguments])


def found(folder: Path, *arguments: str) -> dict[str, Any]:
    result = ran(folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_a_look_back_has_a_row_for_each_class_all_and_the_most_affected(folder: Path) -> None:
    result = ran(
        folder,
        *QUICK,
        "--set",
        "modes.cpu=strict",
        "--set",
        "log.level=debug",
        "--set",
        "emergency.grant_s=45",
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("cpu of this host from ")
    assert lines[0].endswith(" UTC, the fallback rule's forecasts")
    assert lines[1] == "60 steps of 1m, 5 of them not recorded, after 2h of warm-up"
    assert lines.pop(6) == "  emergency.grant_s=45 (no effect here)"
    assert lines[2:6] == [
        "as configured: elastic mode, 0.90 cores to divide",
        "with --set: strict mode, 0.90 cores to divide",
        "  modes.cpu=strict",
        "  log.level=debug (no effect here)",
    ]
    assert lines[6:8] == ["left out, without a file now: gone", "not recorded: late"]
    assert lines[8].startswith("warning: only 55 steps count after the warm-up: with fewer than ")
    assert lines.pop(8)
    groups = [word for word in lines[9].split() if word.strip("-")]
    assert groups == ["recorded", "configured", "--set"]
    titles = ["UNMET", "SHORT", "MOVES"]
    assert lines[10].split() == ["TENANTS", "DEMAND", *titles * 3]
    table = [line.split() for line in lines[11:] if line]
    assert [row[:2] for row in table[:4]] == [
        ["platinum", "1"], ["gold", "1"], ["silver", "1"], ["all", "3"]
    ]  # fmt: skip
    assert all(row[3] == "10.0%" for row in table[:4])
    assert {row[0] for row in table[4:7]} <= {"acme", "beta", "core"}
    legend = lines[lines.index("UNMET   demand not served, of all demand") :]
    assert max(map(len, legend[:4])) <= 80
    assert "knowing the step's mean: compare replays with each other" in " ".join(lines)


def test_without_a_setting_there_is_one_replay(folder: Path) -> None:
    lines = ran(folder, *QUICK).stdout.splitlines()
    assert not any("--set" in line for line in lines)
    assert sum(line.count("UNMET") for line in lines) == 2 + 1  # a row of titles and the legend


def test_a_time_without_warm_up_and_longer_than_recorded_is_warned_of(folder: Path) -> None:
    result = ran(folder, "--since", "8h", "--no-fits", "--jobs", "1", "--json")
    assert json.loads(result.stdout)["warnings"] == [
        "no warm-up: nothing was recorded before, so forecasts begin with nothing",
        "asked for 8h, and 3h of it are recorded",
    ]


def test_a_number_without_a_unit_is_said_to_be_seconds(folder: Path) -> None:
    result = ran(folder, "--since", "3600", "--no-fits", "--jobs", "1")
    assert "Note: --since 3600 is 3600 seconds (3600m are minutes" in result.stderr
    assert "Note:" not in ran(folder, *QUICK).stderr


def test_json_has_all_that_was_found(folder: Path) -> None:
    answer = found(folder, *QUICK, "--resource", "memory", "--set", "modes.memory=elastic")
    setup = answer["setup"]
    assert (setup["resource"], setup["forecaster"]) == ("memory", "rule")
    assert setup["configured"] == {"mode": "strict", "capacity": 2.0**30, "is_observing": False}
    assert setup["changed"]["mode"] == "elastic"
    assert (setup["step_s"], setup["tick_s"]) == (60.0, 1.0)
    assert [setup[f"{name}_steps"] for name in ("warm_up", "evaluated", "recorded")] == [
        120,
        60,
        55,
    ]
    assert (setup["forgotten_tenants"], setup["unrecorded_tenants"]) == (["gone"], ["late"])
    assert (setup["overrides"], setup["without_effect"]) == (["modes.memory=elastic"], [])
    lasted = datetime.fromisoformat(setup["ended_at"]) - datetime.fromisoformat(setup["begun_at"])
    assert lasted.total_seconds() == pytest.approx(3600.0)
    assert [row["name"] for row in answer["classes"]] == ["platinum", "gold", "silver"]
    assert sorted(row["name"] for row in answer["tenants"]) == ["acme", "beta", "core"]
    for row in (*answer["classes"], answer["total"], *answer["tenants"]):
        assert row["mean_demand"] > 0
        assert row["recorded"]["unmet_fraction"] == pytest.approx(0.1)
        assert list(row["recorded"]) == list(row["configured"]) == list(row["changed"])


def test_two_processes_find_what_one_does(folder: Path) -> None:
    """With the real forecaster, and its fits."""
    options = ("--since", "1h", "--set", "qos.gold.weight=9", "--set", "modes.cpu=strict")
    runs = [found(folder, *options, "--jobs", jobs) for jobs in ("1", "2")]
    for run in runs:
        del run["elapsed_s"]
    assert runs[0] == runs[1]
    assert found(folder, *options, "--no-fits")["total"]["changed"] != runs[0]["total"]["changed"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--since", "1w"], 2, "'1w' has no unit that is known"),
        (["--since", "0"], 2, "expected a duration above 0"),
        ([], 2, "expected either TRACE or --since, got neither"),
        (["x.csv", "--since", "1h"], 2, "expected either TRACE or --since, got both"),
        (["x.csv"], 2, "--config: only together with --since"),
        (["--since", "1h", "--set", "modes=strict"], 2, "expected SECTION.KEY=VALUE"),
        (["--since", "1h", "--set", "modes.cpu=lax"], 1, "--set: modes.cpu: expected"),
        (["--since", "1h", "--set", "tenants.coer.qos=gold"], 1, "did you mean 'core'?"),
        (["--since", "1h", "--policy", "last"], 2, "--policy: not together with --since"),
        (
            ["--since", "1h", "--seeds", "5", "--capacity", "1", "--per-class", "--density"],
            2,
            "--capacity, --seeds, --per-class, --density: not together with --since",
        ),
        (
            ["--since", "1h", "--html", "x", "--tenants-per-host", "2", "--closed-loop"],
            2,
            "--tenants-per-host, --closed-loop, --html: not together with --since",
        ),
        (["--since", "1h", "--tenant", "core"], 2, "--tenant: not together with --since"),
        (["--since", "1h", "--resource", "disk_read"], 2, "--resource: expected cpu or memory"),
        (["--since", "1ms"], 1, "nothing of cpu was recorded in that time"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, arguments: list[str], code: int, word: str
) -> None:
    result = ran(folder, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert word in result.stderr


def test_files_at_fault_are_reported_as_by_check_config(folder: Path) -> None:
    (folder / "tenants.d" / "core.toml").write_text('qos = "brass"\n')
    result = ran(folder, *QUICK, "--set", "modes.cpu=lax")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == "Error: 1 fault in the configuration"
    assert second.startswith(f"  {folder}/tenants.d/core.toml: qos: expected a QoS class")


def test_where_nothing_was_recorded_it_says_what_to_do(folder: Path) -> None:
    (folder / "history.db").unlink()
    result = ran(folder, *QUICK)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"Error: {folder}/history.db: no such file",
        "  a running agent records each step as it ends",
    ]
