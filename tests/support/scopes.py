"""What the scope of a container or a virtual machine is held to, and what it uses meanwhile."""

import time
from pathlib import Path

from tenants import wait_until

FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low", "memory.max")
MEASURED_S = 4.0


def files(scope: Path) -> dict[str, str]:
    return {name: (scope / name).read_text().strip() for name in FILES}


def used_cores(scope: Path) -> float:
    """Return what one that is held uses of the CPU, over whole periods of its quota."""
    before_s, began_at_s = _used_at_a_period(scope)
    time.sleep(MEASURED_S)
    after_s, ended_at_s = _used_at_a_period(scope)
    return (after_s - before_s) / (ended_at_s - began_at_s)


def _used_at_a_period(scope: Path) -> tuple[float, float]:
    """Return what it has used by the start of a period, and when that was."""

    def counters() -> dict[str, str]:
        return dict(map(str.split, (scope / "cpu.stat").read_text().splitlines()))

    periods = counters()["nr_periods"]
    wait_until(lambda: counters()["nr_periods"] != periods)
    return int(counters()["usage_usec"]) / 1e6, time.monotonic()
