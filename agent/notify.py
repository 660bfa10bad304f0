"""Messages to systemd over its notification socket (sd_notify(3)), without a library for it.

Nothing here waits: without systemd, or when its queue is full, a message is dropped.
"""

import os
import socket
import time
from collections.abc import Mapping

_US_PER_S = 1_000_000
_MAX_STATUS = 1000  # characters; a message too large for its socket is lost whole, READY=1 too


class Notifier:
    """Tells systemd how the agent is doing; `watchdog_s` is how often it wants to hear of it."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """Return the notifier that systemd asks for, or one that says nothing."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        period_us = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        is_ours = pid in ("", str(os.getpid()))
        is_wanted = is_ours and period_us.isdigit() and int(period_us) > 0
        return cls(address, int(period_us) / _US_PER_S if is_wanted else None)

    def ready(self, status: str = "") -> None:
        """Say that start-up or a reload is over."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """Say that a reload has begun; the time lets systemd match it with its request."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def watchdog(self) -> None:
        """Say that the agent is alive, if systemd watches it."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def status(self, status: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(*_status(status))

    def stopping(self) -> None:
        """Say that the agent is about to end."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), address)
            except OSError:
                return


def _status(status: str) -> tuple[str, ...]:
    line = " ".join(status.split())[:_MAX_STATUS]
    return (f"STATUS={line}",) if line else ()
