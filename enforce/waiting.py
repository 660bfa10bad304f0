"""Who may be waiting for a CPU behind others, where throttling tells nothing: whom to ask.

The kernel's pressure stall information is a file of each cgroup; to read all of them each tick
would cost more than all else that is read of cpu.
"""

import numpy as np

from enforce.closeness import in_pairs
from enforce.columns import Floats
from enforce.counters import stalled_us
from enforce.descriptors import read_once

_HOST = "/proc/pressure/cpu"
# Of an interval: where no task waited for a CPU that long, or a tenant used less, it is not asked.
_SHORT, _BUSY = 0.05, 0.01
# So many are asked in one read, or this part of very many.
_MOST, _PARTS = 64, 20


class CpuWaits:
    """Remembers of the last read what the host had waited by then, and tenants used."""

    def __init__(self, tenants: int) -> None:
        """Begin with nothing known: for the first read nobody is asked."""
        self._most, self._reads = max(_MOST, tenants // _PARTS), 0
        self._waited_us = self._at_s = np.nan
        self._used_us = np.full(tenants, np.nan)

    def who(self, used_us: Floats, taken_at_s: float) -> list[int]:
        """Return who used CPU while some task of the host's waited, in turns where many did.

        The idle cost nothing, and a host that is not short of CPU one read.  Each turn is two reads
        long: how long one waited is the difference of two.
        """
        waited_us = float(stalled_us([read_once(_HOST, 256)], b"some")[0])
        elapsed_us = (taken_at_s - self._at_s) * 1e6
        is_short = waited_us - self._waited_us >= _SHORT * elapsed_us
        with np.errstate(invalid="ignore"):
            is_busy = used_us - self._used_us >= _BUSY * elapsed_us
        self._waited_us, self._at_s, self._used_us = waited_us, taken_at_s, used_us.copy()
        self._reads += 1
        if not is_short:
            return []
        busy = in_pairs(np.flatnonzero(is_busy), most=self._most, tick=self._reads)
        return [int(position) for position in busy]
