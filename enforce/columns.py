"""The columns that cross the border to the kernel: counters, limits, changes, outcomes.  Pure.

Position in every column is the tenant's position in the names given to the sampler.  NaN means
unknowable (absent cgroup, vanished file, missing controller); inf is the kernel's "max".
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum, StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


DEFAULT_WEIGHT = 100.0  # cpu.weight that every cgroup starts with


class Control(StrEnum):
    """A cgroup v2 control file that tidegate writes."""

    CPU_MAX = "cpu.max"
    CPU_WEIGHT = "cpu.weight"
    MEMORY_HIGH = "memory.high"
    MEMORY_LOW = "memory.low"
    MEMORY_MAX = "memory.max"


@dataclass(frozen=True, slots=True)
class ClassControl:
    """A number of the tenants' HTB classes on one uplink, bytes per second; inf is all of it.

    `rate` is what a class has at any time, `ceil` what it may have at most.
    """

    uplink: str
    direction: Literal["out", "in"]
    number: Literal["rate", "ceil"]

    @property
    def value(self) -> str:
        """Return its name, as of a control file."""
        return f"{self.uplink} {self.direction} {self.number}"

    def __str__(self) -> str:
        return self.value


IoNumber = Literal["rbps", "wbps", "riops", "wiops"]


@dataclass(frozen=True, slots=True)
class DiskControl:
    """A number of the tenants' io.max for one disk: bytes or operations per second; inf is none."""

    disk: str
    number: IoNumber

    @property
    def value(self) -> str:
        """Return its name, as of a control file."""
        return f"io.max {self.disk} {self.number}"

    def __str__(self) -> str:
        return self.value


UnitControl = Control | DiskControl  # what systemd is asked to set of its units


@dataclass(frozen=True, slots=True)
class DiskWeight:
    """The tenants' weight on one disk, 1 to 10,000, where the kernel divides it by weight."""

    disk: str

    @property
    def value(self) -> str:
        """Return its name, as of a control file."""
        return f"io.weight {self.disk}"

    def __str__(self) -> str:
        return self.value


AnyControl = Control | ClassControl | DiskControl | DiskWeight


def control_named(name: str) -> AnyControl:
    """Return the control whose text is `name`.

    Raises:
        ValueError: There is none.

    """
    match name.split(" "):
        case ["io.max", disk, ("rbps" | "wbps" | "riops" | "wiops") as number]:
            return DiskControl(disk, number)
        case ["io.weight", disk]:
            return DiskWeight(disk)
        case [uplink, ("out" | "in") as direction, ("rate" | "ceil") as number]:
            return ClassControl(uplink, direction, number)
    return Control(name)


@dataclass(frozen=True, slots=True)
class Limits:
    """Values of the control files of all tenants: cores, weight 1..10000, bytes, bytes, bytes."""

    cpu_max_cores: Floats
    cpu_weight: Floats
    memory_high_bytes: Floats
    memory_low_bytes: Floats
    memory_max_bytes: Floats

    def of(self, control: Control) -> Floats:
        """Return the column that belongs to `control`."""
        column: Floats = getattr(self, _COLUMN[control])
        return column

    def with_control(self, control: Control, column: Floats) -> "Limits":
        """Return the same limits but for the column of `control`."""
        return replace(self, **{_COLUMN[control]: column})


_COLUMN = {
    Control.CPU_MAX: "cpu_max_cores",
    Control.CPU_WEIGHT: "cpu_weight",
    Control.MEMORY_HIGH: "memory_high_bytes",
    Control.MEMORY_LOW: "memory_low_bytes",
    Control.MEMORY_MAX: "memory_max_bytes",
}


def _nothing() -> Floats:
    return np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class DiskColumns:
    """What of each disk that is told apart, shape (disks, tenants), in the order of `names`.

    Of a sample's limits these are the numbers of io.max, per second.
    """

    names: tuple[str, ...] = ()  # as configured
    read_bytes: Floats = field(default_factory=_nothing)
    write_bytes: Floats = field(default_factory=_nothing)
    read_ops: Floats = field(default_factory=_nothing)
    write_ops: Floats = field(default_factory=_nothing)
    # Of a sample's counters: disks that are others than in the last one, or divided by weight in
    # another way.  What is in force on them the kernel has put there.
    anew: frozenset[str] = field(default=frozenset(), kw_only=True)

    def mapped(self, change: Callable[[Floats], Floats]) -> "DiskColumns":
        """Return what `change` makes of each quantity."""
        quantities = (self.read_bytes, self.write_bytes, self.read_ops, self.write_ops)
        return DiskColumns(self.names, *map(change, quantities))

    def of(self, quantity: str, disk: str, tenants: int) -> Floats:
        """Return one quantity of one disk, shape (tenants,); NaN where nothing is known of it."""
        if disk not in self.names:
            return np.full(tenants, np.nan)
        column: Floats = getattr(self, quantity)[self.names.index(disk)]
        return column


