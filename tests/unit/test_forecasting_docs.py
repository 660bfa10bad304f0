"""The sample in docs/forecasting.md against the program, but for what a run costs."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agent.backtest.evaluation_options import evaluation_options
from agent.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "forecasting.md").read_text()


def shown(command: str) -> list[str]:
    """Return what a command prints to standard output, line by line."""
    program, *arguments = shlex.split(command)
    assert program == "tidegate"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def told(lines: list[str]) -> list[str]:
    """Return lines without the numbers of what was spent."""
    number = re.compile(r" \d[\d.]*")
    return [number.sub(" N", line) if line.startswith("cost, ") else line for line in lines]


def test_the_sample_is_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```\n(\$ .*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    runs = block.removeprefix("$ ").split("\n$ ")
    assert len(runs) == 2
    for run in runs:
        command, *lines = run.rstrip("\n").split("\n")
        assert told(shown(command)) == told(lines), command


def test_every_option_is_told() -> None:
    @click.command
    @evaluation_options
    def command() -> None: ...

    names = [option.opts[0] for option in command.params if option.name != "is_evaluated"]
    assert [name for name in names if f"| `{name}" not in TEXT] == []
