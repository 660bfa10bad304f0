"""Lowers memory.high below what is in use: in steps, by a thread of its own, so no tick waits.

The kernel reclaims inside the write until usage fits (0.7 ms for each MiB of clean cache, without
bound for dirty pages), so such a write has no place in the tick.  Only this file and the
thread's own lock are shared with it.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from enforce.cgroup import PAGE_BYTES, CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.counters import stalled_us
from enforce.floor import memory_floor_bytes

log = structlog.get_logger()

# One write reclaims at most this much: the tenant is never held up longer than that takes.
STEP_BYTES = 32 << 20
# An offer that is not repeated is stale: the tick that made it may have changed its mind.
LIFETIME_S = 1.0
# After reclaim got nowhere, usage is left alone for a while.
REST_S = 10.0
MIN_PAUSE_S = 0.01
# Part of the time between two steps in which all tasks of a tenant may stand still for memory.
STALLED_FRACTION = 0.3
# Ticks wait for the step at hand at a reload, which in dirty pages may take any time.
_STOP_WAIT_S = 1.0
# What a step can meet: none of it may end the worker, which has other tenants to see to.
_TROUBLES = (CgroupGoneError, LimitRejectedError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Offer:
    """Bring memory.high of the cgroup `cgroup_id` at `path` to `target_bytes`, below usage.

    `found_bytes` was in force then: another value than that, or than one written here since, is
    somebody else's, and is left alone.
    """

    path: Path
    cgroup_id: int
    target_bytes: float
    found_bytes: float
    until_s: float


class Lowering:
    """A worker that carries offers out, one step at a time, round and round."""

    def __init__(
        self,
        *,
        margin_bytes: float,
        write: Callable[[TenantCgroup, float], object] | None = None,
    ) -> None:
        """Write memory.high by `write`, where that is not to be done directly."""
        self._margin_bytes, self._put = margin_bytes, write or _put
        self._changed = threading.Condition()
        self._offers: dict[Path, Offer] = {}
        self._busy: Path | None = None
        self._overrides: dict[Path, float] = {}  # raises that came while their cgroup was busy
        self._rests_until_s: dict[Path, float] = {}
        self._written: dict[Path, set[float]] = {}  # since they were last asked for
        self._last: dict[Path, float] = {}  # written here last
        self._stalled: dict[Path, tuple[float, float]] = {}  # how long by when, at the last step
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._fault = ""  # what ended the last thread, which none of `_TROUBLES` does

    def offer(
        self, path: Path, cgroup_id: int, target_bytes: float, *, found_bytes: float = math.inf
    ) -> None:
        """Ask for a lower memory.high; the newest offer for a cgroup replaces the last one.

        Raises:
            LimitRejectedError: No thread can be started now, and the next offer tries again; or a
                fault ended the last one: another has begun, and has this offer too.

        """
        with self._changed:
            was_lost = self._thread is not None and not self._thread.is_alive()
            if self._thread is None or was_lost:
                self._busy = None
                self._overrides.clear()
                self._thread = self._started()
            until_s = time.monotonic() + LIFETIME_S
            self._offers[path] = Offer(path, cgroup_id, target_bytes, found_bytes, until_s)
            self._changed.notify()
        if was_lost:
            raise LimitRejectedError(f"memory.high: lowering ended by {self._fault}; begun anew")

    @property
    def has_offers(self) -> bool:
        """Say whether anything is being lowered, or is to be; only who offers adds to that."""
        with self._changed:
            return bool(self._offers) or self._busy is not None

    def withdraw(self, path: Path, value: float) -> None:
        """Forget the offer for a cgroup that is about to get `value` from the tick.

        A step that is being written now may land after it: then `value` is written once more.
        """
        with self._changed:
            self._offers.pop(path, None)
            if self._busy == path:
                self._overrides[path] = value

    def written(self) -> dict[Path, set[float]]:
        """Return what was written here since this was last asked, what is being written now too."""
        with self._changed:
            written, self._written = self._written, {}
            return written

    def is_resting(self, path: Path) -> bool:
        """Say whether reclaim of this cgroup got nowhere a short while ago."""
        with self._changed:
            return self._rests_until_s.get(path, 0.0) > time.monotonic()

    def close(self) -> None:
        """Stop after the step at hand, waited for at most a moment; limits stay as they are."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_STOP_WAIT_S)

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="lowering", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the host or the service has no room for a thread
            raise LimitRejectedError(f"memory.high: not lowered ({error})") from error
        return thread

    def _run(self) -> None:
        try:
            self._carry_out()
        except Exception as error:
            self._fault = f"{type(error).__name__}: {error}"
            log.exception("lowering ended; the next offer begins it anew")

    def _carry_out(self) -> None:
        while (offer := self._next()) is not None:
            began_s = time.monotonic()
            try:
                is_done = self._step(offer)
            except _TROUBLES:
                is_done = True
            self._after(offer, is_done=is_done)
            self._pause(time.monotonic() - began_s)

    def _next(self) -> Offer | None:
        """Wait for an offer that is still good and take it; None when closed."""
        with self._changed:
            while not self._is_closed:
                now_s = time.monotonic()
                self._offers = {p: o for p, o in self._offers.items() if o.until_s > now_s}
                if self._offers:
                    path = next(iter(self._offers))
                    self._busy = path
                    return self._offers.pop(path)
                self._changed.wait()
            return None

    def _step(self, offer: Offer) -> bool:
        """Lower by one step; return whether nothing is left to do."""
        with TenantCgroup(offer.path) as cgroup:
            if cgroup.cgroup_id != offer.cgroup_id:
                return True
            floor = memory_floor_bytes(cgroup, margin_bytes=self._margin_bytes)
            before = cgroup.memory_current
            goal = max(offer.target_bytes, floor)
            in_force = cgroup.memory_high
            if in_force not in (offer.found_bytes, self._last.get(offer.path)):
                return True
            if goal < in_force and self.is_resting(offer.path):
                return True  # it was offered while the step was under way that got nowhere
            value = goal if goal >= in_force else max(goal, before - STEP_BYTES)
            if goal < in_force <= value:
                return False  # usage has yet to come down to what is in force
            self._write(cgroup, value)
            after = cgroup.memory_current
            is_stuck = after - value > max(before - value, self._margin_bytes) / 2
            if is_stuck or self._stands_still(cgroup):
                self._give_up(cgroup, in_force if in_force >= after else after + self._margin_bytes)
                return True
            return value <= goal

    def _write(self, cgroup: TenantCgroup, value: float) -> None:
        """Write, having said so before: whoever reads the file meanwhile must know whose it is."""
        kept = value // PAGE_BYTES * PAGE_BYTES if math.isfinite(value) else value
        self._note(cgroup.path, kept)
        try:
            self._put(cgroup, value)
        finally:
            self._note(cgroup.path, kept)  # once more: reclaim takes time, and ticks ask meanwhile

    def _note(self, path: Path, kept: float) -> None:
        with self._changed:
            self._written.setdefault(path, set()).add(kept)
            self._last[path] = kept

    def _stands_still(self, cgroup: TenantCgroup) -> bool:
        """Say whether the tenant's tasks have done little but wait for memory since the last step.

        Where the kernel does not tell of pressure, they have not.
        """
        if not cgroup.has("memory.pressure"):
            return False
        now_us = time.monotonic() * 1e6
        total_us = float(stalled_us([cgroup.read(b"memory.pressure")], b"full")[0])
        before_us, then_us = self._stalled.get(cgroup.path, (total_us, now_us))
        self._stalled[cgroup.path] = total_us, now_us
        return total_us - before_us > STALLED_FRACTION * (now_us - then_us)

    def _give_up(self, cgroup: TenantCgroup, value: float) -> None:
        """Lift the limit off a tenant that cannot shrink: below its usage it would only crawl."""
        self._write(cgroup, value)
        with self._changed:
            self._rests_until_s[cgroup.path] = time.monotonic() + REST_S

    def _after(self, offer: Offer, *, is_done: bool) -> None:
        """Write raises that came meanwhile, and put an unfinished offer back in line."""
        while True:
            with self._changed:
                value = self._overrides.pop(offer.path, None)
                if value is None:
                    self._busy = None
                    if not is_done and not self._is_closed:
                        self._offers.setdefault(offer.path, offer)
                    return
            is_done = True
            self._write_once_more(offer, value)

    def _write_once_more(self, offer: Offer, value: float) -> None:
        try:
            with TenantCgroup(offer.path) as cgroup:
                if cgroup.cgroup_id == offer.cgroup_id:
                    self._write(cgroup, value)
        except _TROUBLES:
            return

    def _pause(self, worked_s: float) -> None:
        """Leave at least half of a core to others, whatever is offered meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, max(worked_s, MIN_PAUSE_S))


def _put(cgroup: TenantCgroup, value: float) -> None:
    cgroup.memory_high = value
