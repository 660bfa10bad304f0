"""How commands end that are started without a standard output or error."""

import subprocess
import sys

import pytest


def closed(descriptors: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program with what the shell's `descriptors` close."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {descriptors}', "sh", sys.executable, "-m", "agent", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["--help", "doctor"])
def test_a_closed_output_is_an_error_of_one_line(command: str) -> None:
    done = closed(">&-", command)
    assert done.returncode == 5
    assert done.stderr == "Error: the output cannot be written: Bad file descriptor\n"


def test_with_nothing_open_the_exit_code_still_tells() -> None:
    done = closed("<&- >&- 2>&-", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")


def test_errors_go_nowhere_where_that_is_closed() -> None:
    assert closed("2>&-", "--help").stdout.startswith("Usage:")
    assert closed("2>&-", "no-such-command").returncode == 2
