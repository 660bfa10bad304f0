"""Writes one value of one open cgroup as its control wants it: some at once, some beside the tick.

What the tenant cannot give back it keeps (safety rule 4); limits of a unit systemd is asked to set.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enforce.bus import Bus
from enforce.cgroup import PAGE_BYTES, CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import Control, DiskControl, DiskWeight, Result, UnitControl
from enforce.disks import BFQ_FINENESS, BFQ_WEIGHT
from enforce.floor import memory_floor_bytes
from enforce.limits import PERIOD_US, text
from enforce.lowering import Lowering
from enforce.places import unit_of
from enforce.quota import BURST, Quotas
from enforce.unit_values import held_by_systemd, in_force, is_held
from enforce.units import UnitWriter

Written = Control | DiskControl | DiskWeight  # what is a control file, or a line of one

_MIB = 1 << 20
_MAX_DEAD_BAND = 0.25  # of the margin: a memory.max that waits moves by more than that


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one write went, and the value in force after it."""

    result: Result
    kept: float = math.nan
    why: str = ""


def failure(error: Exception) -> Outcome:
    """Return what becomes of a write that met `error`."""
    is_gone = isinstance(error, CgroupGoneError)
    return Outcome(Result.GONE if is_gone else Result.REFUSED, why=str(error))


