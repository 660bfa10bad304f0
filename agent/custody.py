"""What the last tick left in tenants' control files, and so what somebody else has changed.  Pure.

All columns have shape (tenants,); NaN is not known, or not ours to set.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.tenant import Bools, Floats, Ints, carried_over
from enforce.columns import Control, HostSample, Outcomes, Result

# Two readings of one text are the same number; a value of another text differs by far more.
_SAME = 1e-9
_PUT_BACK_MOST = 3  # times, of which one is forgotten in each of these periods
_FORGOTTEN_AFTER_S = 200.0


Beside = Mapping[Control, Mapping[int, Collection[float]]]  # values by position


@dataclass(frozen=True, slots=True)
class Custody:
    """What was left in each file, and how often it had to be put back of late."""

    cgroup_id: Ints
    left: Mapping[Control, Floats]
    beside: Beside  # written beside the ticks, of late
    is_theirs: Mapping[Control, Bools]  # somebody else changed it last
    was_put_back: Mapping[Control, Bools]  # they had, and it was written since
    insistence: Mapping[Control, Floats]  # how often they did so again

    @classmethod
    def none(cls, tenants: int) -> "Custody":
        """Return the state of an agent that has left nothing yet."""
        return cls(
            cgroup_id=np.zeros(tenants, dtype=np.int64),
            left={control: np.full(tenants, np.nan) for control in Control},
            beside={},
            is_theirs={control: np.zeros(tenants, dtype=np.bool_) for control in Control},
            was_put_back={control: np.zeros(tenants, dtype=np.bool_) for control in Control},
            insistence={control: np.zeros(tenants) for control in Control},
        )

    def rearranged(self, positions: Ints) -> "Custody":
        """Return the state in the order of a new roster; position -1 is a newcomer.

        What is written beside the ticks may get one more write from the worker that goes.
        """
        left = {control: column.copy() for control, column in self.left.items()}
        for control, written in self.beside.items():
            left[control][list(written)] = np.nan
        ids = carried_over(self.cgroup_id.astype(np.float64), positions, 0.0)
        return Custody(
            cgroup_id=ids.astype(np.int64),
            left={control: carried_over(left[control], positions) for control in Control},
            beside={},
            is_theirs=_moved(self.is_theirs, positions),
            was_put_back=_moved(self.was_put_back, positions),
            insistence={
                control: carried_over(counts, positions, 0.0)
                for control, counts in self.insistence.items()
            },
        )

    def changed(self, sample: HostSample, beside: Beside) -> dict[Control, Bools]:
        """Say which files hold another value than the one that was left in them.

        A cgroup that was made anew, and files that went and came with their controller, hold what
        the kernel put there, not somebody.  `beside` are the values that were written beside the
        ticks since the last time.
        """
        is_same = (self.cgroup_id == sample.cgroup_id) & (sample.cgroup_id != 0)
        is_same[list(sample.anew)] = False
        found = {}
        for control, left in self.left.items():
            now = sample.in_force.of(control)
            is_known = is_same & ~np.isnan(left) & ~np.isnan(now)
            found[control] = is_known & ~_is_equal(left, now)
            for position in {*self.beside.get(control, ()), *beside.get(control, ())}:
                ours = (*_at(self.beside, control, position), *_at(beside, control, position))
                found[control][position] &= float(now[position]) not in ours
        return found

    def noticed(
        self,
        changed: Mapping[Control, Bools],
        beside: Beside,
        *,
        elapsed_s: float,
    ) -> "Custody":
        """Return the state once these changes are known: who changed back what was put back?"""
        fading = elapsed_s / _FORGOTTEN_AFTER_S
        again = {c: is_changed & self.was_put_back[c] for c, is_changed in changed.items()}
        return replace(
            self,
            beside=beside,
            is_theirs={c: self.is_theirs[c] | changed[c] for c in Control},
            was_put_back={c: self.was_put_back[c] & ~changed[c] for c in Control},
            insistence={
                c: np.maximum(self.insistence[c] - fading, 0.0) + again[c] for c in Control
            },
        )

    def is_insisting(self, control: Control) -> Bools:
        """Say whose file somebody else keeps changing back: it is theirs, or it would be a war."""
        is_more: Bools = self.insistence[control] > _PUT_BACK_MOST - 1
        return is_more

    def after(
        self, sample: HostSample, outcomes: Iterable[Outcomes], is_ours: Mapping[Control, Bools]
    ) -> "Custody":
        """Return what a tick leaves once it has written.

        Where a write failed, the file may hold either value.
        """
        is_there = sample.cgroup_id != 0
        left = {c: np.where(is_ours[c] & is_there, sample.in_force.of(c), np.nan) for c in Control}
        theirs = {control: flags.copy() for control, flags in self.is_theirs.items()}
        put_back = {control: flags.copy() for control, flags in self.was_put_back.items()}
        for one in outcomes:
            control = one.control
            if not isinstance(control, Control):  # classes of uplinks are put back, not kept
                continue
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


def _at(beside: Beside, control: Control, position: int) -> Collection[float]:
    return beside.get(control, {}).get(position, ())


def _moved(flags: Mapping[Control, Bools], positions: Ints) -> dict[Control, Bools]:
    return {
        c: carried_over(column.astype(np.float64), positions, 0.0) > 0
        for c, column in flags.items()
    }


def _is_equal(one: Floats, other: Floats) -> Bools:
    with np.errstate(invalid="ignore"):
        is_near = np.isfinite(other) & (np.abs(one - other) <= _SAME * np.abs(other))
    return np.asarray((one == other) | is_near, dtype=np.bool_)
