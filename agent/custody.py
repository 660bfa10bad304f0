"""What the last tick left of tenants' limits in the kernel, and so what another changed.  Pure.

That is in control files, and in the classes of uplinks.  All columns have shape (tenants,); NaN is
not known, or not ours to set.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.tenant import Bools, Floats, Ints, carried_over
from enforce.columns import (
    AnyControl,
    ClassControl,
    Control,
    DiskControl,
    DiskWeight,
    HostSample,
    Outcomes,
    Result,
    UnitControl,
)

# Two readings of one text are the same number; a value of another text differs by far more.
_SAME = 1e-9
_PUT_BACK_MOST = 3  # times, of which one is forgotten in each of these periods
_FORGOTTEN_AFTER_S = 200.0


Beside = Mapping[UnitControl, Mapping[int, Collection[float]]]  # values by position


@dataclass(frozen=True, slots=True)
class Custody:
    """What was left of each control, and how often it had to be put back of late."""

    cgroup_id: Ints
    left: Mapping[AnyControl, Floats]
    beside: Beside  # written beside the ticks, of late
    is_theirs: Mapping[AnyControl, Bools]  # somebody else changed it last
    was_put_back: Mapping[AnyControl, Bools]  # they had, and it was written since
    insistence: Mapping[AnyControl, Floats]  # how often they did so again

    @classmethod
    def none(cls, tenants: int, devices: Iterable[AnyControl] = ()) -> "Custody":
        """Return the state of an agent that has left nothing yet, in files or of `devices`."""
        controls = dict.fromkeys((*Control, *devices))
        return cls(
            cgroup_id=np.zeros(tenants, dtype=np.int64),
            left={control: np.full(tenants, np.nan) for control in controls},
            beside={},
            is_theirs={control: np.zeros(tenants, dtype=np.bool_) for control in controls},
            was_put_back={control: np.zeros(tenants, dtype=np.bool_) for control in controls},
            insistence={control: np.zeros(tenants) for control in controls},
        )

    def rearranged(self, positions: Ints, devices: Iterable[AnyControl] = ()) -> "Custody":
        """Return the state in the order of a new roster; position -1 is a newcomer.

        What is written beside the ticks may get one more write from the worker that goes.  Devices
        may be set up in another way: what was left of them is not known.
        """
        fresh = Custody.none(len(positions), devices)
        left: dict[AnyControl, Floats] = {c: self.left[c].copy() for c in Control}
        for control, written in self.beside.items():
            if isinstance(control, Control):
                left[control][list(written)] = np.nan
        ids = carried_over(self.cgroup_id.astype(np.float64), positions, 0.0)
        kept = [control for control in fresh.left if control in self.left]
        carried = {c: carried_over(left[c], positions) for c in left}
        counts = {c: carried_over(self.insistence[c], positions, 0.0) for c in kept}
        return Custody(
            cgroup_id=ids.astype(np.int64),
            left={**fresh.left, **carried},
            beside={},
            is_theirs={**fresh.is_theirs, **_moved(self.is_theirs, kept, positions)},
            was_put_back={**fresh.was_put_back, **_moved(self.was_put_back, kept, positions)},
            insistence={**fresh.insistence, **counts},
        )

    def changed(self, sample: HostSample, beside: Beside) -> dict[AnyControl, Bools]:
        """Say which controls hold another value than the one that was left in them.

        A cgroup or a disk that was made anew, and files that went and came with their controller,
        hold what the kernel put there, not somebody.  `beside` are the values that were written
        beside the ticks since the last time.
        """
        is_same = (self.cgroup_id == sample.cgroup_id) & (sample.cgroup_id != 0)
        is_same[list(sample.anew)] = False
        found = {}
        for control, left in self.left.items():
            now = sample.limit(control)
            is_known = ~np.isnan(left) & ~np.isnan(now)
            if not isinstance(control, ClassControl):  # which outlives its tenant's cgroup
                is_known &= is_same & (not is_anew(control, sample))
            found[control] = is_known & ~_is_equal(left, now)
            if isinstance(control, ClassControl | DiskWeight):
                continue
            for position in {*self.beside.get(control, ()), *beside.get(control, ())}:
                ours = (*_at(self.beside, control, position), *_at(beside, control, position))
                found[control][position] &= float(now[position]) not in ours
        return found

    def noticed(
        self,
        changed: Mapping[AnyControl, Bools],
        beside: Beside,
        *,
        elapsed_s: float,
    ) -> "Custody":
        """Return the state once these changes are known: who changed back what was put back?"""
        fading = elapsed_s / _FORGOTTEN_AFTER_S
        theirs, put_back = dict(self.is_theirs), dict(self.was_put_back)
        insistence = {c: _faded(column, fading) for c, column in self.insistence.items()}
        for control, is_changed in changed.items():
            if is_changed.any():
                insistence[control] = insistence[control] + (is_changed & put_back[control])
                theirs[control] = theirs[control] | is_changed
                put_back[control] = put_back[control] & ~is_changed
        return replace(
            self, beside=beside, is_theirs=theirs, was_put_back=put_back, insistence=insistence
        )

    def is_insisting(self, control: AnyControl) -> Bools:
        """Say whose value somebody else keeps changing back: it is theirs, or it would be a war."""
        is_more: Bools = self.insistence[control] > _PUT_BACK_MOST - 1
        return is_more

    def after(
        self, sample: HostSample, outcomes: Iterable[Outcomes], is_ours: Mapping[AnyControl, Bools]
    ) -> "Custody":
        """Return what a tick leaves once it has written.

        Where a write failed, the control may hold either value.  Where a class could not be read,
        since a reading is late, nothing was written: what was left of it stays.
        """
        is_there = sample.cgroup_id != 0
        left = {c: _where(is_ours[c] & is_there, self._stands(c, sample)) for c in self.left}
        theirs, put_back = dict(self.is_theirs), dict(self.was_put_back)
        for one in outcomes:
            control = one.control
            if control not in left or not len(one.tenant):
                continue
            # The sample's own, and what the last tick left, stay as they are.
            left[control] = left[control].copy()
            theirs[control], put_back[control] = theirs[control].copy(), put_back[control].copy()
            # What was left alone, since somebody else had just written it, the next sample shows.
            is_left_alone = (one.result == Result.HELD_BACK) & np.isnan(one.kept)
            before = left[control][one.tenant]
            left[control][one.tenant] = np.where(is_left_alone, before, one.kept)
            is_written = (one.result == Result.APPLIED) | (one.result == Result.HELD_BACK)
            written = one.tenant[is_written & ~is_left_alone]
            put_back[control][written] |= theirs[control][written]
            theirs[control][written] = False
        return replace(
            self,
            cgroup_id=sample.cgroup_id,
            left=left,
            is_theirs=theirs,
            was_put_back=put_back,
        )

    def _stands(self, control: AnyControl, sample: HostSample) -> Floats:
        now = sample.limit(control)
        if isinstance(control, ClassControl) and np.isnan(now).any():
            return np.where(np.isnan(now), self.left[control], now)
        return now


def is_anew(control: AnyControl, sample: HostSample) -> bool:
    """Say whether a control is of a disk whose limits the kernel has just begun anew."""
    return isinstance(control, DiskControl | DiskWeight) and control.disk in sample.disks.anew


def _at(beside: Beside, control: UnitControl, position: int) -> Collection[float]:
    return beside.get(control, {}).get(position, ())


def _where(is_ours: Bools, limit: Floats) -> Floats:
    return limit if is_ours.all() else np.where(is_ours, limit, np.nan)


def _faded(insistence: Floats, fading: float) -> Floats:
    return np.maximum(insistence - fading, 0.0) if insistence.any() else insistence


def _moved(
    flags: Mapping[AnyControl, Bools], kept: Iterable[AnyControl], positions: Ints
) -> dict[AnyControl, Bools]:
    return {c: carried_over(flags[c].astype(np.float64), positions, 0.0) > 0 for c in kept}


def _is_equal(one: Floats, other: Floats) -> Bools:
    with np.errstate(invalid="ignore"):
        is_near = np.isfinite(other) & (np.abs(one - other) <= _SAME * np.abs(other))
    return np.asarray((one == other) | is_near, dtype=np.bool_)