class ValueWriter:
    """Writes values, with a thread that lowers memory.high and one that talks to systemd.

    `record_burst` puts the cpu.max.burst of a cgroup on disk before it is lowered.
    """

    def __init__(
        self, *, memory_margin_bytes: float, record_burst: Callable[[TenantCgroup], None]
    ) -> None:
        self._margin_bytes, self._quotas = memory_margin_bytes, Quotas(record_burst)
        self._bus = Bus()
        self.units = UnitWriter(self._bus)
        self._lowering = Lowering(margin_bytes=memory_margin_bytes, write=self._put_memory_high)

    def close(self) -> None:
        """Stop what goes on beside the ticks; limits stay as they are."""
        self._lowering.close()
        self.units.close()
        self._bus.close()

    def written_beside(self) -> dict[UnitControl, dict[Path, set[float]]]:
        """Return what was written beside the ticks since this was last asked, by path."""
        written = self.units.written()
        high = written.setdefault(Control.MEMORY_HIGH, {})
        for path, values in self._lowering.written().items():
            high.setdefault(path, set()).update(values)
        return written

    def write(self, cgroup: TenantCgroup, control: Written, file: str, value: float) -> Outcome:
        """Write a value, `file` of a disk being its line, and say what became of it."""
        try:
            if control in (Control.MEMORY_HIGH, Control.MEMORY_MAX):
                is_high = control is Control.MEMORY_HIGH
                return (self._memory_high if is_high else self._memory_max)(cgroup, value)
            if unit_of(cgroup.path_text) and isinstance(control, UnitControl):
                return self._asked(cgroup, control, value)
            if not isinstance(control, Control):
                kept = _written_of_disk(cgroup, control, file, value)
            elif control is Control.CPU_MAX:
                kept = self._quotas.put(cgroup, value)
            else:
                kept = cgroup.set_limit(control, value)
            return Outcome(Result.APPLIED, kept)
        except (CgroupGoneError, LimitRejectedError, ValueError) as error:
            return failure(error)

    def _memory_high(self, cgroup: TenantCgroup, wanted: float) -> Outcome:
        """Write memory.high, but never below what the tenant cannot give back (safety rule 4)."""
        floor = 0.0
        if math.isfinite(wanted):
            floor = memory_floor_bytes(cgroup, margin_bytes=self._margin_bytes)
        value, usage = max(wanted, floor), cgroup.memory_current
        if value < usage:
            return self._set_later(cgroup, value, usage)
        kept = self._set_high(cgroup, value)
        if value <= wanted:
            return Outcome(Result.APPLIED, kept)
        stuck, margin = (floor - self._margin_bytes) / _MIB, self._margin_bytes / _MIB
        why = f"{stuck:.1f} MiB cannot be reclaimed, and {margin:.1f} MiB is the margin"
        return Outcome(Result.HELD_BACK, kept, why)

    def _memory_max(self, cgroup: TenantCgroup, wanted: float) -> Outcome:
        """Write memory.max, but never lower it to less than is in use: the kernel would kill.

        It follows what is in use down, outside a dead-band.  What came between the look and the
        write is seen after it, and undone.
        """
        in_force, usage = cgroup.memory_max, cgroup.memory_current
        kept, value = in_force, max(wanted, min(in_force, usage + self._margin_bytes))
        if value == wanted or in_force - value > _MAX_DEAD_BAND * self._margin_bytes:
            kept = cgroup.set_limit(Control.MEMORY_MAX, value)
        if kept < in_force and cgroup.memory_current > kept - self._margin_bytes / 2:
            kept = cgroup.set_limit(Control.MEMORY_MAX, in_force)
        if kept <= wanted:
            return Outcome(Result.APPLIED, kept)
        why = f"{usage / _MIB:.1f} MiB in use: it comes down with that"
        return Outcome(Result.HELD_BACK, kept, why)

    def _set_high(self, cgroup: TenantCgroup, value: float) -> float:
        """Write a memory.high of at least what is in use; return what the kernel keeps."""
        if self._lowering.has_offers:
            self._lowering.withdraw(cgroup.path, value)
        return self._put_memory_high(cgroup, value)

    def _set_later(self, cgroup: TenantCgroup, value: float, usage: float) -> Outcome:
        """Have a value below `usage` set beside the tick: reclaim may take long.

        A raise eases the tenant: it waits neither for a rest nor for another's reclaim, but goes to
        what is in use at once, and comes down from there.
        """
        in_force = cgroup.memory_high
        is_raise = value >= in_force + PAGE_BYTES
        if is_raise:
            in_force = self._set_high(cgroup, usage)
        elif self._lowering.is_resting(cgroup.path):
            why = f"{usage / _MIB:.1f} MiB in use, which reclaim could not lower just now"
            return Outcome(Result.HELD_BACK, in_force, why)
        self._lowering.offer(cgroup.path, cgroup.cgroup_id, value, found_bytes=in_force)
        how = "raised to that, and from there " if is_raise else ""
        why = f"{usage / _MIB:.1f} MiB in use: {how}lowered in steps, beside the tick"
        return Outcome(Result.PENDING, in_force, why)

    def open_up(self, cgroup: TenantCgroup, control: UnitControl) -> None:
        """Have systemd give a unit the file of a limit: it hands controllers down where needed.

        Raises:
            LimitRejectedError: As of any value that is asked for.

        """
        self.units.offer(cgroup, control, math.inf, found=None)

    def _asked(self, cgroup: TenantCgroup, control: UnitControl, value: float) -> Outcome:
        """Have systemd set a unit's value, beside the tick; what it holds already costs no call."""
        value, now = held_by_systemd(control, value), in_force(cgroup, control)
        if is_held(control, value, now):
            self.units.withdraw(cgroup.path, control)
            return Outcome(Result.APPLIED, now)
        if control is Control.CPU_MAX and cgroup.has(BURST):
            burst_us = cgroup.cpu_max_burst_us
            if burst_us > value * PERIOD_US:
                why = f"{BURST} of {burst_us} us is above it, and systemd sets none: set it to 0"
                return Outcome(Result.REFUSED, now, why)
        self.units.offer(cgroup, control, value, found=now)
        why = f"systemd is asked to set it for {cgroup.path.name}"
        return Outcome(Result.PENDING, now, why)

    def _put_memory_high(self, cgroup: TenantCgroup, value: float) -> float:
        """Write memory.high, maybe in a worker's thread; of a unit systemd is told, by another."""
        is_units = unit_of(cgroup.path_text) is not None
        if is_units:
            self.units.will_tell(cgroup)
        kept = cgroup.set_limit(Control.MEMORY_HIGH, value)
        if is_units:
            self.units.tell(cgroup, Control.MEMORY_HIGH, kept)
        return kept


def _written_of_disk(
    cgroup: TenantCgroup, control: DiskControl | DiskWeight, file: str, value: float
) -> float:
    """Write a number of io.max or a disk's weight, of which bfq knows fewer; return what is kept.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: It has no such control, or the kernel refused the value.

    """
    if isinstance(control, DiskControl):
        return cgroup.set_disk_limit(control, file, value)
    scale = BFQ_FINENESS if file.startswith(f"{BFQ_WEIGHT} ") else 1
    weight = max(round(float(text(control, value)) / scale), 1)
    cgroup.restore(file, str(weight))
    return float(weight * scale)
