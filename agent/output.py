"""How commands print: JSON indented and whole, lines as wide as the terminal, files whole."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import msgspec

from agent.exits import EXIT_OUTPUT, error_width, fail
from agent.table import paragraph

_PIPE_WIDTH = 200  # no terminal: room for every column, yet lines that a person can read
_MOST_PROSE_WIDTH = 100
_INDENT = "  "  # of a line that goes on


def print_json(body: bytes) -> None:
    """Print a JSON text."""
    click.echo(msgspec.json.format(body, indent=2).decode())


def print_value(value: object) -> None:
    """Print a value as JSON."""
    print_json(msgspec.json.encode(value))


def print_lines(lines: Sequence[str]) -> None:
    """Print lines, or nothing where there are none."""
    if lines:
        click.echo("\n".join(lines))


def print_wrapped(texts: Sequence[str]) -> None:
    """Print a line for each text, on a terminal cut between words: what is piped stays whole."""
    if not sys.stdout.isatty():
        print_lines(texts)
        return
    width = prose_width() - len(_INDENT)
    cut = [paragraph(text, width=width) for text in texts]
    print_lines([_INDENT * (at > 0) + line for lines in cut for at, line in enumerate(lines)])


def terminal_width() -> int:
    """Return the terminal's columns; a pipe has room for every column."""
    is_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if is_terminal else _PIPE_WIDTH


def prose_width() -> int:
    """Return how wide sentences are: before a pager, as wide as the terminal that it is in."""
    is_piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    width = error_width() if is_piped else None
    return min(width or terminal_width(), _MOST_PROSE_WIDTH)


def check_writable(path: Path) -> None:
    """End the command before its work where `write_whole` could not write this file after it."""
    if path.is_dir():
        fail([f"{path}: Is a directory"], EXIT_OUTPUT)
    partial = partial_of(path)
    with _unwritable_told(path):
        partial.touch(exist_ok=False)
        partial.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; where it cannot be, end the command with a word."""
    partial = partial_of(path)
    with _unwritable_told(path):
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def partial_of(path: Path) -> Path:
    """Return a name beside `path` that is nobody else's, also not another run's."""
    return path.with_name(f".{secrets.token_hex(8)}.partial")


@contextmanager
def _unwritable_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fail([f"{path}: {error.strerror or error}"], EXIT_OUTPUT)
