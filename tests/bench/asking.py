"""Measures how often systemd can be asked to set a unit's limits: asking.py RESULT_FILE UNITS.

In the lab with systemd, by the agent's own way: SetUnitProperties over D-Bus, the kernel's files
read after each call.  Only the agent's own limit of calls a second is left out.
"""

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

from timing import progress

from enforce.bus import Bus
from enforce.cgroup import TenantCgroup
from enforce.columns import Control, UnitControl
from enforce.places import unit_cgroups
from enforce.units import UnitWriter

TURNS = 5
MIB = 1 << 20
TEMPLATE = "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n"
VALUES: tuple[dict[UnitControl, float], ...] = (
    {Control.CPU_MAX: 0.5, Control.MEMORY_HIGH: 512.0 * MIB},
    {Control.CPU_MAX: 0.25, Control.MEMORY_HIGH: 256.0 * MIB},
)


def started(count: int) -> list[Path]:
    """Start services that do nothing; return their cgroups."""
    Path("/run/systemd/system/bench@.service").write_text(TEMPLATE)
    names = [f"bench@{number}.service" for number in range(count)]
    subprocess.run(["systemctl", "start", *names], check=True)
    return list(unit_cgroups(names).values())


def measured(paths: list[Path]) -> list[float]:
    """Return how long each call took, in seconds: one a unit and turn."""
    taken_s = []
    with ExitStack() as stack:
        bus = stack.enter_context(closing(Bus(between_calls_s=0.0)))
        writer = stack.enter_context(closing(UnitWriter(bus)))
        cgroups = [stack.enter_context(TenantCgroup(path)) for path in paths]
        for turn in range(TURNS):
            for cgroup in cgroups:
                began_s = time.perf_counter()
                writer.put(cgroup, VALUES[turn % 2])
                taken_s.append(time.perf_counter() - began_s)
    return taken_s[len(paths) :]  # the first turn opens the connection, and files of controllers


def main() -> None:
    """Ask of so many units in turn, and write the result."""
    progress(f"asking systemd about {sys.argv[2]} units")
    paths = started(int(sys.argv[2]))
    taken_s = measured(paths)
    said = {
        "units": len(paths),
        "call_ms": 1e3 * statistics.median(taken_s),
        "calls_per_s": len(taken_s) / sum(taken_s),
    }
    Path(sys.argv[1]).write_text(json.dumps(said))


if __name__ == "__main__":
    main()
