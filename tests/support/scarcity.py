"""A process that has run out of something: of descriptors, or of room for a thread."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

OPEN_FILES_MAX = 256
_STACK_BYTES = 1 << 46  # half of a process's address space


@contextmanager
def few_descriptors(left: int = OPEN_FILES_MAX) -> Iterator[None]:
    """Let this process open at most `OPEN_FILES_MAX` files, and `left` of them from here on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, hard))
    try:
        with suppress(OSError):  # the one that says that none is left
            while left < OPEN_FILES_MAX:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for fd in taken[:left]:
            os.close(fd)
        del taken[:left]
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Let no thread be started: there is no room for its stack, so the kernel refuses."""
    before = threading.stack_size(_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)
