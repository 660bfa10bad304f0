"""Usage corrected for throttling: what tenants would have used without their limits.  Pure.

A tenant held at its limit shows the limit, not its demand; a forecaster fed with that learns to
starve it for ever.  Here usage becomes demand wherever the kernel says that it was held.
"""

from dataclasses import dataclass

import numpy as np

from agent.tenant import Bools, Floats, Kind
from agent.usage import Usage

# Where only the fact of being held is known, not by how much, the estimate probes upwards.
_PROBE = 1.25
_MEMORY_PROBE = 1.1
_AT_LIMIT = 0.95
# A burst may wait for a moment far below the limit.
_QUEUED_AT = 0.5
# A disk's limit is kept over slices of a tenth of a second, and requests pass it whole: of what it
# allows in an interval that much may be missing though it was reached all along.
_SLICE_S, _REQUEST_BYTES, _REQUEST_OPS = 0.1, float(512 << 10), 1.0
# Who waited for a disk for a smaller part of the time was not held at its limit.
_HARDLY, _MOST_STALLED = 0.1, 0.75
_OPERATIONS = (Kind.DISK_READ_OPS, Kind.DISK_WRITE_OPS)
_STALLED = 0.2  # of the time, for memory: reclaim does not keep up
# A busy host hides demand without any throttling: runnable threads wait for their turn.
_SATURATED = 0.97
# Who waited for a CPU for a smaller part of the time was not held up.  Who keeps pace beside busy
# neighbours waits for up to a fifth of it all the same (measured: 0.07 to 0.17): that is latency.
_HARDLY_FOR_CPU, _HELD_UP = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand of one resource, shape (tenants,); censored where usage is only a lower bound."""

    value: Floats
    is_censored: Bools


def cpu_demand(usage: Usage, *, ceiling: Floats, fair: Floats, capacity: float) -> Demand:
    """Estimate cores demanded: (usage + throttled) / elapsed, at most the ceiling.

    `throttled_usec` sums over CPUs (kernel: Documentation/admin-guide/cgroup-v2.rst, cpu.stat),
    so two spinners held on two CPUs show two cores.  On a saturated host a tenant that uses its
    weighted share `fair` or more may be waiting too: the estimate then probes upwards.

    Where the kernel tells how long it waited (pressure stall information), who hardly did was not
    held.  Who did for a while, on a host without an idle CPU, waited behind others, whoever these
    are.  Where nothing of its own ran meanwhile, for a part s of a CPU's time, it would have used
    1 / (1 - s) times as much, up to four times.  Elsewhere the estimate probes: what waits on a CPU
    behind the tenant's own tasks, while others have the other CPUs, is not told apart.
    """
    used, in_wait = usage.cpu_cores, usage.cpu_waited_fraction
    with np.errstate(invalid="ignore"):
        is_throttled = usage.cpu_throttled_cores > 0
        saturated = np.nansum(used) >= _SATURATED * capacity
        is_waiting = saturated & (used >= _AT_LIMIT * fair) & ~(in_wait < _HARDLY_FOR_CPU)
        is_full = usage.host_idle_fraction <= 1.0 - _SATURATED
        is_waiting |= is_full & (in_wait >= _HELD_UP) & (used < _AT_LIMIT * ceiling)
    is_waiting &= ~is_throttled
    stalled = np.minimum(np.nan_to_num(usage.cpu_stalled_fraction), _MOST_STALLED)
    factor = np.where(stalled >= _HELD_UP, 1.0 / (1.0 - stalled), _PROBE)
    held = np.where(is_throttled, usage.cpu_throttled_cores, used * (factor - 1.0))
    wanted = used + np.where(is_throttled | is_waiting, held, 0.0)
    return Demand(np.minimum(wanted, np.maximum(ceiling, used)), is_throttled | is_waiting)


def rate_demand(
    used: Floats,
    *,
    limit: Floats,
    ceiling: Floats,
    fair: Floats,
    capacity: float,
    is_queued: Bools | bool = False,
) -> Demand:
    """Estimate what was demanded of a disk, the network or of requests, per second.

    Only the fact of being held is known: usage stands at the limit, or near it while packets wait
    (`is_queued`), or a device that gives all that it has gives a tenant its weighted share `fair`
    or more.  The estimate then probes upwards.
    """
    with np.errstate(invalid="ignore"):
        is_held = (used > 0) & (used >= np.where(is_queued, _QUEUED_AT, _AT_LIMIT) * limit)
        saturated = np.nansum(used) >= _SATURATED * capacity
        is_waiting = saturated & (used > 0) & (used >= _AT_LIMIT * fair)
    is_censored = is_held | is_waiting
    wanted = np.where(is_censored, used * _PROBE, used)
    return Demand(np.minimum(wanted, np.maximum(ceiling, used)), is_censored)


def reached(kind: Kind, limit: Floats, *, elapsed_s: float) -> Floats:
    """Return what is seen at least of a limit that was reached all along: of a disk's, less."""
    if kind.group != "disk" or elapsed_s <= 0:
        return limit
    request = _REQUEST_OPS if kind in _OPERATIONS else _REQUEST_BYTES
    seen = limit * (1.0 - min(_SLICE_S / elapsed_s, 1.0)) - request / elapsed_s
    return np.where(np.isfinite(limit), np.maximum(seen, 0.0), limit)


def waited(
    demand: Demand, used: Floats, stalled_fraction: Floats, *, limit: Floats, ceiling: Floats
) -> Demand:
    """Correct the demand of a disk by how long the tenant waited, where that is known.

    Who hardly waited was not held.  Who waited a part s of the time while it was would do
    1 / (1 - s) times as much without: the estimate goes up to four times what was done.  Who did
    nothing but wait at a small limit waits for a request that takes longer than the interval.
    """
    with np.errstate(invalid="ignore"):
        is_stuck = (used == 0) & (stalled_fraction >= _MOST_STALLED) & np.isfinite(limit)
        is_held = is_stuck | (demand.is_censored & ~(stalled_fraction < _HARDLY))
    worked = 1.0 - np.minimum(np.fmax(stalled_fraction, 0.0), _MOST_STALLED)
    wanted = np.where(is_held, np.maximum(demand.value, used / worked), used)
    wanted = np.where(is_stuck, np.minimum(_PROBE * limit, 4 * _REQUEST_BYTES), wanted)
    return Demand(np.minimum(wanted, np.maximum(ceiling, used)), is_held)


def memory_demand(usage: Usage, *, ceiling: Floats, high: Floats) -> Demand:
    """Estimate bytes demanded: what is held, and more where memory.high held it back.

    It did where the kernel counted so, or all of a tenant's tasks stood still for memory.
    """
    with np.errstate(invalid="ignore"):
        is_slowed = (usage.memory_high_events > 0) | (usage.memory_stalled_fraction > _STALLED)
        is_censored = is_slowed & (usage.memory_bytes >= _AT_LIMIT * high)
    wanted = np.where(is_censored, usage.memory_bytes * _MEMORY_PROBE, usage.memory_bytes)
    return Demand(np.minimum(wanted, np.maximum(ceiling, usage.memory_bytes)), is_censored)
