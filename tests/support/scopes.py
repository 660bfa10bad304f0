"""What the scope of a container or a virtual machine is held to, and what it uses meanwhile."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from agents import quota_cores
from elapsed import rested, undisturbed

MOUNT = Path("/sys/fs/cgroup")
ROOT = MOUNT / "tidegate.slice/tidegate-tenants.service"
SLICE = MOUNT / "machine.slice"
AT_ONCE = "[pace]\nramp_down_fraction_per_s = 1.0\n"
CEILING_CORES, TOLERANCE, TICK_S = 0.4, 0.03, 0.2
FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low", "memory.max")
MEASURED_S, PERIOD_S, LIMIT_S = 4.0, 0.1, 20.0


def told(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Return what an engine's command answers; it must succeed."""
    done = subprocess.run(argv, check=False, timeout=60, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def is_at_its_ceiling(scope: Path) -> bool:
    return quota_cores(scope) == pytest.approx(CEILING_CORES)


def files(scope: Path) -> dict[str, str]:
    return {name: (scope / name).read_text().strip() for name in FILES}


def used_cores(scope: Path) -> float:
    """Return what one that is held uses of the CPU, over whole periods of its quota."""

    def measured() -> tuple[float, bool]:
        before_s, began_at_s = _used_at_a_period(scope)
        is_calm = rested(MEASURED_S)
        after_s, ended_at_s = _used_at_a_period(scope)
        return (after_s - before_s) / (ended_at_s - began_at_s), is_calm

    return undisturbed(measured)


def _used_at_a_period(scope: Path) -> tuple[float, float]:
    """Return what it has used by the start of a period, and when that was."""

    def counters() -> dict[str, str]:
        return dict(map(str.split, (scope / "cpu.stat").read_text().splitlines()))

    ends_at_s = time.monotonic() + LIMIT_S
    last, looked_s = counters(), time.monotonic()
    while looked_s < ends_at_s:
        time.sleep(0.01)
        now, now_s = counters(), time.monotonic()
        # Looks that are far apart, one of which was held up, do not say when the period began.
        if now["nr_periods"] != last["nr_periods"] and now_s - looked_s < PERIOD_S / 2:
            return int(now["usage_usec"]) / 1e6, now_s
        last, looked_s = now, now_s
    raise AssertionError("no period of its quota has begun")
