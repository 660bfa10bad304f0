"""Sets limits of units of systemd's, over D-Bus and at runtime only, by a thread of its own.

systemd writes a unit's control files, and may write them anew whenever it likes (daemon-reload): a
value that is not its own would be gone.  So it is asked, in one call a unit, at its own pace; and
since it may say yes where the kernel says no, the kernel's files are read after each call.

systemd 252 keeps CPUQuota= in whole per cents: only such quotas outlive a daemon-reload.
"""

import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from enforce import limits
from enforce.cgroup import PAGE_BYTES, CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import DEFAULT_WEIGHT, Control

log = structlog.get_logger()

PERSISTENT = Path("/etc/systemd/system.control")
_PERCENT = 0.01
_US_PER_S = 1_000_000
_INFINITY = (1 << 64) - 1
_PROPERTY = {
    Control.CPU_MAX: "CPUQuotaPerSecUSec",
    Control.CPU_WEIGHT: "CPUWeight",
    Control.MEMORY_HIGH: "MemoryHigh",
    Control.MEMORY_LOW: "MemoryLow",
}
_SETTING = {**_PROPERTY, Control.CPU_MAX: "CPUQuota"}  # in unit files
# At most so many calls a second: each costs PID 1 some milliseconds.
_BETWEEN_CALLS_S = 0.1
# An offer that no tick repeats is stale: whoever made it may have changed its mind.
_LIFETIME_S = 3.0
_CALL_LIMIT_S = 3.0
# After a call that got no answer none is tried for so long: a release must not wait for each.
_DOWN_S = 10.0
_STOP_WAIT_S = 1.0
_CALM_S = 10.0  # after a call that failed, of that unit
_UNANSWERED = (OSError, EOFError, ValueError)  # TimeoutError is an OSError
_Written = dict[Control, dict[Path, set[float]]]


class BusError(Exception):
    """systemd did not do what it was asked for."""


class RefusedError(BusError):
    """It answered that it will not: there is no such unit, say."""


def held_by_systemd(control: Control, value: float) -> float:
    """Return what systemd keeps of a value: whole per cents of a core, upwards, and whole pages."""
    if control is Control.CPU_MAX and math.isfinite(value):
        return max(math.ceil(value / _PERCENT - 1e-6), 1) * _PERCENT
    return held_in_kernel(control, value)


class Bus:
    """One connection to the system's bus, opened when it is needed; one call at a time."""

    def __init__(self, *, between_calls_s: float = _BETWEEN_CALLS_S) -> None:
        self._lock, self._between_calls_s = threading.Lock(), between_calls_s
        self._connection: Any = None
        self._next_s = self._down_until_s = 0.0

    def set(self, unit: str, values: Mapping[Control, float]) -> None:
        """Have systemd set these of a unit until the next boot; waits its turn.

        Raises:
            BusError: It cannot be asked, it does not answer in time, or it refuses.

        """
        with self._lock:
            if time.monotonic() < self._down_until_s:
                raise BusError(f"{unit}: systemd gave no answer over D-Bus a moment ago")
            time.sleep(max(self._next_s - time.monotonic(), 0.0))  # noqa: TID251 - in no tick
            try:
                self._called(unit, values)
            finally:
                self._next_s = time.monotonic() + self._between_calls_s

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _called(self, unit: str, values: Mapping[Control, float]) -> None:
        properties = [(_PROPERTY[c], ("t", _amount(c, value))) for c, value in values.items()]
        try:
            if self._connection is None:
                self._connection = _opened()
            _call(self._connection, "SetUnitProperties", "sba(sv)", (unit, True, properties))
        except RefusedError as error:
            raise RefusedError(f"{unit}: {error}") from error
        except BusError as error:
            self._drop()
            self._down_until_s = time.monotonic() + _DOWN_S
            raise BusError(f"{unit}: {error}") from error

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None


def manager_call(method: str, signature: str, body: tuple[Any, ...]) -> None:
    """Call a method of systemd's manager once, over a connection of its own.

    Raises:
        BusError: It cannot be asked, it does not answer in time, or it refuses.

    """
    connection = _opened()
    try:
        _call(connection, method, signature, body)
    finally:
        with suppress(OSError):
            connection.close()


def _opened() -> Any:
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

    try:
        return open_dbus_connection(bus="SYSTEM")
    except _UNANSWERED as error:
        raise _unasked(error) from error


def _call(connection: Any, method: str, signature: str, body: tuple[Any, ...]) -> None:
    from jeepney import DBusAddress, MessageType, new_method_call  # noqa: PLC0415

    manager = DBusAddress(
        "/org/freedesktop/systemd1",
        bus_name="org.freedesktop.systemd1",
        interface="org.freedesktop.systemd1.Manager",
    )
    try:
        message = new_method_call(manager, method, signature, body)
        reply = connection.send_and_get_reply(message, timeout=_CALL_LIMIT_S)
    except _UNANSWERED as error:
        raise _unasked(error) from error
    if reply.header.message_type is MessageType.error:
        raise RefusedError(f"systemd refused: {' '.join(map(str, reply.body))}")


def _unasked(error: Exception) -> BusError:
    return BusError(f"systemd cannot be asked over D-Bus: {str(error) or type(error).__name__}")


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the control files of one unit's cgroup are to hold."""

    path: Path
    cgroup_id: int
    until_s: float
    values: Mapping[Control, float] = field(default_factory=dict)


