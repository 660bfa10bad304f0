"""A process that has run out of something: here, of descriptors."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

OPEN_FILES_MAX = 256


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
