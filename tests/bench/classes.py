"""What it costs to plan and make changes of HTB classes: classes.py RESULT CLASSES.

To be run in a network namespace of its own (unshare --net), where it lays a link.
"""

import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from planned import turned
from timing import progress

from enforce.columns import Changes, ClassControl
from enforce.links.classes import INNER, MAJOR, Update
from enforce.links.netlink import ClassSocket
from enforce.links.tree import Tree
from enforce.links.uplink import ifindex_of

CAPACITY = 1.25e9
ROUNDS = 20
CEIL = ClassControl("bench0", "out", "ceil")


def set_up(count: int) -> tuple[ClassSocket, Tree, int, float]:
    """Lay a link with an HTB and as many classes; return how long making them took, too."""
    for command in (
        "ip link add bench0 type veth peer name bench1",
        f"tc qdisc add dev bench0 root handle {MAJOR:x}: htb default 2",
    ):
        subprocess.run(command.split(), check=True)
    netlink, ifindex = ClassSocket(), ifindex_of("bench0")
    inner = Update(np.array([INNER]), np.array([CAPACITY]), np.array([CAPACITY]))
    netlink.set_classes(ifindex, inner, parent=0)
    tree = Tree(netlink, CAPACITY, np.arange(0x10, 0x10 + count))
    began_s = time.perf_counter()
    is_missing = True
    while is_missing:
        found = tree.complete(ifindex, netlink.classes(ifindex), np.ones(count, np.bool_))
        is_missing = bool(np.isnan(found.rate).any())
    return netlink, tree, ifindex, time.perf_counter() - began_s


def measured(count: int) -> dict[str, float]:
    """Return milliseconds of wall time, and of CPU time."""
    progress(f"changing {count} tc classes")
    netlink, tree, ifindex, made_s = set_up(count)
    split = np.where(np.arange(count) % 2, 0.5, 1.5) * CAPACITY / count
    split = np.floor(split * CAPACITY / split.sum())
    write = partial(tree.write, ifindex, CEIL)
    in_force = write(Changes(CEIL, np.arange(count), split, split)).kept
    times_s, dumps_s, dumps_cpu_s = [], [], []
    for number in range(ROUNDS):
        wanted = split[::-1] if number % 2 == 0 else split
        began_s = time.perf_counter()
        in_force = turned(CEIL, write, in_force, wanted, CAPACITY)
        times_s.append(time.perf_counter() - began_s)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        netlink.classes(ifindex)
        dumps_s.append(time.perf_counter() - began_s)
        dumps_cpu_s.append(time.process_time() - began_cpu_s)
    return {
        "classes": count,
        "made_ms": 1e3 * made_s,
        "changes_ms": 1e3 * statistics.median(times_s),
        "dump_ms": 1e3 * statistics.median(dumps_s),
        "dump_cpu_ms": 1e3 * statistics.median(dumps_cpu_s),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(measured(int(sys.argv[2]))))
