"""Carries changes out, one outcome each: no tenant's trouble stops another's.

Values arrive decided and ordered; here they meet the kernel and safety rules 1, 2, 4 and 7.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from enforce.ancestors import Ancestors
from enforce.cgroup import PAGE_BYTES, CgroupGoneError, LimitRejectedError, TenantCgroup, disk_file
from enforce.columns import (
    WRITTEN_BY_OTHERS,
    AnyControl,
    Changes,
    ClassControl,
    Control,
    DiskControl,
    Outcomes,
    Result,
    UnitControl,
)
from enforce.disks import disk_number, weight_file
from enforce.limits import is_kept
from enforce.links.reader import UplinkReader
from enforce.originals import Original, Originals, incarnation
from enforce.places import Places, unit_of
from enforce.quota import BURST
from enforce.restoring import ROOT
from enforce.systemd import UnitProtection
from enforce.value_writer import Outcome, ValueWriter, Written, failure

# Each cgroup of a batch takes a descriptor, of which a process may have few.
_BATCH = 64


_LATER = Outcome(Result.HELD_BACK, why=WRITTEN_BY_OTHERS)
_MADE_ANEW = Outcome(Result.GONE, why="the cgroup that was sampled is gone: one made since is new")
_SET_OF_UNITS = (Control.CPU_MAX, Control.CPU_WEIGHT, Control.MEMORY_HIGH, Control.MEMORY_LOW)
# It would write its own over ours whenever it sets the unit up anew.
_SYSTEMDS = Outcome(
    Result.REFUSED, why="configured but not enforceable: this file of a unit is systemd's"
)


class Applier:
    """Writes limits of the tenants `names`, who live where `places` says; positions as in `names`.

    That is below `root`, unless it is elsewhere.  Limits of a unit systemd is asked to set.

    The value that a file held before its first write is on disk before that write.  A file whose
    value cannot be recorded (full disk) is not written.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        originals: Originals,
        *,
        memory_margin_bytes: float,
        uplinks: UplinkReader | None = None,
        places: Places | None = None,
    ) -> None:
        """Take what writes `uplinks`, which is closed with this, where there are any."""
        self._uplinks = uplinks
        self._root, self._originals = root, originals
        self._places = places or Places(root, names)
        # Says whose files were written since they were sampled, by anybody.
        self.touched: Callable[[], Mapping[str, Collection[int]]] = dict
        # Returns a tenant's cgroup as it was sampled, where that is open: opening costs a third.
        self.opened: Callable[[int], TenantCgroup | None] = dict[int, TenantCgroup]().get
        # Says whether a cgroup, by its id, is the one that was sampled of a tenant.
        self.is_sampled: Callable[[int, int], bool] = lambda _tenant, _cgroup_id: True
        self._own: set[tuple[str, int]] = set()  # files written here in this tick
        # Files that wait for the next tick, as somebody else wrote them, and that waited for this.
        self._waiting: set[tuple[str, int]] = set()
        self._waited: set[tuple[str, int]] = set()
        self._values = ValueWriter(
            memory_margin_bytes=memory_margin_bytes, record_burst=self._record_burst
        )
        self._units = UnitProtection(root, self._values.units)
        self._ancestors = Ancestors(root)

    def close(self) -> None:
        """Stop lowering; limits stay as they are."""
        self._values.close()
        if self._uplinks is not None:
            self._uplinks.close()

    def apply(self, changes: Changes) -> Outcomes:
        """Write `changes` in their order and say what became of each."""
        count, control = len(changes), changes.control
        if isinstance(control, ClassControl):
            return self._of_classes(control, changes)
        file = self._file_of(control)
        if file is None:
            return Outcomes.refused(changes, f"{control}: there is no such disk now")
        touched = self._touched_by_others(control, file.partition(" ")[0])
        self._record_newcomers(file, changes)
        kept, results = np.full(count, np.nan), np.zeros(count, dtype=np.uint8)
        why: dict[int, str] = {}
        for start in range(0, count, _BATCH):
            done = self._carried_out(control, file, changes, start, touched)
            for place, outcome in enumerate(done, start):
                kept[place], results[place] = outcome.kept, outcome.result
                if outcome.why:
                    why[int(changes.tenant[place])] = outcome.why
        return Outcomes(control, changes.tenant, changes.after, kept, results, why)

    def _file_of(self, control: Written) -> str | None:
        """Return what originals are recorded under: a file, of a disk its line; None without."""
        if isinstance(control, Control):
            return str(control)
        disk = disk_number(control.disk)
        if disk is None or isinstance(control, DiskControl):
            return None if disk is None else disk_file(disk)
        file = weight_file(disk, self._root)
        return None if file is None else disk_file(disk, file)

    def _of_classes(self, control: ClassControl, changes: Changes) -> Outcomes:
        """Write numbers of HTB classes: something writes them where there are uplinks."""
        if self._uplinks is not None:
            return self._uplinks.apply(changes)
        return Outcomes.refused(changes, f"{control}: no uplink is set up")

    def written_beside(self) -> dict[UnitControl, dict[int, set[float]]]:
        """Return what was written beside the ticks since this was last asked, by position."""
        self._own.clear()
        self._waited, self._waiting = self._waiting, set()
        written = self._values.written_beside()
        return {control: self._by_position(paths) for control, paths in written.items() if paths}

    def _by_position(self, paths: Mapping[Path, set[float]]) -> dict[int, set[float]]:
        at = {path: self._places.position_of(path) for path in paths}
        return {place: paths[path] for path, place in at.items() if place is not None}

    def protect_root(self, low_bytes: float, *, is_enforcing: bool) -> str | None:
        """Give the root the memory.low that its children add up to; return why it cannot be.

        To be called each tick.  The kernel protects no child beyond what its parent is given.
        The top of the hierarchy has no such file, and needs none; a unit's is systemd's to set, as
        is the weight of tidegate's slice, which outweighs its neighbours while `is_enforcing`.
        """
        problem = self._units.settle(low_bytes, is_enforcing=is_enforcing)
        problem = problem or self._ancestors.problem(low_bytes)
        if self._root in self._units.paths:
            return problem
        try:
            with TenantCgroup(self._root) as root:
                if not root.has(Control.MEMORY_LOW):
                    return problem
                in_force = root.memory_low
                if is_kept(Control.MEMORY_LOW, low_bytes, in_force, page_bytes=PAGE_BYTES):
                    return problem
                if not self._originals.holds(ROOT, root.cgroup_id, Control.MEMORY_LOW):
                    self._originals.record([_original(root, ROOT, Control.MEMORY_LOW)])
                root.memory_low = low_bytes
        except (CgroupGoneError, LimitRejectedError, OSError) as error:
            return str(error)
        return problem

    def _touched_by_others(self, control: Written, file: str) -> set[int]:
        """Return whose file somebody else wrote since it was sampled: the next sample will show it.

        Our own writes are told too, and those beside the ticks: of memory.high nothing is sure.
        Nobody holds us off by writing all the time: what has waited for one tick waits no more.
        """
        if control is Control.MEMORY_HIGH:
            return set()
        touched, names = self.touched(), [file]
        if control is Control.CPU_WEIGHT:
            names.append("cpu.weight.nice")
        found = set().union(*(touched.get(name, ()) for name in names))
        waiting = {(file, tenant) for tenant in found} - self._own - self._waited
        self._waiting |= waiting
        return {tenant for _, tenant in waiting}

    def _carried_out(
        self, control: Written, file: str, changes: Changes, start: int, touched: set[int]
    ) -> list[Outcome]:
        """Record and write one batch of `changes`; return the outcomes in its order."""
        batch = slice(start, start + _BATCH)
        with ExitStack() as stack:
            cgroups = [
                _LATER if int(tenant) in touched else self._to_write(stack, int(tenant), control)
                for tenant in changes.tenant[batch]
            ]
            batch_of = set(changes.tenant[batch].tolist())
            name = file.partition(" ")[0]
            self._own.update((name, tenant) for tenant in batch_of - touched)
            unrecorded = self._record(file, cgroups)
            return [
                unrecorded.get(place)
                or (
                    cgroup
                    if isinstance(cgroup, Outcome)
                    else self._values.write(cgroup, control, file, float(value))
                )
                for place, (cgroup, value) in enumerate(
                    zip(cgroups, changes.after[batch], strict=True)
                )
            ]

    def _record_newcomers(self, file: str, changes: Changes) -> None:
        """Record all cgroups that are new to the record at once: each time costs two syncs.

        What fails here is tried again, and told, batch by batch.
        """
        new = [int(tenant) for tenant in changes.tenant if not self._knows(int(tenant), file)]
        if len(new) <= _BATCH:
            return
        originals: list[Original] = []
        for tenant in new:
            with ExitStack() as stack, suppress(CgroupGoneError, LimitRejectedError):
                cgroup = self._to_write(stack, tenant, changes.control)
                if not isinstance(cgroup, Outcome):
                    originals.append(self._original(cgroup, file))
        with suppress(OSError):
            self._originals.record(originals)

    def _opened(self, stack: ExitStack, tenant: int) -> TenantCgroup | Outcome:
        """Open a tenant's cgroup, or say what becomes of its change where that fails.

        One that was made since the sample is another, of which nothing is known yet.
        """
        if (sampled := self.opened(tenant)) is not None:
            return sampled
        path = self._places.path(tenant)
        if path is None:
            why = self._places.problems.get(tenant, "no such cgroup")
            return Outcome(Result.GONE, why=why)
        try:
            cgroup = stack.enter_context(TenantCgroup(path))
        except (CgroupGoneError, LimitRejectedError) as error:
            return failure(error)
        return cgroup if self.is_sampled(tenant, cgroup.cgroup_id) else _MADE_ANEW

    def _to_write(
        self, stack: ExitStack, tenant: int, control: AnyControl
    ) -> TenantCgroup | Outcome:
        """Open a tenant's cgroup, unless `control` is nothing that is written there."""
        cgroup = self._opened(stack, tenant)
        if isinstance(cgroup, Outcome) or _is_set_of_units(control):
            return cgroup
        return _SYSTEMDS if unit_of(cgroup.path_text) else cgroup

    def _record(self, file: str, cgroups: Sequence[TenantCgroup | Outcome]) -> dict[int, Outcome]:
        """Put the values in force on disk where they are not yet; return whom that fails for."""
        failed: dict[int, Outcome] = {}
        originals: dict[int, Original] = {}
        for place, cgroup in enumerate(cgroups):
            if isinstance(cgroup, Outcome) or self._holds(cgroup, file):
                continue
            try:
                originals[place] = self._original(cgroup, file)
            except (CgroupGoneError, LimitRejectedError) as error:
                failed[place] = failure(error)
        if not originals:
            return failed
        try:
            self._originals.record(originals.values())
        except OSError as error:
            why = f"not written: its present value cannot be recorded ({error.strerror})"
            failed.update({place: Outcome(Result.REFUSED, why=why) for place in originals})
        return failed

    def _knows(self, tenant: int, file: str) -> bool:
        key = self._places.key_of(tenant)
        return key is not None and self._originals.knows(key, file)

    def _holds(self, cgroup: TenantCgroup, file: str) -> bool:
        key = self._places.key(cgroup.path_text)
        return self._originals.holds(key, incarnation(cgroup, key), file)

    def _original(self, cgroup: TenantCgroup, file: str) -> Original:
        return _original(cgroup, self._places.key(cgroup.path_text), file)

    def open_up(self, tenant: int, control: UnitControl) -> None:
        """Have systemd give a unit the file of a limit: it hands controllers down where needed."""
        path = self._places.path(tenant)
        if path is None or not unit_of(path):
            return
        with suppress(CgroupGoneError, LimitRejectedError), TenantCgroup(path) as cgroup:
            self._values.open_up(cgroup, control)

    def _record_burst(self, cgroup: TenantCgroup) -> None:
        """Put cpu.max.burst on disk as it is now, where it is not yet.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It cannot be recorded, or there is none.

        """
        if self._holds(cgroup, BURST):
            return
        try:
            self._originals.record([self._original(cgroup, BURST)])
        except OSError as error:
            raise LimitRejectedError(f"{BURST}: cannot be recorded ({error})") from error


def _is_set_of_units(control: AnyControl) -> bool:
    """Say whether systemd is asked to set it of its units; weights compare siblings of theirs."""
    return control in _SET_OF_UNITS or isinstance(control, DiskControl)


def _original(cgroup: TenantCgroup, name: str, file: str) -> Original:
    return Original(name, incarnation(cgroup, name), str(file), cgroup.text(file))
