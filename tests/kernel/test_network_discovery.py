"""Tenants whose files name no veth: theirs is found, held, left at a restart, and given back."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from shaping import CAPACITY, Bench, held
from tenants import wait_until
from traffic import (
    BOX,
    LINK,
    MBIT,
    NAMES,
    VETH,
    Traffic,
    ip,
    lay_bridge,
    lay_veth,
    sh,
    take_bridge,
    take_veth,
)

from enforce.links.discovery import AUTO
from enforce.links.saved import give_back
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink

pytestmark = [pytest.mark.kernel, pytest.mark.network]

OURS = Path("/proc/self/ns/net").readlink()


@contextmanager
def container(cgroup: Path) -> Iterator[None]:
    """Let a process live in the box and in a cgroup, as an engine's do; it is there by then."""
    process = subprocess.Popen(["ip", "netns", "exec", BOX, "sleep", "1000"])
    try:
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        wait_until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != OURS)
        yield
    finally:
        process.kill()
        process.wait()


def found_by_itself(
    link: Path, record: Path, veths: Mapping[int, str | None] = MappingProxyType({1: AUTO})
) -> Bench:
    uplink = Uplink(LINK, CAPACITY, CAPACITY)
    shaper = Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths=veths)
    shaper.discovery.path_of = lambda at: str(link / NAMES[at])
    return Bench(link, record, shaper)


def test_a_containers_veth_is_found_held_both_ways_and_found_again_under_another_number(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    record = tmp_path / "uplinks.json"
    bench = found_by_itself(link, record)
    with closing(bench.shaper):
        (problem,) = bench.read().problems
        assert problem.startswith("network: veth of bits: it has no process yet")
        for _ in range(2):
            lay_veth()
            lay_bridge()
            with container(link / "bits"):
                assert bench.read().problems == ()
                held(bench, traffic, 40 * MBIT, ("out", "in"))
                with closing(found_by_itself(link, record).shaper) as another:
                    left = Bench(link, record, another).read()
                assert left.problems == ()
                assert (
                    left.in_ceil[0].tolist() == left.out_ceil[0].tolist() == [400 * MBIT, 40 * MBIT]
                )
            take_bridge()
            take_veth()
            assert bench.read().problems != ()
    assert [one.why for one in give_back(record)] == [""]
    assert "htb" not in sh("tc qdisc show")


def test_what_was_found_stays_whatever_becomes_of_the_processes_and_of_the_kernels_answers(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    """A tenant may leave its namespace and keep sockets there; one without a veth is sought too."""
    record, ceil = tmp_path / "uplinks.json", [400 * MBIT, 40 * MBIT]
    lay_veth()
    bench = found_by_itself(link, record, {0: AUTO, 1: AUTO})
    with closing(bench.shaper):
        with container(link / "bits"):
            assert "veth of bits" not in str(bench.read().problems)
        bench.set("in", "ceil", *ceil)
        bench.shaper.discovery.path_of = refused
        assert "network: refused" in bench.read().problems
        assert bench.read().in_ceil[0, 1] == ceil[1]
        held(bench, traffic, ceil[1], ["out"], beside=np.nan)
    with closing(found_by_itself(link, record).shaper) as another:
        left = Bench(link, record, another).read()
        assert left.problems == ()
        assert left.in_ceil[0, 1] == ceil[1]
    take_veth()
    give_back(record)


def test_a_veth_that_is_renamed_is_the_same_and_is_put_back(link: Path, tmp_path: Path) -> None:
    record = tmp_path / "uplinks.json"
    lay_veth()
    bench = found_by_itself(link, record)
    with closing(bench.shaper), container(link / "bits"):
        bench.read()
        bench.set("in", "ceil", 400 * MBIT, 40 * MBIT)
        rename(VETH, "ve-new")
        found = bench.read()
        assert (found.problems, found.restored) == ((), ())
        assert found.in_ceil[0, 1] == 40 * MBIT
    with closing(found_by_itself(link, record, {1: None}).shaper) as another:
        Bench(link, record, another).read()
        assert "htb" not in sh("tc qdisc show dev ve-new")
    rename("ve-new", VETH)
    take_veth()
    assert [one.uplink for one in give_back(record)] == [LINK]


def rename(name: str, new: str) -> None:
    ip(f"link set {name} down", f"link set {name} name {new}", f"link set {new} up")


def refused(_position: int) -> str:
    raise OSError("refused")
