"""Units as people write them: "512M" for bytes, "5m" for seconds, numbers for the eye.  Pure.

Nothing here knows what a quantity is for.
"""

import math
import re

from agent.quoting import quoted

_BYTE_FACTORS = {"": 1, "B": 1} | {suffix: 1 << 10 * n for n, suffix in enumerate("KMGTP", start=1)}
_SECOND_FACTORS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTE_UNITS = "units: B, K, M, G, T, P, powers of 1024; KB and KiB are K"
_SECOND_UNITS = "units: ms, s, m, h, d"
_QUANTITY = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s?([A-Za-z]*)", re.ASCII)
_MAX_BYTES = 1 << 62
_LEAST_SHOWN = 0.01  # in three digits


class UnknownUnitError(ValueError):
    """A quantity's unit is none that is known; `known` names those that are."""

    def __init__(self, text: str, known: str) -> None:
        self.known = known
        super().__init__(f"{quoted(text)} has no unit that is known ({known})")


class TooLargeError(ValueError):
    """A quantity is beyond what it may be, and otherwise in order."""


def parse_bytes(text: str) -> int:
    """Return the bytes meant by `text`: a number and B, K, M, G, T or P (powers of 1024).

    "KiB" and "KB" mean the same as "K".

    Raises:
        ValueError: `text` is no quantity of bytes.

    """
    number, suffix = _split(text)
    suffix = re.sub(r"(?<=[KMGTP])I?B$", "", suffix.upper())
    if suffix not in _BYTE_FACTORS:
        raise UnknownUnitError(text, _BYTE_UNITS)
    whole, _, decimals = number.partition(".")
    factor = _BYTE_FACTORS[suffix]
    value = int(whole) * factor + int(decimals or "0") * factor // int(f"1{'0' * len(decimals)}")
    if value > _MAX_BYTES:
        raise TooLargeError(f"{quoted(text)} is too large")
    return value


def parse_seconds(text: str) -> float:
    """Return the seconds meant by `text`: a number and ms, s, m, h or d; without a unit, seconds.

    Raises:
        ValueError: `text` is no duration.

    """
    number, suffix = _split(text)
    if suffix not in _SECOND_FACTORS:
        raise UnknownUnitError(text, _SECOND_UNITS)
    if suffix == "ms":
        return float(number) / 1000.0
    return float(number) * _SECOND_FACTORS[suffix]


def seconds_text(value_s: float) -> str:
    """Return the shortest exact text that `parse_seconds` reads back as `value_s`."""
    for suffix in "dhm":
        if value_s and math.fmod(value_s, _SECOND_FACTORS[suffix]) == 0:
            return f"{value_s / _SECOND_FACTORS[suffix]:.0f}{suffix}"
    return f"{value_s:.9f}".rstrip("0").rstrip(".") + "s"


def approximate_seconds(value_s: float) -> str:
    """Return a time for a person's eye, in whole units of which there are two: "90s", "58m"."""
    for suffix in "dhm":
        if value_s >= 2 * _SECOND_FACTORS[suffix]:
            return f"{value_s / _SECOND_FACTORS[suffix]:.0f}{suffix}"
    return f"{math.ceil(value_s)}s"


def approximate_bytes(value: float) -> str:
    """Return `value` bytes for a person's eye: three digits and a unit."""
    for suffix in "PTGMK":
        if abs(value) >= 0.9995 * _BYTE_FACTORS[suffix]:
            return f"{three_digits(value / _BYTE_FACTORS[suffix])}{suffix}"
    return f"{value:.0f}B"


def three_digits(value: float) -> str:
    """Return `value` rounded to about three digits, never in exponent form."""
    for limit, decimals in ((9.995, 2), (99.95, 1)):
        if abs(value) < limit:
            return f"{value:z.{decimals}f}"
    return f"{value:.0f}"


def at_least_one_digit(value: float) -> str:
    """Return `value` (>= 0) to about three digits; only what is nothing reads as "0"."""
    if value <= 0:
        return "0"
    return three_digits(value) if value >= _LEAST_SHOWN else f"less than {_LEAST_SHOWN}"


def _split(text: str) -> tuple[str, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{quoted(text)} is not a number with a unit")
    return match[1], match[2]
