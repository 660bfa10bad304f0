"""Measures whole ticks of the agent with every counter of N tenants: ticking.py RESULT_FILE N...

In the lab, whose kernel has all of them: cpu, memory, a disk, and the network both ways, with
their limits, the programs that count packets, and the checkpoint.  Nobody does anything, so that
nothing changes; forecasts are good.  Times are of the wall: the lab's system calls are slow.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from stopwatch import Stopwatch
from timing import progress
from worlds import UPLINK, Ready, World, config_of, watch_parts

from agent.daemon import Daemon
from agent.plan import Pace
from agent.record import TickRecord
from agent.settings import Config, HostSettings, Periods, UplinkSettings
from enforce.links.programs import BPFFS, is_bpffs
from enforce.links.reader import LATE, UplinkReader
from enforce.links.saved import NAME as UPLINKS_NAME
from enforce.links.saved import give_back
from enforce.links.uplink import ifindex_of
from enforce.made import remove_made_by_us
from forecast.fallback import fallback_profile

ROUNDS = {100: 21, 1_000: 11, 10_000: 5}
MOUNT = Path("/sys/fs/cgroup")
PAST_STEPS = 6


def config(count: int, root: Path, folder: Path) -> Config:
    """Return a host of `count` tenants that divides everything, and whose steps do not end."""
    return replace(
        config_of(count, disk=Path(os.environ["LAB_DISK"]).name),
        host=HostSettings(cgroup_root=root, state_dir=folder, runtime_dir=folder),
        periods=Periods(step_s=86_400.0, horizon_s=259_200.0, learning_s=0.0, most_cpu_cores=1.0),
        uplinks={UPLINK: UplinkSettings()},
        pace=Pace(ramp_down_fraction_per_s=1.0),  # limits are where they go at once
    )


def lay_link() -> None:
    """Lay the uplink, and mount what pins programs, where they are not there."""
    if not is_bpffs(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], check=True)
    if not ifindex_of(UPLINK):
        laid = f"ip link add {UPLINK} type veth peer name peer0"
        subprocess.run(laid.split(), check=True)
        subprocess.run(f"ip link set {UPLINK} up".split(), check=True)


def ready(count: int) -> Ready:
    """Return a forecaster that expects something of everything."""
    world = World(count, has_rates=True)
    past = np.stack([world.usage() for _ in range(PAST_STEPS)])
    return Ready(fallback_profile(past, step=0))


@contextmanager
def running(count: int) -> Iterator[Daemon]:
    """Start an agent and let it settle: cgroups and classes are made, and limits written."""
    root = MOUNT / f"tidegate-bench-{count}"
    with TemporaryDirectory(dir="/run") as name:
        said = config(count, root, Path(name))
        with closing(Daemon(said, lambda _: said, lambda: said.machine)) as daemon:
            daemon._forecaster.close()
            daemon._loop._forecaster = ready(count)  # type: ignore[assignment]
            settle(daemon)
            yield daemon
        give_back(Path(name) / UPLINKS_NAME)
        remove_made_by_us(root)
        root.rmdir()


def settle(daemon: Daemon) -> None:
    """Make all classes, some at each read, and tick until nothing changes."""
    record, n_changes = ticked(daemon), 1
    network = record.sample.network
    while n_classless := int(np.isnan(network.in_ceil).sum()):
        progress(f"settling: {n_classless} classes to be made or read")
        time.sleep(0.5)  # a reading may be late
        network = uplinks_of(daemon).read(record.sample.cgroup_id)
    while n_changes or LATE in record.problems:
        record = ticked(daemon)
        n_changes = int(sum(map(len, record.changes)))
        progress(f"settling: {n_changes} limits written")


def uplinks_of(daemon: Daemon) -> UplinkReader:
    """Return what reads and writes classes."""
    found: UplinkReader = daemon._kernel.sampler._uplinks  # type: ignore[attr-defined]
    return found


def ticked(daemon: Daemon) -> TickRecord:
    """Run one tick, now, and return its record."""
    daemon.tick(time.monotonic(), 0)
    if daemon.record is None or daemon.failed_ticks:
        raise SystemExit("a tick failed")
    return daemon.record


def parts_ms(daemon: Daemon, rounds: int) -> dict[str, float]:
    """Return the time that each part of a tick takes."""
    watch, kernel = Stopwatch(time.perf_counter), daemon._kernel
    watch.wrap("network", uplinks_of(daemon), "read")  # what a tick waits for
    watch.wrap("sample", kernel.sampler, "read")
    watch.wrap("write", kernel.applier, "apply", "protect_root", "written_beside")
    watch_parts(watch, daemon._loop)
    watch.wrap("checkpoint", daemon._kept, "checkpoint")
    watch.wrap("rest", daemon, "tick")
    for _ in range(rounds):
        ticked(daemon)
        watch.lap()
    return watch.medians_ms()


def measured(count: int) -> dict[str, object]:
    """Measure an agent of so many tenants."""
    progress(f"whole ticks of {count} tenants")
    with running(count) as daemon:
        parts = parts_ms(daemon, ROUNDS.get(count, 11))
    return {"tenants": count, "tick_ms": sum(parts.values()), "parts_ms": parts}


def main() -> None:
    """Measure every size and write the result."""
    lay_link()
    rows = [measured(int(count)) for count in sys.argv[2:]]
    Path(sys.argv[1]).write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
