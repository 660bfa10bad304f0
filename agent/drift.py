"""Notices what somebody else changed of tenants' limits in the kernel, and makes pins of it.

Owns what the last tick left of each; who keeps pins for the next agent is a port.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from agent.custody import Beside, Custody, is_anew
from agent.pins import Origin, Pin, Pins
from agent.ports import PinKeeping
from agent.record import Drift, DriftTick, Loss
from agent.settings import DriftSettings
from agent.tenant import Bools, Roster
from enforce.columns import AnyControl, ClassControl, Control, DiskWeight, HostSample, Outcomes

_LATELY_S = 600.0


class PassingPins:
    """Keeps pins as long as the process lives."""

    def __init__(self) -> None:
        self._pins: dict[tuple[str, AnyControl], Pin] = {}

    def pins(self, roster: Roster, now_s: float) -> Pins:
        """Return the pins that hold now."""
        return Pins.of((pin for pin in self._pins.values() if pin.until_s > now_s), roster)

    def put(self, pins: Iterable[Pin]) -> None:
        """Take pins in."""
        self._pins.update({(pin.tenant, pin.control): pin for pin in pins})

    def drop(self, pins: Iterable[tuple[str, AnyControl]]) -> None:
        """Forget pins."""
        for key in pins:
            self._pins.pop(key, None)


class DriftWatch:
    """What the control loop asks before it decides, and tells after it has written."""

    def __init__(
        self,
        roster: Roster,
        settings: DriftSettings | None = None,
        board: PinKeeping | None = None,
        *,
        devices: Iterable[AnyControl] = (),
    ) -> None:
        """Watch control files, and these numbers of `devices`."""
        self._roster, self.settings = roster, settings or DriftSettings()
        self._board = board or PassingPins()
        self._custody = Custody.none(len(roster), devices)
        self._seen_at_s = float("inf")
        self._losses: dict[tuple[str, ...], Loss] = {}
        self.tick = DriftTick(Pins.none(len(roster)))

    def rearrange(self, roster: Roster, devices: Iterable[AnyControl] = ()) -> None:
        """Go on with another roster, and other devices."""
        self._custody = self._custody.rearranged(roster.positions_in(self._roster), devices)
        self._roster = roster

    def seen(self, sample: HostSample, beside: Beside, now_s: float) -> Pins:
        """Return the pins that hold at `now_s`, those for what has been changed among them.

        `beside` is what was written beside the ticks since the last one.
        """
        changed = self._custody.changed(sample, beside)
        changes = tuple(chain.from_iterable(self._changes(c, sample, changed[c]) for c in changed))
        elapsed_s = max(now_s - self._seen_at_s, 0.0)
        self._custody = self._custody.noticed(changed, beside, elapsed_s=elapsed_s)
        self._seen_at_s = now_s
        self._drop_void(self._board.pins(self._roster, now_s), sample)
        if changes:
            earlier = self._board.pins(self._roster, now_s)
            self._board.put(self._pins_for(changes, earlier, sample, now_s))
        pins = self._board.pins(self._roster, now_s)
        total = self.tick.total + len(changes) + len(sample.network.restored)
        self.tick = DriftTick(pins, changes, total, self._lost(sample, now_s))
        return pins

    def _lost(self, sample: HostSample, now_s: float) -> tuple[Loss, ...]:
        """Return what was put back of late, this tick's sample last."""
        self._losses = {k: v for k, v in self._losses.items() if v.last_s > now_s - _LATELY_S}
        for one in sample.network.restored:
            tenant = self._roster.names[one.tenant] if one.tenant >= 0 else ""
            new = Loss(one.where, one.what, one.how, tenant, 0, now_s)
            key = (new.where, new.what, new.how, new.tenant)
            known = self._losses.pop(key, new)
            self._losses[key] = replace(known, times=known.times + 1, last_s=now_s)
        return tuple(self._losses.values())

    def left(self, sample: HostSample, outcomes: Iterable[Outcomes]) -> None:
        """Remember what the tick leaves in force: of those whose limits it may set.

        Weights of tenants elsewhere compare them with who is none of ours, and are left alone.
        """
        may_set = ~self._roster.is_observed_only
        is_ours = dict.fromkeys(self._custody.left, may_set)
        weights = [c for c in is_ours if c is Control.CPU_WEIGHT or isinstance(c, DiskWeight)]
        is_ours |= dict.fromkeys(weights, may_set & ~self._roster.is_elsewhere)
        is_ours[Control.MEMORY_MAX] = may_set & np.isfinite(self._roster.memory_max_bytes)
        self._custody = self._custody.after(sample, outcomes, is_ours)

    def _changes(self, control: AnyControl, sample: HostSample, is_changed: Bools) -> list[Drift]:
        before, after = self._custody.left[control], sample.limit(control)
        return [
            Drift(control, position, float(before[position]), float(after[position]))
            for position in np.flatnonzero(is_changed).tolist()
        ]

    def _pins_for(
        self, changes: Sequence[Drift], earlier: Pins, sample: HostSample, now_s: float
    ) -> list[Pin]:
        """Return pins of what was changed, or of what somebody insists on changing.

        What an operator has pinned is put back whatever the policy, unless somebody insists.
        """
        custody = self._custody
        insisting = {control: custody.is_insisting(control) for control in custody.left}
        until_s, is_put_back = now_s + self.settings.pin_s, self.settings.policy == "restore"
        pins = []
        for one in changes:
            is_insisting = bool(insisting[one.control][one.tenant])
            is_asked_for = earlier.is_operators(one.control, one.tenant)
            if (is_put_back or is_asked_for) and not is_insisting:
                continue
            origin = Origin.INSISTING if is_insisting else Origin.ANOTHER
            name, cgroup_id = self._roster.names[one.tenant], int(sample.cgroup_id[one.tenant])
            pins.append(Pin(name, one.control, one.after, until_s, origin, cgroup_id))
        return pins

    def _drop_void(self, pins: Pins, sample: HostSample) -> None:
        """Forget somebody else's values that went with their cgroup, their controller or disk."""
        is_there = sample.cgroup_id != 0
        went = np.zeros(len(is_there), dtype=np.bool_)
        went[list(sample.anew)] = True
        went &= self._custody.cgroup_id == sample.cgroup_id  # not the first sight of it
        void = []
        for control, is_foreign in pins.is_foreign.items():
            if not is_foreign.any():
                continue
            is_void = pins.cgroup_id[control] != sample.cgroup_id
            if not isinstance(control, ClassControl):
                is_void |= went | is_anew(control, sample)
            is_void = (is_void & is_there) | (control not in self._custody.left)
            is_void &= is_foreign
            void += [(self._roster.names[at], control) for at in np.flatnonzero(is_void).tolist()]
        if void:
            self._board.drop(void)
