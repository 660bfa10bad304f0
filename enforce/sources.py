"""Which control files a sampler reads, at which pace, and the columns that they fill.  Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from enforce.columns import COUNTERS, Floats, Ints, Limits
from enforce.counters import Disk, io_counters, io_limits, numbers, quotas, table

Parse = Callable[[Sequence[bytes]], Floats]

LIMITS = tuple(field.name for field in fields(Limits))
COLUMN = {name: place for place, name in enumerate((*COUNTERS, *LIMITS))}
DISK_COLUMNS = 4  # of each disk, behind the columns that have a name


@dataclass(frozen=True, slots=True)
class Source:
    """A control file and the columns that it fills: those named, and `unnamed` ones of disks.

    The latter begin `behind` so many columns of disks.
    """

    file: str
    size_bytes: int
    parse: Parse
    columns: tuple[str, ...]
    unnamed: int = 0
    behind: int = 0

    @property
    def places(self) -> Ints:
        """Rows of the table of columns, shape (columns, 1), to be paired with positions."""
        named, first = [COLUMN[name] for name in self.columns], len(COLUMN) + self.behind
        return np.array([*named, *range(first, first + self.unnamed)])[:, None]


EVERY_TICK = (
    Source(
        "cpu.stat",
        1024,
        partial(table, keys=(b"usage_usec", b"nr_periods", b"nr_throttled", b"throttled_usec")),
        ("cpu_usage_us", "cpu_periods", "cpu_throttled_periods", "cpu_throttled_us"),
    ),
    Source("memory.current", 64, numbers, ("memory_current_bytes",)),
    Source("cpu.max", 64, quotas, ("cpu_max_cores",)),
    Source("memory.high", 64, numbers, ("memory_high_bytes",)),
)
_IO_COLUMNS = ("io_read_bytes", "io_write_bytes", "io_read_ops", "io_write_ops")
# `high` of the tenant's own limit only: a limit that the tenant set further down is not ours.
# Its processes may be further down too, so kills are counted there as well.
ON_SIGNAL = (
    Source("memory.events.local", 512, partial(table, keys=(b"high",)), ("memory_high_events",)),
    Source("memory.events", 512, partial(table, keys=(b"oom_kill",)), ("memory_oom_kills",)),
)
IN_TURN = (
    Source("cpu.weight", 64, numbers, ("cpu_weight",)),
    Source("memory.low", 64, numbers, ("memory_low_bytes",)),
    Source("memory.max", 64, numbers, ("memory_max_bytes",)),
)
# What of it, once written, is read in the next tick: cpu.weight has a second name.
ONCE_WRITTEN = (
    "cpu.weight",
    "cpu.weight.nice",
    "memory.low",
    "memory.max",
    "io.weight",
    "io.bfq.weight",
)
WATCHED = (*ONCE_WRITTEN, "cpu.max", "memory.high", "io.max")


def disk_sources(disks: Sequence[Disk | None]) -> list[Source]:
    """Return what is read of disks: limits only where there are disks to be told apart."""
    counted, each = partial(io_counters, disks=disks), DISK_COLUMNS * len(disks)
    sources = [Source("io.stat", 4096, counted, _IO_COLUMNS, each)]
    if disks:
        limited = partial(io_limits, disks=disks)
        sources.append(Source("io.max", 1024, limited, (), each, behind=each))
    return sources
