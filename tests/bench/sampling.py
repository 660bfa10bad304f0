"""Measures sampling of N cgroups against a C program that preads the same files.

    sampling.py MOUNT PREAD_PROGRAM RESULT_FILE N...

The two take turns, so that both meet the same neighbours.  Makes cgroups of its own below MOUNT and
removes them.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rivals import Round, rival
from scratch import cgroups
from timing import median_ms, progress, unreclaimable_slab_bytes

from enforce.descriptors import raise_open_files_limit
from enforce.sampler import LIMITS_EVERY, Sampler

EACH_TICK = ("cpu.stat", "memory.current", "io.stat", "cpu.max", "memory.high")
IN_TURN = ("memory.stat", "cgroup.events")
LIMITS = ("cpu.weight", "memory.low", "memory.max")
SLOW_EVERY = 10
ROUNDS = {100: 201, 1_000: 51, 10_000: 9}
SYSTEM_CALLS = 2_000


def files_of_a_tick(root: Path, names: list[str]) -> list[Path]:
    """Return the files that one read of the sampler touches, event counters at rest."""
    each = [root / name / file for file in EACH_TICK for name in names]
    turn = [root / name / file for file in IN_TURN for name in names[::SLOW_EVERY]]
    seldom = names[:: SLOW_EVERY * LIMITS_EVERY]
    limits = [root / name / file for file in LIMITS for name in seldom]
    return [path for path in (*each, *turn, *limits) if path.exists()]


def measured(mount: Path, program: Path, count: int, *, is_wall: bool) -> dict[str, float]:
    """Return the cost of one read of `count` tenants, ours and C's, in milliseconds."""
    with TemporaryDirectory() as folder, cgroups(mount, count) as (root, names):
        raise_open_files_limit(64 * 1024)
        paths = files_of_a_tick(root, names)
        before_bytes = unreclaimable_slab_bytes()
        sampler = Sampler(root, names, slow_every=SLOW_EVERY)
        sampler.read(time.monotonic())
        kernel_bytes = unreclaimable_slab_bytes() - before_bytes
        with rival(program, Path(folder) / "paths", map(str, paths)) as others:
            ours_ms, c_ms = compared(sampler, others, count, is_wall=is_wall)
        sampler.close()
    return {
        "tenants": count,
        "reads": len(paths),
        "sample_ms": ours_ms,
        "c_ms": c_ms,
        "ratio": ours_ms / c_ms,
        "kernel_bytes_per_tenant": kernel_bytes / count,
    }


def compared(sampler: Sampler, others: Round, count: int, *, is_wall: bool) -> tuple[float, float]:
    """Return the medians of both, in milliseconds, once both are warm."""
    clock, place = (time.perf_counter, 1) if is_wall else (time.process_time, 0)
    ours_s, c_us = [], []
    for _ in range(ROUNDS.get(count, 21) + 1):
        began_s = clock()
        sampler.read(time.monotonic())
        ours_s.append(clock() - began_s)
        c_us.append(others()[place])
    return 1e3 * statistics.median(ours_s[1:]), statistics.median(c_us[1:]) / 1e3


def system_call_us(*, is_wall: bool) -> float:
    """Return what one system call that does nothing costs from Python."""

    def call_many() -> None:
        for _ in range(SYSTEM_CALLS):
            os.getppid()

    return median_ms(call_many, 21, is_wall=is_wall) * 1e3 / SYSTEM_CALLS


def main() -> None:
    """Measure every size and write the result."""
    mount, program, result = (Path(argument) for argument in sys.argv[1:4])
    is_wall = os.environ.get("LAB_KERNEL") == "uml"
    rows = []
    for count in map(int, sys.argv[4:]):
        progress(f"sampling {count} tenants below {mount}")
        rows.append(measured(mount, program, count, is_wall=is_wall))
    said = {"system_call_us": system_call_us(is_wall=is_wall), "is_wall": is_wall, "rows": rows}
    result.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
