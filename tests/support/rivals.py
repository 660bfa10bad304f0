"""Runs a C program that a benchmark is compared with: a round of its work whenever it is asked."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Round = Callable[[], list[float]]


@contextmanager
def rival(program: Path, todo: Path, lines: Iterator[str]) -> Iterator[Round]:
    """Start a program that does what `lines` say; each call returns what it says of a round.

    Who takes turns with it meets the same neighbours on a busy machine.
    """
    todo.write_text("\n".join(lines))
    pipe = subprocess.PIPE
    with subprocess.Popen([program, todo], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def carry_out() -> list[float]:
            stdin.write("\n")
            stdin.flush()
            return [float(word) for word in stdout.readline().split()]

        yield carry_out
