"""Sets limits of units of systemd's, over D-Bus and at runtime only, by a thread of its own.

systemd writes a unit's control files, and may write them anew whenever it likes (daemon-reload): a
value that is not its own would be gone.  So it is asked, in one call a unit, at its own pace; and
since it may say yes where the kernel says no, the kernel's files are read after each call.

systemd's first process writes memory.high itself, and the kernel reclaims inside that write: it is
written here first, and systemd asked for what is in force and in use already.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from enforce.bus import Bus, BusError, RefusedError
from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import DEFAULT_WEIGHT, Control, DiskControl, UnitControl
from enforce.unit_values import (
    check_disk,
    held_in_kernel,
    in_force,
    is_held,
    property_name,
    said,
)

log = structlog.get_logger()

# An offer that no tick repeats is stale: whoever made it may have changed its mind.
_LIFETIME_S = 3.0
# Of memory.high, which is in force already: until what is in use has come down to it.
_TELLING_S = 30.0
_LOOK_AGAIN_S = 0.5
# So much above a limit what is in use may be for systemd's first process to reclaim.
_EXCESS_BYTES = 1 << 20
_STOP_WAIT_S = 1.0
_CALM_S = 10.0  # after a call that failed, of that unit
_MOST_CALM_S = 640.0  # after many in vain for a file that does not come: each waits twice as long
_Written = dict[UnitControl, dict[Path, set[float]]]


@dataclass(frozen=True, slots=True)
class _Offer:
    """What one control file of a unit's cgroup is to hold, and what it held then."""

    cgroup_id: int
    value: float
    found: float | None  # None where there was no such file
    until_s: float
    from_s: float = 0.0


_Offers = dict[UnitControl, _Offer]


