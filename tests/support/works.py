"""Pieces of work that another process can be given."""

import os
import signal
from collections.abc import Callable

from agent.child import Child
from agent.forecaster import COMMAND


def squared(item: int, tell: Callable[[int], None]) -> int:
    """Return the square, and tell of as many steps as the item says."""
    tell(item)
    return item * item


def refused(item: int, _tell: Callable[[int], None]) -> int:
    """Refuse the third item."""
    if item == 3:
        raise ValueError("not three")
    return item


def killed(_item: int, _tell: Callable[[int], None]) -> int:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def held_up(item: str, _tell: Callable[[int], None]) -> None:
    """Fail at once, or work for ever with a forecaster, as a replay that takes long."""
    if item == "fails":
        raise ValueError("fails")
    child = Child(COMMAND)
    while not list(child.received()):
        child.wait_for_pipes(1.0)
    print(os.getpid(), flush=True)  # noqa: T201 - who waits for this is another process
    while True:
        signal.pause()
