"""Times code for benchmarks: medians of many rounds, and the memory of this process."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20


def median_ms(act: Callable[[], object], rounds: int, *, is_wall: bool = False) -> float:
    """Return the median CPU time of a call in milliseconds, or its wall time.

    User Mode Linux counts CPU time in steps of 10 ms: there only wall time is fine enough.
    """
    clock = time.perf_counter if is_wall else time.process_time
    act()  # warms up
    taken_s = []
    for _ in range(rounds):
        began_s = clock()
        act()
        taken_s.append(clock() - began_s)
    return statistics.median(taken_s) * 1e3


def memory_mib(key: str) -> float:
    """Return VmRSS or VmHWM (its peak since this program began) of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) / 1024
    raise ValueError(f"no {key} in /proc/self/status")


def unreclaimable_slab_bytes() -> int:
    """Return the kernel memory that open files and the like hold on this host."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    line = next(line for line in lines if line.startswith("SUnreclaim:"))
    return int(line.split()[1]) * 1024


def progress(text: str) -> None:
    """Say what is being measured now."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
