"""What a trace file must not be: checks of it as a whole, and Arrow's words made plain.

Nothing here reads rows.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

SUFFIXES = (".parquet", ".csv")
_MOST_COLUMNS = 1000
_LONGEST_HEADER_BYTES = 64 << 10
# What Arrow says of its own options, as the one who has the file would call it.
_UNFIT = re.compile(r"In CSV column #(\d+): .*?: invalid value (.*)")
_WORDS_FOR = {
    "straddling object": "a line is longer than 1 MiB",
    "out of sync": "a value in quotes goes over several lines, or its quotes are not closed",
    "Empty CSV": "has no rows",
    "magic bytes not found": "is no Parquet file, or was cut off",
    "minimum file footer": "is no Parquet file, or was cut off",
}


class TraceError(Exception):
    """A file is no trace; `hint` says what to do about it."""

    def __init__(self, path: Path, why: str, hint: str = "") -> None:
        self.hint = _printable(hint)
        super().__init__(_printable(f"{path}: {why}"))


class UnwritableError(TraceError):
    """A trace cannot be written where it should be."""


@contextmanager
def faults_told(path: Path) -> Iterator[None]:
    """Turn what the kernel or Arrow has against a file into a TraceError."""
    try:
        yield
    except OSError as error:
        # Arrow raises OSError without a number for files that are damaged.
        why = os.strerror(error.errno).lower() if error.errno else _first_line(error)
        raise TraceError(path, why) from error
    except UnicodeEncodeError as error:
        raise TraceError(path, "Arrow opens no file whose name is not UTF-8") from error
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise TraceError(path, _first_line(error)) from error


@contextmanager
def unfit_told(path: Path, columns: Sequence[str], expected: Mapping[str, str]) -> Iterator[None]:
    """Turn what Arrow has against a value of a CSV file with these columns into a TraceError.

    `expected` says of some what is; of all others it is a number.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        found = _UNFIT.search(_first_line(error))
        if found is None or int(found[1]) >= len(columns):
            raise
        name = columns[int(found[1])]
        wanted = expected.get(name, "a number")
        raise TraceError(path, f"column {name}: expected {wanted}, got {found[2]}") from error


def _printable(text: str) -> str:
    """Return `text` with ? for what could steer a terminal: it may quote a stranger's file."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _first_line(error: Exception) -> str:
    said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return next((ours for theirs, ours in _WORDS_FOR.items() if theirs in said), said)


def suffix_of(path: Path) -> str:
    """Return a trace file's suffix, which says what it holds."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise TraceError(path, f"expected a name that ends in {' or '.join(SUFFIXES)}")
    return suffix


def check_target(path: Path, *, may_replace: bool) -> None:
    """Refuse what may not be replaced, before hours of work; a link counts, wherever it leads."""
    if path.is_dir():
        raise TraceError(path, "is a directory")
    if os.path.lexists(path) and not may_replace:
        raise TraceError(path, "there is such a file already", "--force replaces it")
    if path.exists() and not path.is_file():
        raise TraceError(path, "is not a regular file")


def check_header(path: Path) -> None:
    """Refuse a header that Arrow would take a gigabyte for."""
    with path.open("rb") as stream:
        header = stream.read(_LONGEST_HEADER_BYTES + 1).replace(b"\r", b"\n").partition(b"\n")[0]
    if len(header) > _LONGEST_HEADER_BYTES:
        raise TraceError(path, "its first line does not end within 64 KiB", "it names the columns")
    check_n_columns(path, header.count(b",") + 1)


def check_n_columns(path: Path, n_columns: int) -> None:
    """Refuse a table that is wider than any trace."""
    if n_columns > _MOST_COLUMNS:
        raise TraceError(path, f"has {n_columns:,} columns, and at most {_MOST_COLUMNS:,} are read")
