"""Kernel limits as text and as numbers in base units: cores, weights, bytes; inf is "max".  Pure.

Nothing here opens a file or knows a tenant.
"""

import math

import numpy as np

from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight, Floats

PERIOD_US = 100_000
MIN_QUOTA_US = 1_000  # the kernel refuses less
# Of a class: less would be as good as nothing, and ten thousand of these are 10 Mbit/s.
MIN_RATE_BYTES_PER_S = 125.0
# Of a disk: what waits for its turn is not counted, so that a tenant held to less than one large
# request every few seconds would look idle (the kernel makes them of up to 1 MiB).
MIN_DISK_BYTES_PER_S, MIN_DISK_OPS_PER_S = float(256 << 10), 16.0
_MOST_OPS_PER_S = 2**32 - 1  # what the kernel keeps as "max"
MIN_WEIGHT, MAX_WEIGHT = 1, 10_000
# The kernel counts pages in a signed long: from here on it answers "max".
_UNLIMITED_BYTES = 2**63 - 2**12


def text(control: AnyControl, value: float) -> str:
    """Return what to write to `control` for `value`, moved into the range that the kernel takes.

    Raises:
        ValueError: `value` is not a number, or negative.

    """
    if math.isnan(value) or value < 0:
        raise ValueError(f"{control}: expected a value of at least 0, got {value}")
    if isinstance(control, DiskControl):
        least, most = disk_range(control)
        return "max" if value >= most else str(int(max(value, least)))
    if isinstance(control, ClassControl):
        return "max" if math.isinf(value) else str(int(rounded(control, np.array([value]))[0]))
    if control is Control.CPU_MAX:
        return f"{_quota(value)} {PERIOD_US}"
    if isinstance(control, DiskWeight) or control is Control.CPU_WEIGHT:
        return str(round(min(max(value, MIN_WEIGHT), MAX_WEIGHT)))
    return "max" if value >= _UNLIMITED_BYTES else str(int(value))


def rounded(control: AnyControl, values: Floats) -> Floats:
    """Return what the kernel is told of each of `values` (at least 0): `text`, as a number."""
    if isinstance(control, ClassControl):
        return np.asarray(np.floor(np.maximum(values, MIN_RATE_BYTES_PER_S)), dtype=np.float64)
    if isinstance(control, DiskControl):
        least, most = disk_range(control)
        return np.where(values >= most, np.inf, np.floor(np.maximum(values, least)))
    if control is Control.CPU_MAX:
        quota_us = np.maximum(np.round(values * PERIOD_US), MIN_QUOTA_US)
        return np.asarray(quota_us / PERIOD_US, dtype=np.float64)
    if isinstance(control, DiskWeight) or control is Control.CPU_WEIGHT:
        return np.asarray(np.round(np.clip(values, MIN_WEIGHT, MAX_WEIGHT)), dtype=np.float64)
    return np.where(values >= _UNLIMITED_BYTES, np.inf, np.floor(values))


def disk_range(control: DiskControl) -> tuple[float, float]:
    """Return the least that is written to a number of io.max, and from where on it is no limit."""
    if control.number in ("riops", "wiops"):
        return MIN_DISK_OPS_PER_S, float(_MOST_OPS_PER_S)
    return MIN_DISK_BYTES_PER_S, float(_UNLIMITED_BYTES)


def parse(control: Control | DiskControl, kept: str) -> float:
    """Return the value of what was read from `control`.

    Raises:
        ValueError: `kept` is not in the kernel's format.

    """
    if control is Control.CPU_MAX:
        quota, period_us = kept.split()
        return _number(quota) / int(period_us)
    return _number(kept.strip())


def is_kept(control: Control | DiskControl, wanted: float, kept: float, *, page_bytes: int) -> bool:
    """Say whether the kernel holds `wanted`, up to its own grain (1 us, 1, one page)."""
    held = parse(control, text(control, wanted))
    if held == kept:
        return True
    is_memory = control in (Control.MEMORY_HIGH, Control.MEMORY_LOW, Control.MEMORY_MAX)
    return is_memory and 0 <= held - kept < page_bytes


def _quota(cores: float) -> str:
    return "max" if math.isinf(cores) else str(max(MIN_QUOTA_US, round(cores * PERIOD_US)))


def _number(word: str) -> float:
    return math.inf if word == "max" else float(int(word))
