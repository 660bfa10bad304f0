"""Kernel counter files of many tenants at once: bytes in, columns out.  Pure.

Rows of one kernel look alike, so all are parsed in one pass over their joined text; where they do
not, each row is parsed by itself.  What a row does not say is NaN.
"""

import re
from collections.abc import Sequence

import numpy as np

from enforce.columns import Floats, Ints

_FEW = 4  # less than that is faster row by row
_DIGITS = b"0123456789"
_NOT_NUMBERS = bytes(set(range(256)) - set(_DIGITS + b" \n"))
Disk = tuple[int, int]  # major and minor device number

_NO_DISK: Disk = (-1, -1)
_IO_KEYS = (b"rbytes", b"wbytes", b"rios", b"wios")
_IO_LINE = b": rbytes= wbytes= rios= wios= dbytes= dios=\n"
# A disk that is limited and unused has a line without counters, one that iocost divides has more.
_NO_COUNTERS = re.compile(rb"^\d+:\d+ \n| cost\.\w+=\d+", re.MULTILINE)
_IO_NUMBERS = 8  # major, minor and the six counters of a line
_IO_SPACES = bytes.maketrans(b":=", b"  ")
_IO_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_IO_MAX_KEYS = (b"rbps", b"wbps", b"riops", b"wiops")
_IO_MAX_LINE = b": rbps= wbps= riops= wiops=\n"
_IO_MAX_NUMBERS = 6


def table(rows: Sequence[bytes], keys: Sequence[bytes]) -> Floats:
    """Return the values of `keys` in flat keyed files (``key value`` lines), shape (rows, keys)."""
    if not rows:
        return np.empty((0, len(keys)))
    if len(rows) < _FEW:
        return np.array([_row(row, keys) for row in rows])
    text = b"".join(rows)
    shape = rows[0].translate(None, _DIGITS)
    if text.translate(None, _DIGITS) == shape * len(rows):
        values = np.fromstring(text.translate(None, _NOT_NUMBERS), dtype=np.int64, sep=" ")
        names = [line.split()[0] for line in rows[0].splitlines()]
        # A key with a digit in its name breaks the columns: such a file is parsed row by row.
        if values.size == len(names) * len(rows):
            return _picked(values.reshape(len(rows), -1), names, keys)
    return np.array([_row(row, keys) for row in rows])


def numbers(rows: Sequence[bytes]) -> Floats:
    """Return the value of single-number files, shape (rows, 1); "max" is inf."""
    words = _words(rows, 1)
    return words if words is not None else np.array([[_number(row)] for row in rows]).reshape(-1, 1)


def quotas(rows: Sequence[bytes]) -> Floats:
    """Return quota / period of cpu.max in cores, shape (rows, 1); "max" is inf."""
    words = _words(rows, 2)
    if words is None:
        words = np.array(
            [[_number(word) for word in (row.split() + [b""] * 2)[:2]] for row in rows]
        )
    return words[:, :1] / words[:, 1:]


def io_counters(rows: Sequence[bytes], disks: Sequence[Disk | None] = ()) -> Floats:
    """Return bytes read and written, reads and writes of io.stat: (rows, 4 + 4 for each disk).

    The first four are sums over all devices.  A tenant that has done no I/O has no line: that is
    0.  Of a disk without a number nothing is known.
    """
    text = b"".join(rows)
    if b" \n" in text or b" cost." in text:
        rows = [_NO_COUNTERS.sub(b"", row) for row in rows]
        text = b"".join(rows)
    lines = [row.count(b"\n") for row in rows]
    if text.translate(None, _DIGITS) != _IO_LINE * sum(lines):
        return np.array([_io_row(row, disks) for row in rows]).reshape(len(rows), -1)
    spaced = text.translate(_IO_SPACES, _IO_LETTERS)
    values = np.fromstring(spaced, dtype=np.int64, sep=" ").reshape(-1, _IO_NUMBERS)
    row = np.repeat(np.arange(len(rows)), lines)
    columns = _io_sums(values, row, len(rows))
    for disk in disks:
        is_its = (values[:, :2] == (disk or _NO_DISK)).all(axis=1)
        sums = _io_sums(values[is_its], row[is_its], len(rows))
        columns += sums if disk else [np.full(len(rows), np.nan)] * len(_IO_KEYS)
    return np.stack(columns, axis=1)


def stalled_us(rows: Sequence[bytes], line: bytes) -> Floats:
    """Return the total of "some" or "full" in pressure files, shape (rows,)."""
    found = (re.search(rb"^%s .*\btotal=(\d+)$" % line, row, re.MULTILINE) for row in rows)
    return np.array([np.nan if one is None else float(one[1]) for one in found])


