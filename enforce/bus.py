"""Talks to systemd over D-Bus: sets properties of units at runtime, and calls its manager.

What may be asked of it, and when, is none of its business: see `enforce.units`.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from enforce.columns import UnitControl
from enforce.unit_values import properties

# At most so many calls a second: each costs PID 1 some milliseconds.
_BETWEEN_CALLS_S = 0.1
_CALL_LIMIT_S = 3.0
# After a call that got no answer none is tried for so long: a release must not wait for each.
_DOWN_S = 10.0
_UNANSWERED = (OSError, EOFError, ValueError)  # TimeoutError is an OSError


class BusError(Exception):
    """systemd did not do what it was asked for."""


class RefusedError(BusError):
    """It answered that it will not: there is no such unit, say."""


class Bus:
    """One connection to the system's bus, opened when it is needed; one call at a time."""

    def __init__(self, *, between_calls_s: float = _BETWEEN_CALLS_S) -> None:
        self._lock, self._between_calls_s = threading.Lock(), between_calls_s
        self._connection: Any = None
        self._next_s = self._down_until_s = 0.0

    def set(self, unit: str, values: Mapping[UnitControl, float]) -> None:
        """Have systemd set these of a unit until the next boot; waits its turn.

        Raises:
            BusError: It cannot be asked, it does not answer in time, or it refuses.
            LimitRejectedError: It has no way to limit one of the disks.

        """
        self.rest()
        with self._lock:
            if time.monotonic() < self._down_until_s:
                raise BusError(f"{unit}: systemd gave no answer over D-Bus a moment ago")
            try:
                self._called(unit, values)
            finally:
                self._next_s = time.monotonic() + self._between_calls_s

    def rest(self) -> None:
        """Wait until the next call may be made."""
        time.sleep(max(self._next_s - time.monotonic(), 0.0))  # noqa: TID251 - in no tick

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _called(self, unit: str, values: Mapping[UnitControl, float]) -> None:
        wanted = properties(values)
        try:
            if self._connection is None:
                self._connection = _opened()
            _call(self._connection, "SetUnitProperties", "sba(sv)", (unit, True, wanted))
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
    try:
        from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

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