class UnitWriter:
    """A worker that has systemd set what ticks offer, one unit after the other."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._changed = threading.Condition()
        self._offers: dict[Path, _Offer] = {}
        self._written: _Written = {}
        self._problems: dict[Path, tuple[str, float]] = {}
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def offer(self, cgroup: TenantCgroup, control: Control, value: float) -> None:
        """Ask for a value, as systemd keeps it; the newest of a file counts.

        Raises:
            LimitRejectedError: What was asked of this unit last went wrong, a moment ago.

        """
        with self._changed:
            problem, until_s = self._problems.get(cgroup.path, ("", 0.0))
            if until_s > time.monotonic():
                raise LimitRejectedError(problem)
            before = self._offers.get(cgroup.path)
            values = {} if before is None else dict(before.values)
            until_s = time.monotonic() + _LIFETIME_S
            self._offers[cgroup.path] = _Offer(
                cgroup.path, cgroup.cgroup_id, until_s, {**values, control: value}
            )
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="units", daemon=True)
                self._thread.start()
            self._changed.notify()

    def withdraw(self, path: Path) -> None:
        """Forget what is offered of a unit: somebody else set it."""
        with self._changed:
            self._offers.pop(path, None)

    def written(self) -> _Written:
        """Return what was set since this was last asked, what is being set now too."""
        with self._changed:
            written, self._written = self._written, {}
            return written

    def put(self, cgroup: TenantCgroup, values: Mapping[Control, float]) -> None:
        """Have systemd set values now, and see that the kernel holds them; may take seconds.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: systemd or the kernel has it otherwise.

        """
        values = _with_weight(cgroup, values)
        self._note(cgroup.path, values)
        try:
            self._bus.set(cgroup.path.name, values)
        except BusError as error:
            raise LimitRejectedError(str(error)) from error
        finally:
            self._note(cgroup.path, values)  # once more: ticks may have asked meanwhile
        for control, value in values.items():
            kept = cgroup.limit(control)
            if not limits.is_kept(control, value, kept, page_bytes=PAGE_BYTES):
                raise LimitRejectedError(
                    f"{cgroup.path.name}: systemd took {_PROPERTY[control]}, but {control} is "
                    f"{cgroup.text(str(control))!r}"
                )

    def close(self) -> None:
        """Stop after the call at hand, waited for at most a moment; limits stay as they are."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_STOP_WAIT_S)

    def _note(self, path: Path, values: Mapping[Control, float]) -> None:
        """Remember what is written: whoever finds it in the file must know whose it is."""
        with self._changed:
            for control, value in values.items():
                of_file = self._written.setdefault(control, {})
                of_file.setdefault(path, set()).add(held_in_kernel(control, value))

    def _run(self) -> None:
        while (offer := self._next()) is not None:
            try:
                self._carry_out(offer)
                problem = ""
            except CgroupGoneError:
                problem = ""
            except (LimitRejectedError, OSError, ValueError) as error:
                problem = str(error)
                log.warning("a unit's limits are not set", problem=problem)
            with self._changed:
                self._problems.pop(offer.path, None)
                if problem:
                    self._problems[offer.path] = problem, time.monotonic() + _CALM_S

    def _carry_out(self, offer: _Offer) -> None:
        with TenantCgroup(offer.path) as cgroup:
            if cgroup.cgroup_id != offer.cgroup_id:
                return
            values = {
                control: value
                for control, value in offer.values.items()
                if not _is_held(cgroup, control, value)
            }
            if values:
                self.put(cgroup, values)

    def _next(self) -> _Offer | None:
        with self._changed:
            while not self._is_closed:
                now_s = time.monotonic()
                self._offers = {p: o for p, o in self._offers.items() if o.until_s > now_s}
                if self._offers:
                    return self._offers.pop(next(iter(self._offers)))
                self._changed.wait()
            return None


def _with_weight(cgroup: TenantCgroup, values: Mapping[Control, float]) -> Mapping[Control, float]:
    """Add the weight that a unit has to a quota.

    Without a weight of its own a unit whose quota is none needs no cpu controller for systemd: it
    writes nothing then, and where no unit beside it needs one there is no file to be written.
    """
    if Control.CPU_MAX not in values or Control.CPU_WEIGHT in values:
        return values
    weight = cgroup.cpu_weight if cgroup.has(Control.CPU_WEIGHT) else DEFAULT_WEIGHT
    return {**values, Control.CPU_WEIGHT: weight}


def _is_held(cgroup: TenantCgroup, control: Control, value: float) -> bool:
    if not cgroup.has(control):
        return False
    return limits.is_kept(control, value, cgroup.limit(control), page_bytes=PAGE_BYTES)


def held_in_kernel(control: Control, value: float) -> float:
    """Return what the kernel makes of a value: whole pages."""
    if control in (Control.MEMORY_HIGH, Control.MEMORY_LOW) and math.isfinite(value):
        return value // PAGE_BYTES * PAGE_BYTES
    return limits.parse(control, limits.text(control, value))


def persistent_settings(unit: str, folder: Path = PERSISTENT) -> list[str]:
    """Return what `systemctl set-property` without --runtime has set of a unit, that we set too.

    It outranks what is set at runtime, whenever systemd loads the unit anew.
    """
    found = []
    for path in sorted((folder / f"{unit}.d").glob("*.conf")):
        with suppress(OSError, UnicodeDecodeError):
            lines = path.read_text().splitlines()
            keys = {line.partition("=")[0].strip() for line in lines}
            found += [f"{path} ({name}=)" for name in _SETTING.values() if name in keys]
    return found


def _amount(control: Control, value: float) -> int:
    if math.isinf(value):
        return _INFINITY
    return round(value * _US_PER_S) if control is Control.CPU_MAX else int(value)
