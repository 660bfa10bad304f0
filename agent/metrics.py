"""What counts as an application's metric, and how a file of them reads.  Pure.

A tenant writes them, so that nothing is believed: names, numbers and how many are bounded.
"""

import re
from collections.abc import Mapping, Sequence

from forecast.settings import LARGEST_METRIC

MOST_METRICS = 8  # of one tenant
MOST_FILE_BYTES = 64 << 10
MOST_FILE_LINES = 64
NAME_EXPECTATION = "a name of a-z, 0-9 and '_', beginning with a letter, at most 32 long"
NUMBER_EXPECTATION = "a number between -1e15 and 1e15"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,32}(\.[0-9]{0,32})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_LONGEST_LINE = 256


class MetricError(ValueError):
    """Something that was reported is no metric; the text says what was expected."""


def parsed_number(text: str) -> float:
    """Return a metric's value as it is written in a file, or on a command line.

    Raises:
        MetricError: It is none.

    """
    if not _NUMBER.fullmatch(text):
        raise MetricError(f"expected {NUMBER_EXPECTATION}, got {text[:40]!a}")
    return float(text)


def checked(values: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by name if each is one, and they are not too many.

    Raises:
        MetricError: Something is no metric.

    """
    if len(values) > MOST_METRICS:
        raise MetricError(f"expected at most {MOST_METRICS} metrics, got {len(values)}")
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            raise MetricError(f"expected {NAME_EXPECTATION}, got {name[:40]!a}")
        if not abs(value) <= LARGEST_METRIC:
            raise MetricError(f"{name}: expected {NUMBER_EXPECTATION}, got {value:g}")
    return dict(values)


def parsed_file(contents: bytes) -> dict[str, float]:
    """Return the metrics of a file: a name, blanks and a number a line; `#` begins a comment line.

    A file with one line that is no metric has none: it may be half written.  What it holds is not
    told: a folder above it may be a link, and the file another than the one that was meant.

    Raises:
        MetricError: Something in it is no metric.

    """
    lines = contents.split(b"\n", MOST_FILE_LINES)
    if len(lines) > MOST_FILE_LINES and lines.pop():
        raise MetricError(f"expected at most {MOST_FILE_LINES} lines")
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        try:
            _add_line(found, line)
        except MetricError as error:
            raise MetricError(f"line {number}: {error}") from error
    return found


def parsed_pairs(words: Sequence[str]) -> dict[str, float]:
    """Return the metrics that words such as ``queue_depth=42`` report.

    Raises:
        MetricError: One of them is no metric.

    """
    found: dict[str, float] = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign:
            raise MetricError(f"expected NAME=VALUE, got {word[:40]!a}")
        if name in found:
            raise MetricError(f"{name[:40]!a} is there twice")
        found[name] = parsed_number(number)
    return checked(found)


def _add_line(found: dict[str, float], line: bytes) -> None:
    """Add what a line says to what was found before it."""
    words = line[: _LONGEST_LINE + 1].decode("ascii", "replace").split()
    if not words or words[0].startswith("#"):
        return
    if len(words) != 2 or len(line) > _LONGEST_LINE:  # noqa: PLR2004 - a name and a number
        raise MetricError("expected a name, a blank and a number")
    name, number = words
    if not _NAME.fullmatch(name):
        raise MetricError(f"expected {NAME_EXPECTATION}")
    if name in found:
        raise MetricError("the same name is there twice")
    if not _NUMBER.fullmatch(number) or not abs(float(number)) <= LARGEST_METRIC:
        raise MetricError(f"expected {NUMBER_EXPECTATION}")
    found[name] = float(number)
    if len(found) > MOST_METRICS:
        raise MetricError(f"expected at most {MOST_METRICS} metrics")
