"""What a tenant cannot give back, whatever memory.high says (safety rule 4).  Pure."""

import numpy as np

from enforce.columns import Floats

# Kernel memory charged to the tenant that reclaim cannot free.  The last four are not in every
# kernel, and zero for nearly every tenant; left out, a tenant full of BPF maps would be frozen.
_KERNEL_KEYS = (
    b"slab_unreclaimable",
    b"kernel_stack",
    b"pagetables",
    b"sock",
    b"sec_pagetables",
    b"percpu",
    b"vmalloc",
    b"zswap",
)
STAT_KEYS = (b"anon", b"shmem", b"inactive_anon", b"active_anon", b"unevictable", *_KERNEL_KEYS)


def unreclaimable_bytes(stat: Floats, swap_room_bytes: Floats | float) -> Floats:
    """Return what reclaim cannot free of each tenant, in bytes, shape (tenants,).

        (anon + shmem - locked - swap room)+ + unevictable + kernel memory

    `stat` holds memory.stat's values of `STAT_KEYS`, shape (tenants, keys).  tmpfs is shmem, which
    the kernel counts as `file`.  Locked anon and shmem are in `unevictable` too: what is missing of
    anon + shmem on the anon lists is that part, and is counted once.
    """
    anon, shmem, inactive_anon, active_anon, unevictable = stat[:, :5].T
    swap_backed = anon + shmem
    unlisted = np.maximum(swap_backed - inactive_anon - active_anon, 0.0)
    locked = np.minimum(unlisted, unevictable)
    stuck = np.maximum(swap_backed - locked - swap_room_bytes, 0.0)
    kernel = np.fmax(stat[:, 5:], 0.0).sum(axis=1)  # of a NaN 0
    held: Floats = stuck + unevictable + kernel
    return held
