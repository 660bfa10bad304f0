"""Notices what somebody else changed in tenants' control files, and makes pins of it.

Owns what the last tick left in each file; who keeps pins for the next agent is a port.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from agent.custody import Beside, Custody
from agent.pins import Origin, Pin, Pins
from agent.ports import PinKeeping
from agent.record import Drift, DriftTick
from agent.settings import DriftSettings
from agent.tenant import Bools, Roster
from enforce.columns import Control, HostSample, Outcomes


class PassingPins:
    """Keeps pins as long as the process lives."""

    def __init__(self) -> None:
        self._pins: dict[tuple[str, Control], Pin] = {}

    def pins(self, roster: Roster, now_s: float) -> Pins:
        """Return the pins that hold now."""
        return Pins.of((pin for pin in self._pins.values() if pin.until_s > now_s), roster)

    def put(self, pins: Iterable[Pin]) -> None:
        """Take pins in."""
        self._pins.update({(pin.tenant, pin.control): pin for pin in pins})

    def drop(self, pins: Iterable[tuple[str, Control]]) -> None:
        """Forget pins."""
        for key in pins:
            self._pins.pop(key, None)


class DriftWatch:
    """What the control loop asks before it decides, and tells after it has written."""

    def __init__(
        self, roster: Roster, settings: DriftSettings | None = None, board: PinKeeping | None = None
    ) -> None:
        self._roster, self.settings = roster, settings or DriftSettings()
        self._board = board or PassingPins()
        self._custody = Custody.none(len(roster))
        self._seen_at_s = float("inf")
        self.tick = DriftTick(Pins.none(len(roster)))

    def rearrange(self, roster: Roster) -> None:
        """Go on with another roster."""
        self._custody = self._custody.rearranged(roster.positions_in(self._roster))
        self._roster = roster

    def seen(self, sample: HostSample, beside: Beside, now_s: float) -> Pins:
        """Return the pins that hold at `now_s`, those for what has been changed among them.

        `beside` is what was written beside the ticks since the last one.
        """
        changed = self._custody.changed(sample, beside)
        changes = tuple(chain.from_iterable(self._changes(c, sample, changed[c]) for c in Control))
        elapsed_s = max(now_s - self._seen_at_s, 0.0)
        self._custody = self._custody.noticed(changed, beside, elapsed_s=elapsed_s)
        self._seen_at_s = now_s
        self._drop_void(self._board.pins(self._roster, now_s), sample)
        if changes:
            self._board.put(self._pins_for(changes, sample, now_s))
        pins = self._board.pins(self._roster, now_s)
        is_put_back = self.settings.policy == "restore"
        self.tick = DriftTick(pins, changes, is_put_back, self.tick.total + len(changes))
        return pins

    def left(self, sample: HostSample, outcomes: Iterable[Outcomes]) -> None:
        """Remember what the tick leaves in force: of those whose limits it may set."""
        may_set = ~self._roster.is_observed_only
        is_ours = dict.fromkeys(Control, may_set)
        is_ours[Control.MEMORY_MAX] = may_set & np.isfinite(self._roster.memory_max_bytes)
        self._custody = self._custody.after(sample, outcomes, is_ours)

    def _changes(self, control: Control, sample: HostSample, is_changed: Bools) -> list[Drift]:
        before, after = self._custody.left[control], sample.in_force.of(control)
        return [
            Drift(control, position, float(before[position]), float(after[position]))
            for position in np.flatnonzero(is_changed).tolist()
        ]

    def _pins_for(self, changes: Sequence[Drift], sample: HostSample, now_s: float) -> list[Pin]:
        """Return pins of what was changed, or of what somebody insists on changing."""
        insisting = {control: self._custody.is_insisting(control) for control in Control}
        until_s, is_put_back = now_s + self.settings.pin_s, self.settings.policy == "restore"
        pins = []
        for one in changes:
            is_insisting = bool(insisting[one.control][one.tenant])
            if is_put_back and not is_insisting:
                continue
            origin = Origin.INSISTING if is_insisting else Origin.ANOTHER
            name, cgroup_id = self._roster.names[one.tenant], int(sample.cgroup_id[one.tenant])
            pins.append(Pin(name, one.control, one.after, until_s, origin, cgroup_id))
        return pins

    def _drop_void(self, pins: Pins, sample: HostSample) -> None:
        """Forget somebody else's values that went with their cgroup or their controller."""
        is_there = sample.cgroup_id != 0
        is_anew = np.zeros(len(is_there), dtype=np.bool_)
        is_anew[list(sample.anew)] = True
        is_anew &= self._custody.cgroup_id == sample.cgroup_id  # not the first sight of it
        void = []
        for control in Control:
            is_other = pins.cgroup_id[control] != sample.cgroup_id
            is_void = pins.is_foreign[control] & is_there & (is_other | is_anew)
            void += [(self._roster.names[at], control) for at in np.flatnonzero(is_void).tolist()]
        if void:
            self._board.drop(void)
