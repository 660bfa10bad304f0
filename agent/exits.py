"""How a command ends: exit codes, and errors with what to do about them."""

import io
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from traceback import walk_tb
from typing import Any, NoReturn

import click

_LEAST_WIDTH = 40  # of a terminal that says how wide it is: some say 0
EXIT_FAULT = 1
EXIT_UNREACHABLE = 3
EXIT_DEGRADED = 4
EXIT_OUTPUT = 5
_MEANING_OF = {
    0: "done",
    EXIT_FAULT: "a fault was found, or the request was refused",
    2: "wrong usage of the command line",
    EXIT_UNREACHABLE: "the agent is not running, or does not answer",
    EXIT_DEGRADED: "(doctor) degraded: nothing is missing, the agent runs, with less",
    EXIT_OUTPUT: "the output could not be written: a full disk, a closed pipe, no folder",
}


def exit_codes(*also: int) -> str:
    """Return the end of a command's help: what every command can return, and what it can `also`."""
    codes = sorted({0, EXIT_FAULT, 2, EXIT_OUTPUT, *also})
    return "\b\nExit codes:\n" + "\n".join(f"  {code}  {_MEANING_OF[code]}" for code in codes)


EXIT_CODES = exit_codes()  # of a command that asks no agent


class Program(click.Group):
    """A group of commands that ends with a word, and no traceback, where output has no place."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse the arguments, which may already print: `--help` does."""
        _open_what_is_closed()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text
        with _lost_output_told():
            return super().make_context(*arguments, **settings)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        with _lost_output_told():
            return super().invoke(context)


def fail(lines: Sequence[str], code: int = EXIT_FAULT) -> NoReturn:
    """Print an error, its details below it, and end."""
    first, *details = lines
    with suppress(OSError):  # the exit code tells it too
        _tell("Error: ", first)
        for detail in filter(None, details):
            _tell("  ", detail)
    sys.exit(code)


def error_width() -> int | None:
    """Return the columns of the terminal that errors go to; None where they go to none."""
    with suppress(AttributeError, OSError, ValueError):  # closed, redirected
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        return columns if columns >= _LEAST_WIDTH else None
    return None


def _tell(label: str, text: str) -> None:
    """Print a line of an error, cut between words where it goes to a terminal."""
    width = error_width()
    if width is not None:
        text = textwrap.fill(
            text,
            width,
            initial_indent=" " * len(label),
            subsequent_indent=" " * len(label),
            break_long_words=False,
            break_on_hyphens=False,
        ).lstrip()
    click.echo(f"{label}{text}", err=True)


@contextmanager
def _lost_output_told() -> Iterator[None]:
    """End the command where `click.echo` cannot write; other errors are not its business."""
    try:
        yield
    except OSError as error:
        code = click.echo.__code__
        if not any(frame.f_code is code for frame, _ in walk_tb(error.__traceback__)):
            raise
        _discard_output()
        if isinstance(error, BrokenPipeError):
            sys.exit(EXIT_OUTPUT)
        fail([f"the output cannot be written: {error.strerror or error}"], EXIT_OUTPUT)


def _open_what_is_closed() -> None:
    """Give this process a standard output and error where it was started without.

    Else what is opened next, a database or a socket, is what children write their errors to.
    Nothing can be written to such an output, which ends the command; errors go nowhere.
    """
    if sys.stdout is None:
        _open(1, os.O_RDONLY)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as this process
    if sys.stderr is None:
        _open(2, os.O_WRONLY)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for as long as this process


def _open(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)


def _discard_output() -> None:
    """Send what is still in the buffer nowhere, or Python complains of it when it ends."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