# What each number of io.max limits.
LIMITED_BY: dict[IoNumber, str] = {
    "rbps": "read_bytes",
    "wbps": "write_bytes",
    "riops": "read_ops",
    "wiops": "write_ops",
}


@dataclass(frozen=True, slots=True)
class Restored:
    """A part of what divides uplinks that somebody else took or changed, and that is back.

    It holds the tenant at this position, or all of them where that is -1.
    """

    what: str
    how: Literal["removed", "changed", "added"]
    tenant: int = -1
    where: str = ""  # an uplink, and a direction where it is of one


@dataclass(frozen=True, slots=True)
class NetColumns:
    """What of each uplink is divided, shape (uplinks, tenants), in the order of `names`.

    Bytes are counted on the wire, Ethernet headers included.  Those `out` have left, or where no
    class counts them have been offered to the uplink; those `in` have passed a class to their
    socket, or where there is none have been received by one.  Drops and
    backlog are of the tenants' classes; `rate` and `ceil` are in force, inf is all of the uplink.
    """

    names: tuple[str, ...] = ()
    out_bytes: Floats = field(default_factory=_nothing)
    in_bytes: Floats = field(default_factory=_nothing)
    out_offered_bytes: Floats = field(default_factory=_nothing)
    out_dropped_packets: Floats = field(default_factory=_nothing)
    in_dropped_packets: Floats = field(default_factory=_nothing)
    out_backlog_bytes: Floats = field(default_factory=_nothing)
    in_backlog_bytes: Floats = field(default_factory=_nothing)
    out_rate: Floats = field(default_factory=_nothing)
    out_ceil: Floats = field(default_factory=_nothing)
    in_rate: Floats = field(default_factory=_nothing)
    in_ceil: Floats = field(default_factory=_nothing)
    read_at_s: float = float("nan")  # CLOCK_MONOTONIC; NaN is as all of its sample
    problems: tuple[str, ...] = ()  # why an uplink is not limited or counted
    restored: tuple[Restored, ...] = ()  # in this very read

    @classmethod
    def unknown(cls, names: tuple[str, ...], tenants: int) -> "NetColumns":
        """Return columns of which nothing is known."""
        nothing: dict[str, Any] = {
            name: np.full((len(names), tenants), np.nan) for name in NET_QUANTITIES
        }
        return cls(names, **nothing)

    def mapped(self, change: Callable[[Floats], Floats]) -> "NetColumns":
        """Return what `change` makes of each quantity."""
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in NET_QUANTITIES}
        return replace(self, **changed)

    def of(self, quantity: str, uplink: str, tenants: int) -> Floats:
        """Return one quantity of one uplink, shape (tenants,); NaN where nothing is known of it."""
        if uplink not in self.names:
            return np.full(tenants, np.nan)
        column: Floats = getattr(self, quantity)[self.names.index(uplink)]
        return column


