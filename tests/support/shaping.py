"""A shaper of two tenants on one link, and what reads and writes through it."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from measuring import comes_to, per_s
from traffic import LINK, MBIT, NAMES, VETH, Traffic

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
    return per_s(partial(sent_bytes, bench, way), seconds)


def sent_bytes(bench: Bench, way: str, minor: int = 0x10) -> float:
    """Return what has left a class, the first tenant's or another, as it counts itself."""
    ifindex = ifindex_of(bench.uplink)
    where = ifindex if way == "out" else ifindex_of(ifb_name(ifindex))
    with closing(ClassSocket()) as netlink:
        return float(netlink.classes(where).of(np.array([minor])).bytes[0])


@contextmanager
def counted_as_sent(bench: Bench, way: str, *names: str) -> Iterator[None]:
    """See that what the first tenant's class sends meanwhile is counted in columns, and only there.

    What programs count of received bytes comes in bursts of whole backlogs.
    """
    names = names or (f"{way}_bytes",)
    earliest = sent_bytes(bench, way)
    before = bench.read()
    early = sent_bytes(bench, way)
    yield
    late = sent_bytes(bench, way)
    after = bench.read()
    latest = sent_bytes(bench, way)
    for name in names:
        counted = (getattr(after, name) - getattr(before, name))[0]
        assert 0.8 * (late - early) < counted[0] < 1.1 * (latest - earliest), name
        assert counted[1] == 0, name


def held(
    bench: Bench,
    traffic: Traffic,
    most: float,
    ways: Sequence[Literal["out", "in"]],
    *,
    beside: float = 400 * MBIT,
) -> None:
    """See that what the box sends or receives comes to `most`, and is all the second tenant's.

    The ceil of the first is said to be `beside`: NaN of one that waits for its veth.
    """
    for way in ways:
        done = bench.set(way, "ceil", 400 * MBIT, most)
        assert done.kept.tolist() == [400 * MBIT, most]
        assert done.why == {}
        traffic.stream_of_box(way)
        time.sleep(0.5)
        counted = partial(_counted_bytes, bench, way)
        before = counted(0)
        assert comes_to(most, partial(per_s, partial(counted, 1), 1.5), within=0.05)
        after = bench.read()
        traffic.stop()
        assert not counted(0) - before > 0
        np.testing.assert_array_equal(getattr(after, f"{way}_ceil")[0], [beside, most])


def _counted_bytes(bench: Bench, way: str, tenant: int) -> float:
    return float(getattr(bench.read(), f"{way}_bytes")[0, tenant])


def bench_with_box(link: Path, record: Path) -> Bench:
    uplink = Uplink(LINK, CAPACITY, CAPACITY)
    shaper = Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: VETH})
    return Bench(link, record, shaper)
