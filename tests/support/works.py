"""Pieces of work that another process can be given."""

import os
import signal
from collections.abc import Callable


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