_NO_QUANTITIES = ("names", "read_at_s", "problems", "restored")
NET_QUANTITIES = tuple(f.name for f in fields(NetColumns) if f.name not in _NO_QUANTITIES)


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the host itself does; NaN is unknown.

    Shares of the last ten seconds in which some task waited for a CPU, or in which all that could
    have run waited for memory or for a disk (kernel: Documentation/accounting/psi.rst).
    """

    memory_total_bytes: float = float("nan")
    memory_available_bytes: float = float("nan")
    cpu_some_pct: float = float("nan")
    memory_full_pct: float = float("nan")
    io_full_pct: float = float("nan")
    # Counters, summed over CPUs: the time that passed, and that of it in which nothing ran.
    cpu_passed_s: float = float("nan")
    cpu_idle_s: float = float("nan")


@dataclass(frozen=True, slots=True)
class HostSample:
    """Counters of all tenants and the limits in force, read at one instant.

    `taken_at_s` is CLOCK_MONOTONIC.  What is of the network may have been read earlier: see
    `NetColumns.read_at_s`.  `cgroup_id` is the directory's inode, 0 where there is none:
    another inode is another cgroup, whose counters share nothing with the last one's.
    `memory_unreclaimable_bytes` follows at a slower pace (safety rule 4 reads it anew on write), as
    does `populated`: 1 where there is a process, 0 where there is none.
    `memory_stalled_us` is how long all tasks of a tenant stood still for memory, `io_stalled_us`
    how long some waited for a disk, `_at_us` when that was read (CLOCK_MONOTONIC): of who is close
    to a limit, where the kernel has pressure stall information.  So are `cpu_waited_us`, how long
    some task waited for a CPU, and `cpu_stalled_us`, how long on the average of its CPUs all did
    that could have run: of who uses CPU while the host is short of it.
    The `io_` columns of bytes and operations are sums over all devices, the `net_` columns over
    the uplinks that are divided; nothing counts requests yet.
    """

    taken_at_s: float
    cgroup_id: Ints
    cpu_usage_us: Floats
    cpu_periods: Floats
    cpu_throttled_periods: Floats
    cpu_throttled_us: Floats
    memory_current_bytes: Floats
    memory_high_events: Floats
    memory_oom_kills: Floats
    memory_unreclaimable_bytes: Floats
    populated: Floats
    cpu_waited_us: Floats
    cpu_stalled_us: Floats
    cpu_stalled_at_us: Floats
    memory_stalled_us: Floats
    memory_stalled_at_us: Floats
    io_stalled_us: Floats
    io_stalled_at_us: Floats
    io_read_bytes: Floats
    io_write_bytes: Floats
    io_read_ops: Floats
    io_write_ops: Floats
    net_out_bytes: Floats
    net_in_bytes: Floats
    requests: Floats
    in_force: Limits
    disks: DiskColumns = field(default_factory=DiskColumns)
    vitals: Vitals = Vitals()
    network: NetColumns = field(default_factory=NetColumns)
    anew: frozenset[int] = frozenset()  # positions whose files were opened anew: see Sampler
    disk_limits: DiskColumns = field(default_factory=DiskColumns)  # in force
    # (disks, tenants), in the order of `disks`; NaN where nothing divides a disk by weight
    disk_weights: Floats = field(default_factory=_nothing)

    def limit(self, control: "AnyControl") -> Floats:
        """Return the limits in force of one control, shape (tenants,)."""
        if isinstance(control, Control):
            return self.in_force.of(control)
        if isinstance(control, DiskControl):
            quantity, tenants = LIMITED_BY[control.number], len(self.cgroup_id)
            return self.disk_limits.of(quantity, control.disk, tenants)
        if isinstance(control, DiskWeight):
            names = self.disks.names if len(self.disk_weights) else ()
            known = control.disk in names
            nothing = np.full(len(self.cgroup_id), np.nan)
            return self.disk_weights[names.index(control.disk)] if known else nothing
        quantity = f"{control.direction}_{control.number}"
        return self.network.of(quantity, control.uplink, len(self.cgroup_id))


_NOT_COUNTERS = (
    "taken_at_s",
    "cgroup_id",
    "in_force",
    "disks",
    "vitals",
    "network",
    "anew",
    "disk_limits",
    "disk_weights",
)
# The counters of a sample that are plain columns, shape (tenants,).
COUNTERS = tuple(one.name for one in fields(HostSample) if one.name not in _NOT_COUNTERS)


@dataclass(frozen=True, slots=True)
class Changes:
    """Values to write to one control, in writing order; `tenant` holds positions."""

    control: AnyControl
    tenant: Ints
    before: Floats
    after: Floats

    def __len__(self) -> int:
        return len(self.tenant)


class Result(IntEnum):
    """How one write went."""

    APPLIED = 0  # the kernel holds the wanted value, up to its own rounding
    HELD_BACK = 1  # safety rule 4 put another value in its place
    GONE = 2  # the cgroup vanished
    REFUSED = 3  # the kernel said no, or kept something else
    PENDING = 4  # under way beside the tick, `kept` is in force until then; samples will show it


# Why a change is held back where the next sample will show another value than the last one.
WRITTEN_BY_OTHERS = "somebody else wrote it a moment ago: the next tick will see"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of `Changes`: `kept` is the value read back (NaN where there is none)."""

    control: AnyControl
    tenant: Ints
    wanted: Floats
    kept: Floats
    result: NDArray[np.uint8]
    why: dict[int, str] = field(default_factory=dict)  # position -> reason, where not applied

    @classmethod
    def refused(cls, changes: Changes, why: str) -> "Outcomes":
        """Return the outcomes of `changes` of which not one can be written."""
        tenant, count = changes.tenant, len(changes)
        results = np.full(count, Result.REFUSED, dtype=np.uint8)
        reasons = dict.fromkeys(tenant.tolist(), why)
        kept = np.full(count, np.nan)
        return cls(changes.control, tenant, changes.after, kept, results, reasons)
