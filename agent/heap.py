"""Has the C library give memory back that is free.

By itself glibc keeps blocks as large as the largest that was ever freed, up to 32 MiB, for the
next of that size: with the columns of 10,000 tenants a fifth of the agent's memory.
"""

import ctypes
from contextlib import suppress

# Their numbers in malloc.h, see mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Columns stay on the heap, which is faster.  Tables of quantiles do not: among columns, which live
# longer, they left holes of which 10,000 tenants' ticks made a tenth of the agent's memory.
_LARGE_BYTES = 1 << 20


def give_back_large_blocks() -> None:
    """Keep no free block of that size; on another C library nothing is changed."""
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BYTES)
