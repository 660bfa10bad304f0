"""Reads how the host itself does: memory that is left, and pressure stall information."""

import re
from pathlib import Path

import psutil

from enforce.columns import Vitals

_PRESSURE = Path("/proc/pressure")
_AVERAGE = re.compile(r"avg10=(\d+\.\d+)", re.ASCII)


def read_vitals(pressure: Path = _PRESSURE) -> Vitals:
    """Return the host's vital signs; what this kernel does not tell is NaN."""
    memory, cpu = psutil.virtual_memory(), psutil.cpu_times()
    idle_s = cpu.idle + cpu.iowait
    return Vitals(
        memory_total_bytes=float(memory.total),
        memory_available_bytes=float(memory.available),
        cpu_some_pct=_average_pct(pressure / "cpu", "some"),
        memory_full_pct=_average_pct(pressure / "memory", "full"),
        io_full_pct=_average_pct(pressure / "io", "full"),
        cpu_passed_s=cpu.user + cpu.nice + cpu.system + cpu.irq + cpu.softirq + cpu.steal + idle_s,
        cpu_idle_s=idle_s,
    )


def _average_pct(path: Path, kind: str) -> float:
    """Return one line's average over ten seconds; a kernel may refuse to read (psi=0)."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return float("nan")
    for line in lines:
        match = _AVERAGE.search(line)
        if match is not None and line.startswith(f"{kind} "):
            return float(match[1])
    return float("nan")
