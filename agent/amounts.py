"""Amounts of each kind of resource, and values of controls, as people read them.  Pure."""

import math

from agent.tenant import Kind
from agent.units import approximate_bytes, at_least_one_digit, three_digits
from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight

_BYTES_PER_S = (Kind.DISK_READ, Kind.DISK_WRITE, Kind.NET_OUT, Kind.NET_IN)
_UNIT = {
    Kind.CPU: "cores",
    Kind.MEMORY: "bytes",
    **dict.fromkeys(_BYTES_PER_S, "bytes/s"),
    Kind.DISK_READ_OPS: "operations/s",
    Kind.DISK_WRITE_OPS: "operations/s",
    Kind.REQUESTS: "requests/s",
}


def unit_of(kind: Kind) -> str:
    """Return the unit in which amounts of a kind are kept."""
    return _UNIT[kind]


def amount_text(kind: Kind, amount: float) -> str:
    """Return an amount with its unit: "0.50 cores", "512M", "20.0M/s", "100 operations/s"."""
    if not math.isfinite(amount):
        return "unknown"
    bare = bare_text(kind, amount)
    return bare if kind is Kind.MEMORY or kind in _BYTES_PER_S else f"{bare} {_UNIT[kind]}"


def bare_text(kind: Kind, amount: float) -> str:
    """Return a finite amount for a table whose head says what it is."""
    if kind in _BYTES_PER_S:
        return f"{approximate_bytes(amount)}/s"
    return approximate_bytes(amount) if kind is Kind.MEMORY else three_digits(amount)


def tokens_text(kind: Kind, amount: float) -> str:
    """Return a number (>= 0) of tokens of a kind that is spent; `token_of` says what one is."""
    return approximate_bytes(amount) if kind in _BYTES_PER_S else at_least_one_digit(amount)


def token_of(kind: Kind) -> str:
    """Return what tokens of a kind that is spent are: one is a unit of it."""
    return "core-seconds" if kind is Kind.CPU else _UNIT[kind].removesuffix("/s")


def control_text(control: AnyControl, value: float) -> str:
    """Return what a control is set to: "0.50 cores", "512M", "20.0M/s", "100", "no limit"."""
    if not math.isfinite(value):
        return "no limit"
    if control is Control.CPU_WEIGHT or isinstance(control, DiskWeight):
        return f"{value:.0f}"
    if control is Control.CPU_MAX:
        return f"{three_digits(value)} cores"
    if isinstance(control, DiskControl) and control.number in ("riops", "wiops"):
        return f"{value:.0f} operations/s"
    is_rate = isinstance(control, ClassControl | DiskControl)
    return approximate_bytes(value) + ("/s" if is_rate else "")
