"""`tidegate history`, run as a person runs it, on a file that a recorder wrote."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from samples import NAN, column

from agent.cli import main
from agent.history import HISTORY_NAME, SeriesNames
from agent.recorder import Recorder
from agent.steps import ClosedStep

STEP_S = 60.0
STEPS = 100


@pytest.fixture
def shown(tmp_path: Path) -> Callable[..., Result]:
    """Return the command on a host where 100 steps were recorded until now, but for five."""
    (tmp_path / "tidegate.toml").write_text(f'[host]\nstate_dir = "{tmp_path}"\n')
    recorder = Recorder(tmp_path / HISTORY_NAME, most_waiting=STEPS)
    now_s = datetime.now(UTC).timestamp()
    for number in range(STEPS):
        if 50 <= number < 55:
            continue
        demand = column(2, NAN, 100 << 20, NAN)
        recorder.add(
            ClosedStep(demand, 1.5 * demand, column(1, NAN, 100 << 20, NAN), column(1, 1, NAN, 4)),
            SeriesNames(("acme", "idle"), ("cpu", "memory")),
            machine=column(4, 4, 4, 4),
            ended_at_s=now_s - STEP_S * (STEPS - 1 - number),
            step_s=STEP_S,
        )
    recorder.close()

    def run(*arguments: str) -> Result:
        config = ("--config", str(tmp_path / "tidegate.toml"))
        return CliRunner().invoke(main, ["history", *arguments, *config])

    return run


def test_a_line_stands_for_as_many_steps_as_fit_a_screen(shown: Callable[..., Result]) -> None:
    said = shown("acme")
    assert said.exit_code == 0
    head, titles, *lines = said.output.splitlines()
    assert head == "acme: cpu in cores, a line for each 5m"
    assert titles.split() == ["ENDED", "USED", "DEMAND", "PEAK", "LIMIT", "UNMET"]
    assert len(lines) == STEPS / 5
    told = [line.split()[-5:] for line in lines]
    assert told.count(["1.00", "2.00", "3.00", "1.00", "50%"]) == 19
    assert told.count(["-"] * 5) == 1


def test_one_chooses_the_resource_the_time_and_what_a_line_is(
    shown: Callable[..., Result],
) -> None:
    said = shown("acme", "--resource", "memory", "--since", "20m", "--every", "10m")
    head, _, *lines = said.output.splitlines()
    assert head == "acme: memory in bytes, a line for each 10m"
    assert [line.split()[-5:] for line in lines] == [["100M", "100M", "150M", "-", "0%"]] * 2


def test_json_has_a_line_for_each_step(shown: Callable[..., Result]) -> None:
    answer = json.loads(shown("acme", "--json").output)
    assert len(answer["lines"]) == STEPS
    assert answer["step_s"] == answer["every_s"] == STEP_S
    newest = answer["lines"][-1]
    del newest["ended_at"]
    assert newest == {"used": 1.0, "demand": 2.0, "peak": 3.0, "limit": 1.0}
    assert answer["lines"][52]["demand"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody",), 1, "nothing of 'nobody' was recorded in that time"),
        (("acme", "--resource", "disk_read:sda"), 1, "recorded: cpu, memory"),
        (("acme", "--resource", "gpu"), 2, "'gpu' is none of cpu, memory"),
        (("acme", "--since", "1ms"), 1, "ask for a longer one"),
        (("acme", "--since", "30d"), 0, "ENDED"),
        (("acme", "--since", "8h"), 0, "Note: asked for 8h, and 100m of it are recorded"),
        (("acme", "--since", "9000"), 0, "Note: --since 9000 is 9000 seconds"),
        (("acme", "--every", "10h"), 0, "what is shown, 100m, is less than 10h"),
        (("acme", "--since", "soon"), 2, "for example 30m, 3h or 7d"),
        (("acme", "--every", "0s"), 2, "must be above 0"),
        (("idle",), 0, "idle: cpu"),
    ],
)
def test_what_is_not_there_is_named(
    shown: Callable[..., Result], arguments: tuple[str, ...], code: int, said: str
) -> None:
    answer = shown(*arguments)
    assert answer.exit_code == code, answer.output
    assert said in answer.output


@pytest.mark.parametrize(
    ("steps", "since", "said"),
    [
        (
            0,
            "3h",
            "nothing is recorded yet\n  the first step is recorded as it ends: periods.step_s",
        ),
        (
            0,
            "7d",
            "nothing is recorded yet\n  the first step is recorded as it ends: periods.step_s",
        ),
        (
            5,
            "7d",
            "nothing was recorded in that time\n  ask for 2d or less: beyond, the mean of every",
        ),
        (5, "1ms", "nothing was recorded in that time\n  ask for a longer one"),
    ],
)
def test_where_nothing_is_found_the_hint_is_one_that_helps(
    tmp_path: Path, steps: int, since: str, said: str
) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(f'[host]\nstate_dir = "{tmp_path}"\n')
    recorder = Recorder(tmp_path / HISTORY_NAME, most_waiting=10)
    now_s, one = datetime.now(UTC).timestamp(), column(1)
    for number in range(steps):
        recorder.add(
            ClosedStep(one, one, one, one),
            SeriesNames(("acme",), ("cpu",)),
            machine=one,
            ended_at_s=now_s - STEP_S * (steps - number),
            step_s=STEP_S,
        )
    recorder.close()
    asked = ["history", "acme", "--since", since, "--config", str(config)]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 1
    assert said in answer.output


def test_a_host_without_history_says_who_would_write_it(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.toml"
    config.write_text(f'[host]\nstate_dir = "{tmp_path}"\n')
    said = CliRunner().invoke(main, ["history", "acme", "--config", str(config)])
    assert said.exit_code == 1
    assert "no such file" in said.output
    assert "a running agent records each step" in said.output
