"""Measures planning and writing a change of every tenant's limits against a C program.

    writing.py ROOT WRITE_PROGRAM RESULT_FILE N

In the lab, which has all control files.  The C program makes as many changes: it reads what a write
must not be made without (safety rule 4), opens the control file, writes it, reads it back.  The two
take turns, so that both meet the same neighbours.  Makes cgroups of its own below ROOT and removes
them.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from planned import turned, turned_sideways
from rivals import Round, rival
from scratch import cgroups
from timing import progress

from enforce.apply import Applier
from enforce.cgroup import disk_file
from enforce.columns import AnyControl, Control, DiskControl, Floats
from enforce.disks import disk_number
from enforce.limits import text
from enforce.originals import Originals
from enforce.sampler import Sampler

ROUNDS = 15
MIB = 1 << 20
LIMITS = (Control.CPU_MAX, Control.MEMORY_HIGH)
READ_BEFORE = {Control.MEMORY_HIGH: ("/proc/meminfo", "memory.stat", "memory.current")}


def amounts(disk: str) -> dict[AnyControl, float]:
    """Return what a tenant has of each control on average."""
    return {
        Control.CPU_MAX: 0.04,
        Control.MEMORY_HIGH: 256 * MIB,
        Control.CPU_WEIGHT: 100.0,
        Control.MEMORY_LOW: 128 * MIB,
        DiskControl(disk, "rbps"): 64 * MIB,
    }


def split(control: AnyControl, amount: float, count: int) -> Floats:
    """Return a half more of it for every other tenant, a half less for those between."""
    parts = np.where(np.arange(count) % 2, 0.5, 1.5) * amount
    return parts if control is Control.CPU_MAX else np.floor(parts)


def acts(control: AnyControl, root: Path, names: list[str], values: Floats) -> Iterator[str]:
    """Yield what the C program is to read and to write."""
    before = READ_BEFORE.get(control, ()) if isinstance(control, Control) else ()
    for name, value in zip(names, values.tolist(), strict=True):
        yield from (f"r {root / name / file}" for file in before)
        file, said = str(control), text(control, value)
        if isinstance(control, DiskControl):
            disk = disk_number(control.disk) or (0, 0)
            file, _, number = disk_file(disk).partition(" ")
            said = f"{number} {control.number}={said}"
        yield f"w {root / name / file}\t{said}"


class Bench:
    """The agent's own way of writing limits of tenants, as a tick goes it."""

    def __init__(self, root: Path, names: list[str], folder: Path, disk: str) -> None:
        self._sampler = Sampler(root, names, disks=(disk,))
        originals = Originals(folder / "originals.json")
        self._applier = Applier(root, names, originals, memory_margin_bytes=16 * MIB)
        self._applier.touched = self._sampler.touched
        self._applier.opened = self._sampler.opened

    def close(self) -> None:
        """Let go of all cgroups."""
        self._applier.close()
        self._sampler.close()

    def taken_s(self, control: AnyControl, before: Floats, wanted: Floats) -> float:
        """Return the time of planning and writing that change, once all is sampled."""
        self._sampler.read(0.0)
        self._applier.written_beside()
        began_s = time.perf_counter()
        if isinstance(control, Control) and control not in LIMITS:
            turned_sideways(control, self._applier.apply, before, wanted)
        else:
            turned(control, self._applier.apply, before, wanted, float(before.sum()))
        return time.perf_counter() - began_s


def compared(bench: Bench, others: Round, control: AnyControl, wanted: Floats) -> dict[str, object]:
    """Return the medians of both, of a change of every tenant in milliseconds."""
    ours_s, c_us = [], []
    for _ in range(ROUNDS + 1):
        ours_s.append(bench.taken_s(control, wanted[::-1], wanted))
        c_us += others()
    ours_ms, c_ms = 1e3 * statistics.median(ours_s[1:]), statistics.median(c_us[1:]) / 1e3
    return {"control": str(control), "ours_ms": ours_ms, "c_ms": c_ms, "ratio": ours_ms / c_ms}


def measured(
    root: Path, names: list[str], program: Path, folder: Path
) -> Iterator[dict[str, object]]:
    """Yield what changing each control of every tenant costs; the C program changes it back."""
    disk = Path(os.environ["LAB_DISK"]).name
    with closing(Bench(root, names, folder, disk)) as bench:
        for control, amount in amounts(disk).items():
            progress(f"writing {control} of {len(names)} tenants")
            wanted = split(control, amount, len(names))
            todo = acts(control, root, names, wanted[::-1])
            with rival(program, folder / "acts", todo) as others:
                yield compared(bench, others, control, wanted)


def main() -> None:
    """Measure every control of so many tenants, and write the result."""
    mount, program, result = (Path(argument) for argument in sys.argv[1:4])
    with TemporaryDirectory() as folder, cgroups(mount, int(sys.argv[4])) as (root, names):
        rows = list(measured(root, names, program, Path(folder)))
    result.write_text(json.dumps({"tenants": len(names), "rows": rows}))


if __name__ == "__main__":
    main()
