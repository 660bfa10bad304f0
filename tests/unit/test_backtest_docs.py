"""The samples in docs/backtest.md against the program: what they show is what is printed."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "backtest.md").read_text()
BLOCKS = [
    block
    for block in re.findall(r"^```\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    if block.startswith("$ tidegate ") and "--since" not in block  # what one host recorded
]


def printed(command: str) -> list[str]:
    """Return what a command prints to standard output, line by line."""
    program, *arguments = shlex.split(command)
    assert program == "tidegate"
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_there_are_samples() -> None:
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-2][:20])
def test_a_sample_is_what_its_commands_print(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`...` stands for any further lines, down to the command's last."""
    monkeypatch.chdir(tmp_path)
    for run in block.removeprefix("$ ").split("\n$ "):
        command, *shown = run.rstrip("\n").split("\n")
        said = printed(command)
        if shown and shown[-1] == "...":
            shown, said = shown[:-1], said[: len(shown) - 1]
        assert said == shown, command
