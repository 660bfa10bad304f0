"""A shaper of two tenants on one link, and what reads and writes through it."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from traffic import LINK, MBIT, NAMES

from enforce.columns import Changes, ClassControl, NetColumns, Outcomes
from enforce.links.netlink import ClassSocket
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink, ifb_name, ifindex_of

CAPACITY = 4_000 * MBIT


@dataclass
class Bench:
    """A shaper and what reads and writes through it."""

    root: Path
    record: Path
    shaper: Shaper
    uplink: str = LINK

    def ids(self) -> np.ndarray:
        paths = [self.root / name for name in NAMES]
        return np.array([p.stat().st_ino if p.exists() else 0 for p in paths], dtype=np.int64)

    def read(self) -> NetColumns:
        return self.shaper.read(self.ids())

    def set(self, way: str, number: str, *values: float) -> Outcomes:
        control = ClassControl(self.uplink, way, number)  # type: ignore[arg-type]
        at, nothing = np.arange(len(values)), np.full(len(values), np.nan)
        return self.shaper.apply(Changes(control, at, nothing, np.array(values)))


def started(
    root: Path,
    record: Path,
    *,
    may_replace: bool = False,
    limited: bool = True,
    uplink: str = LINK,
) -> Bench:
    its = Uplink(uplink, CAPACITY, CAPACITY, may_replace_qdisc=may_replace)
    shaper = Shaper(root, NAMES, [its], is_limited=[limited] * len(NAMES), record=record)
    return Bench(root, record, shaper, uplink)


@contextmanager
def member_of(cgroup: Path) -> Iterator[None]:
    """Let this process, and whom it starts, be in a tenant's cgroup for a while."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (cgroup.parent.parent / "cgroup.procs").write_text(str(os.getpid()))


def in_packets(bench: Bench) -> float:
    """Return how many packets for the first tenant passed the ifb."""
    with closing(ClassSocket()) as netlink:
        found = netlink.classes(ifindex_of(ifb_name(ifindex_of(bench.uplink))))
    return float(found.of(np.array([0x10])).packets[0])


def rate(bench: Bench, way: str, seconds: float) -> float:
    """Return what left the first tenant's class a second, as the class itself counts."""
    ifindex = ifindex_of(bench.uplink)
    netlink = ClassSocket()
    where = ifindex if way == "out" else ifindex_of(ifb_name(ifindex))
    minor = np.array([0x10])
    before, began_s = netlink.classes(where).of(minor).bytes[0], time.monotonic()
    time.sleep(seconds)
    after, elapsed_s = netlink.classes(where).of(minor).bytes[0], time.monotonic() - began_s
    netlink.close()
    return float(after - before) / elapsed_s