def io_limits(rows: Sequence[bytes], disks: Sequence[Disk | None]) -> Floats:
    """Return the four numbers of io.max for each of `disks`, shape (rows, 4 for each disk).

    inf is "max", also of a disk without a line.  Of a disk without a number nothing is known.
    """
    if not rows:
        return np.empty((0, len(_IO_MAX_KEYS) * len(disks)))
    lines = [row.count(b"\n") for row in rows]
    text = b"".join(rows).replace(b"max", b"-1")
    if text.translate(None, _DIGITS + b"-") != _IO_MAX_LINE * sum(lines):
        return np.array([_io_max_row(row, disks) for row in rows])
    values = np.fromstring(text.translate(_IO_SPACES, _IO_LETTERS), dtype=np.int64, sep=" ")
    values, row = values.reshape(-1, _IO_MAX_NUMBERS), np.repeat(np.arange(len(rows)), lines)
    found = np.full((len(rows), len(disks), len(_IO_MAX_KEYS)), np.inf)
    for place, disk in enumerate(disks):
        is_its = (values[:, :2] == (disk or _NO_DISK)).all(axis=1)
        found[row[is_its], place] = np.where(values[is_its, 2:] < 0, np.inf, values[is_its, 2:])
        if disk is None:
            found[:, place] = np.nan
    return found.reshape(len(rows), -1)


def disk_weights(rows: Sequence[bytes], disks: Sequence[Disk | None]) -> Floats:
    """Return the weight on each of `disks` that rows of io.weight say, shape (rows, disks).

    A disk without a line has the default.  Rows are few at a time: each is read by itself.
    """
    return np.array([_weight_row(row, disks) for row in rows]).reshape(len(rows), len(disks))


def _weight_row(row: bytes, disks: Sequence[Disk | None]) -> list[float]:
    said = dict(line.split(b" ", 1) for line in row.splitlines() if b" " in line)
    default = _number(said.get(b"default", b""))
    return [
        _number(said[key]) if (key := b"%d:%d" % (disk or _NO_DISK)) in said else default
        for disk in disks
    ]


def _io_max_row(row: bytes, disks: Sequence[Disk | None]) -> list[float]:
    """Read one io.max that has more or fewer numbers a line than usual."""
    found: list[float] = []
    for disk in disks:
        start = b"%d:%d " % (disk or _NO_DISK)
        words = [line.split()[1:] for line in row.splitlines() if line.startswith(start)]
        said = dict(word.split(b"=", 1) for line in words for word in line if b"=" in word)
        missing = np.nan if disk is None else np.inf
        found += [_number(said[key]) if key in said else missing for key in _IO_MAX_KEYS]
    return found


def _io_sums(values: Ints, row: Ints, n_rows: int) -> list[Floats]:
    """Return for each of the four counters its sum by row."""
    return [
        np.bincount(row, weights=values[:, k], minlength=n_rows).astype(np.float64)
        for k in range(2, 6)
    ]


def _picked(values: Ints, names: list[bytes], keys: Sequence[bytes]) -> Floats:
    picked = np.full((len(values), len(keys)), np.nan)
    for place, key in enumerate(keys):
        if key in names:
            picked[:, place] = values[:, names.index(key)]
    return picked


def _row(row: bytes, keys: Sequence[bytes]) -> list[float]:
    lines = row.splitlines()
    try:
        said = dict(map(bytes.split, lines))  # a loop in C
    except ValueError:
        pairs = (line.split() for line in lines)
        said = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a pair
    return [_number(said.get(key, b"")) for key in keys]


def _io_row(row: bytes, disks: Sequence[Disk | None]) -> list[float]:
    """Sum one io.stat that has more or fewer keys a line than usual (old kernels)."""
    lines = row.splitlines()
    sums = _io_line_sums(lines)
    for disk in disks:
        start = b"%d:%d " % (disk or _NO_DISK)
        its = _io_line_sums([line for line in lines if line.startswith(start)])
        sums += its if disk else [np.nan] * len(_IO_KEYS)
    return sums


def _io_line_sums(lines: Sequence[bytes]) -> list[float]:
    pairs = [word.split(b"=") for line in lines for word in line.split() if b"=" in word]
    return [sum(_number(pair[1]) for pair in pairs if pair[0] == key) for key in _IO_KEYS]


def _words(rows: Sequence[bytes], per_row: int) -> Floats | None:
    """Return all numbers of regular rows, shape (rows, per_row), or None where one is irregular."""
    text = b"".join(rows).replace(b"max", b"-1")
    # As many line ends as rows, and one at the end of each: no row can have slipped into another.
    is_regular = text.translate(None, _DIGITS + b" -") == b"\n" * len(rows)
    if not (is_regular and all(row.endswith(b"\n") for row in rows)):
        return None
    values = np.fromstring(text, dtype=np.int64, sep=" ")
    if values.size != per_row * len(rows):
        return None
    return np.where(values < 0, np.inf, values).reshape(len(rows), per_row)


def _number(word: bytes) -> float:
    if word.isdigit():
        return float(word)
    word = word.strip()
    if word == b"max":
        return np.inf
    return float(word) if word.isdigit() else np.nan
