"""Signals as flags that the daemon looks at between ticks, and what wakes it when one arrives."""

import os
import select
import signal
from contextlib import suppress
from types import FrameType


class Signals:
    """Signals as flags, and a descriptor that wakes the timer when one arrives."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self.wake_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def install(self) -> None:
        """Take over SIGTERM, SIGINT and SIGHUP."""
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def wake(self) -> None:
        """End a wait, from any thread."""
        with suppress(BlockingIOError):  # so full that it wakes anyway
            os.write(self._write_fd, b"\0")

    def wait(self, timeout_s: float) -> None:
        """Sleep until a signal or `wake` comes, or the time is over."""
        if select.select([self.wake_fd], [], [], timeout_s)[0]:
            os.read(self.wake_fd, 4096)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop = True

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