class UnitWriter:
    """A worker that has systemd set what ticks offer, one unit after the other."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._changed = threading.Condition()
        self._offers: dict[Path, _Offers] = {}
        self._written: _Written = {}
        self._asking = Path()  # of which systemd is setting something now, if of any
        self._last: dict[tuple[Path, UnitControl], float] = {}  # written here last
        # memory.high of a cgroup, by its id, as systemd has it in its books.
        self._known: dict[Path, tuple[int, float]] = {}
        self._problems: dict[tuple[Path, UnitControl], tuple[str, float]] = {}
        # For files that were not there: how often systemd was asked in vain, and not again until.
        self._in_vain: dict[tuple[Path, UnitControl], tuple[int, float]] = {}
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def offer(
        self, cgroup: TenantCgroup, control: UnitControl, value: float, *, found: float | None
    ) -> None:
        """Ask for a value, as systemd keeps it; the newest of a file counts.

        `found` is in force, None where there is no such file: what somebody else has written by
        the time of the call stays.

        Raises:
            LimitRejectedError: The last value of this file went wrong, a moment ago, or systemd
                has no way to limit this disk.

        """
        if isinstance(control, DiskControl):
            check_disk(control.disk)
        with self._changed:
            self._check_calm(cgroup.path, control, is_there=found is not None)
            until_s = time.monotonic() + _LIFETIME_S
            self._put_in_line(cgroup, control, _Offer(cgroup.cgroup_id, value, found, until_s))

    def will_tell(self, cgroup: TenantCgroup) -> None:
        """Remember what memory.high held before its first write here, as systemd still has it.

        Until it is told it writes that anew, with whatever it is asked for of the unit.  A scope
        that is started again under its name is another one, of which it was told nothing.
        """
        found = cgroup.cgroup_id, cgroup.memory_high
        with self._changed:
            if self._known.get(cgroup.path, found)[0] != found[0]:
                del self._known[cgroup.path]
            self._known.setdefault(cgroup.path, found)

    def tell(self, cgroup: TenantCgroup, control: Control, value: float) -> None:
        """Ask for what was just written to a file, so that systemd writes nothing else there."""
        with self._changed:
            now_s = time.monotonic()
            _, from_s = self._problems.get((cgroup.path, control), ("", now_s))
            until_s = max(now_s, from_s) + _TELLING_S
            offer = _Offer(cgroup.cgroup_id, value, value, until_s, from_s)
            self._put_in_line(cgroup, control, offer)

    def withdraw(self, path: Path, control: UnitControl) -> None:
        """Forget what is offered of a file: it holds what is wanted, or another's value."""
        with self._changed:
            self._offers.get(path, {}).pop(control, None)

    def written(self) -> _Written:
        """Return what was set since this was last asked, what is being set now too."""
        with self._changed:
            written, self._written = self._written, {}
            if (path := self._asking) in self._known:  # it may be known only since the call began
                high = written.setdefault(Control.MEMORY_HIGH, {})
                high.setdefault(path, set()).add(self._known[path][1])
            return written

    def put(self, cgroup: TenantCgroup, values: Mapping[UnitControl, float]) -> None:
        """Have systemd set values now, and see that the kernel holds them; may take seconds.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: systemd or the kernel has it otherwise.

        """
        if Control.MEMORY_HIGH in values:
            _reclaimed_here(cgroup, values[Control.MEMORY_HIGH])
        try:
            problems = self._asked(cgroup, values)
        except BusError as error:
            raise LimitRejectedError(str(error)) from error
        if problems:
            raise LimitRejectedError("; ".join(problems.values()))

    def give_back_weight(self, cgroup: TenantCgroup) -> None:
        """Take back the weight that came with a quota, unless it is another than every unit's.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: systemd does not do so.

        """
        if cgroup.has(Control.CPU_WEIGHT) and cgroup.cpu_weight != DEFAULT_WEIGHT:
            return
        try:
            self._bus.set(cgroup.path.name, {Control.CPU_WEIGHT: math.inf})
        except BusError as error:
            raise LimitRejectedError(str(error)) from error

    def close(self) -> None:
        """Stop after the call at hand, waited for at most a moment; limits stay as they are."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_STOP_WAIT_S)

    def _check_calm(self, path: Path, control: UnitControl, *, is_there: bool) -> None:
        problem, until_s = self._problems.get((path, control), ("", 0.0))
        if not is_there:
            until_s = max(until_s, self._in_vain.get((path, control), (0, 0.0))[1])
        if until_s > time.monotonic():
            raise LimitRejectedError(problem)

    def _put_in_line(self, cgroup: TenantCgroup, control: UnitControl, offer: _Offer) -> None:
        self._offers.setdefault(cgroup.path, {})[control] = offer
        if self._thread is None or not self._thread.is_alive():
            self._thread = _started(self._run)
        self._changed.notify()

    def _asked(
        self, cgroup: TenantCgroup, values: Mapping[UnitControl, float]
    ) -> dict[UnitControl, str]:
        """Have systemd set values; return which the kernel has otherwise.

        Raises:
            BusError: systemd refuses, or cannot be asked.
            CgroupGoneError: The cgroup vanished.

        """
        values = _with_weight(cgroup, values)
        self._note(cgroup.path, values, is_under_way=True)
        try:
            self._bus.set(cgroup.path.name, values)
        finally:
            self._note(cgroup.path, values)  # once more: ticks may have asked meanwhile
        with self._changed:
            if Control.MEMORY_HIGH in values:
                self._known[cgroup.path] = cgroup.cgroup_id, values[Control.MEMORY_HIGH]
        problems = {}
        for control, value in values.items():
            took = f"{cgroup.path.name}: systemd took {property_name(control)}, but"
            try:
                if not is_held(control, value, in_force(cgroup, control)):
                    problems[control] = f"{took} {control} is {said(cgroup, control)!r}"
            except LimitRejectedError as error:
                problems[control] = f"{took} {error}"
        with self._changed:  # a memory.high that a tick has written since is not systemd's fault
            if Control.MEMORY_HIGH in self._offers.get(cgroup.path, {}):
                problems.pop(Control.MEMORY_HIGH, None)
        return problems

    def _note(
        self, path: Path, values: Mapping[UnitControl, float], *, is_under_way: bool = False
    ) -> None:
        """Remember what is written: whoever finds it in the file must know whose it is."""
        with self._changed:
            self._asking = path if is_under_way else Path()
            for control, value in values.items():
                kept = held_in_kernel(control, value)
                self._written.setdefault(control, {}).setdefault(path, set()).add(kept)
                self._last[path, control] = kept
            if path in self._known:
                high = self._written.setdefault(Control.MEMORY_HIGH, {})
                high.setdefault(path, set()).add(self._known[path][1])

    def _run(self) -> None:
        while self._has_offers():
            self._bus.rest()  # until its turn comes the newest value of each file counts
            taken = self._taken()
            if taken is None:
                continue
            path, offers = taken
            try:
                problems = self._carry_out(path, offers)
            except CgroupGoneError:
                problems = {}
            except (LimitRejectedError, OSError, ValueError) as error:
                problems = dict.fromkeys(offers, str(error))
            self._keep_calm(path, offers, problems)

    def _keep_calm(self, path: Path, offers: _Offers, problems: Mapping[UnitControl, str]) -> None:
        """Remember what went wrong of each file: the others of the unit need not wait for it."""
        with self._changed:
            said = {self._problems.get((path, control), ("", 0.0))[0] for control in offers}
            now_s = time.monotonic()
            for control, offer in offers.items():
                self._problems.pop((path, control), None)
                times, _ = self._in_vain.pop((path, control), (0, 0.0))
                if control in problems and offer.found is None:
                    calm_s = min(_CALM_S * 2**times, _MOST_CALM_S)
                    self._in_vain[path, control] = min(times + 1, 16), now_s + calm_s
            until_s = now_s + _CALM_S
            self._problems.update({(path, c): (why, until_s) for c, why in problems.items()})
        for problem in dict.fromkeys(problems.values()):
            if problem not in said:  # once, not with each try
                log.warning("a unit's limits are not set", problem=problem)

    def _carry_out(self, path: Path, offers: _Offers) -> dict[UnitControl, str]:
        """Have systemd set what is offered of a unit; return what went wrong, by file."""
        with TenantCgroup(path) as cgroup:
            values = {
                control: offer.value
                for control, offer in offers.items()
                if offer.cgroup_id == cgroup.cgroup_id and self._is_due(cgroup, control, offer)
            }
            if not values:
                return {}
            try:
                return self._asked(cgroup, values)
            except RefusedError as error:
                if len(values) > 1:  # of one value it speaks: the others are to be had
                    return self._one_by_one(cgroup, values)
                return dict.fromkeys(values, str(error))
            except BusError as error:
                return dict.fromkeys(values, str(error))

    def _one_by_one(
        self, cgroup: TenantCgroup, values: Mapping[UnitControl, float]
    ) -> dict[UnitControl, str]:
        problems: dict[UnitControl, str] = {}
        for control, value in values.items():
            try:
                problems |= self._asked(cgroup, {control: value})
            except BusError as error:
                problems[control] = str(error)
        return problems

    def _is_due(self, cgroup: TenantCgroup, control: UnitControl, offer: _Offer) -> bool:
        """Say whether systemd is to be asked now: not where somebody else was faster."""
        now = _found(cgroup, control)
        last = self._last.get((cgroup.path, control))
        if control is Control.MEMORY_HIGH:
            return self._is_in_force(cgroup, offer, now, last)
        if now is not None and is_held(control, offer.value, now):
            return False
        return now in (offer.found, last)

    def _is_in_force(
        self, cgroup: TenantCgroup, offer: _Offer, now: float | None, last: float | None
    ) -> bool:
        """Say whether systemd may be told of a memory.high: what is in use fits it.

        One that was told before may have landed on a raise since, which is written once more.
        """
        if now is None:
            return False
        usage = cgroup.memory_current
        if not is_held(Control.MEMORY_HIGH, offer.value, now):
            if now != last or offer.value < max(now, usage):
                return False
            cgroup.set_limit(Control.MEMORY_HIGH, offer.value)
        if usage <= offer.value + _EXCESS_BYTES:
            return True
        with self._changed:
            later = replace(offer, from_s=time.monotonic() + _LOOK_AGAIN_S)
            self._offers.setdefault(cgroup.path, {}).setdefault(Control.MEMORY_HIGH, later)
        return False

    def _has_offers(self) -> bool:
        """Wait for an offer whose time has come; False once closed."""
        with self._changed:
            while not self._is_closed:
                now_s = time.monotonic()
                self._forget_stale(now_s)
                from_s = [one.from_s for of in self._offers.values() for one in of.values()]
                if from_s and min(from_s) <= now_s:
                    return True
                self._changed.wait(min(from_s) - now_s if from_s else None)
            return False

    def _forget_stale(self, now_s: float) -> None:
        for path, offers in list(self._offers.items()):
            for control in [c for c, one in offers.items() if one.until_s <= now_s]:
                if offers.pop(control).from_s:
                    log.warning("systemd is not told of a limit", unit=path.name, file=control)
            if not offers:
                del self._offers[path]

    def _taken(self) -> tuple[Path, _Offers] | None:
        """Take all whose time has come of the unit that waits longest; None where none is left."""
        with self._changed:
            now_s = time.monotonic()
            self._forget_stale(now_s)
            for path, offers in self._offers.items():
                taken = {c: one for c, one in offers.items() if one.from_s <= now_s}
                if taken:
                    del self._offers[path]
                    if left := {c: one for c, one in offers.items() if c not in taken}:
                        self._offers[path] = left
                    return path, taken
            return None


def _started(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run, name="units", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # the host or the service has no room for a thread
        raise LimitRejectedError(f"systemd is not asked ({error})") from error
    return thread


def _reclaimed_here(cgroup: TenantCgroup, value: float) -> None:
    """Write memory.high, so that it is no other process that reclaims what is in use above it.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: More stays in use, which would be systemd's to reclaim.

    """
    cgroup.set_limit(Control.MEMORY_HIGH, value)
    ends_at_s = time.monotonic() + _STOP_WAIT_S
    while (usage := cgroup.memory_current) > value + _EXCESS_BYTES:
        if time.monotonic() >= ends_at_s:
            why = "more is in use, which systemd would have to reclaim: it is not asked"
            raise LimitRejectedError(f"{Control.MEMORY_HIGH}: {usage} bytes, {why}")
        time.sleep(_STOP_WAIT_S / 10)  # noqa: TID251 - in no tick


def _found(cgroup: TenantCgroup, control: UnitControl) -> float | None:
    """Return what is in force, None where there is no such file, or no such disk any more."""
    with suppress(LimitRejectedError):
        return in_force(cgroup, control)
    return None


def _with_weight(
    cgroup: TenantCgroup, values: Mapping[UnitControl, float]
) -> Mapping[UnitControl, float]:
    """Add the weight that a unit has to a quota.

    Without a weight of its own a unit whose quota is none needs no cpu controller for systemd: it
    writes nothing then, and where no unit beside it needs one there is no file to be written.
    """
    if Control.CPU_MAX not in values or Control.CPU_WEIGHT in values:
        return values
    weight = cgroup.cpu_weight if cgroup.has(Control.CPU_WEIGHT) else DEFAULT_WEIGHT
    return {**values, Control.CPU_WEIGHT: weight}
