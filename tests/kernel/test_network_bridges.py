"""Tenants behind a bridge, as engines and hypervisors put them there: told apart as they leave."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from measuring import comes_to, per_s
from shaping import CAPACITY, Bench, bench_with_box, held, rate, sent_bytes
from switches import Switch
from taps import Tap
from tenants import wait_until
from traffic import (
    BOX,
    BOX_ADDRESS,
    BRIDGE,
    INSIDE,
    LINK,
    MBIT,
    NAMES,
    VETH,
    VLAN,
    Traffic,
    ip,
    lay_bridge,
    lay_bridge_with_link,
    lay_veth,
    lay_vlan,
    sh,
    take_bridge,
    take_veth,
)

from enforce.links.probing import probe_links
from enforce.links.saved import give_back
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink, ifindex_of, passing

pytestmark = [pytest.mark.kernel, pytest.mark.network]

BOTH: tuple[Literal["out", "in"], ...] = ("out", "in")


@contextmanager
def masked() -> Iterator[None]:
    """Let what is routed to the link seem to come from this host, as engines do."""
    rule = f"POSTROUTING -t nat -o {LINK} -j MASQUERADE"
    sh(f"iptables-legacy -A {rule}")
    try:
        yield
    finally:
        sh(f"iptables-legacy -D {rule}")


def test_a_tenant_behind_a_bridge_is_held_both_ways_though_its_address_is_translated(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    lay_veth()
    lay_bridge()
    found = sh("tc qdisc show")
    with masked(), closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        bench = Bench(link, tmp_path / "uplinks.json", shaper)
        assert bench.read().problems == ()
        held(bench, traffic, 40 * MBIT, BOTH)
        assert bench.read().restored == ()
        sh(f"tc filter del dev {VETH} ingress")
        seen = bench.read()
        assert [one.what for one in seen.restored] == [f"filter tidegate_in of {VETH}"]
        assert seen.restored[0].tenant == 1
        assert "mark_bridged" in sh(f"tc filter show dev {VETH} ingress")
    assert [one.why for one in give_back(bench.record)] == ["", ""]
    assert sh("tc qdisc show") == found
    take_bridge()
    take_veth()


def test_machines_and_the_host_itself_are_held_both_ways_where_the_uplink_is_a_port_too(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    tap = Tap()
    lay_bridge_with_link()
    with closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        bench = Bench(link, tmp_path / "uplinks.json", shaper)
        assert bench.read().problems == ()
        held(bench, traffic, 8 * MBIT, BOTH)
        for way in BOTH:
            bench.set(way, "ceil", 8 * MBIT, 400 * MBIT)
            traffic.stream("acme", way)
            time.sleep(0.5)
            assert comes_to(8 * MBIT, partial(rate, bench, way, 2), within=0.05)
            traffic.stop()
    assert {one.why for one in give_back(bench.record)} == {""}
    take_bridge()
    tap.take()


def test_what_others_filters_hide_on_a_bridge_is_unknown_and_said(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    """Also if only bytes out are divided; and it is known again once they are gone."""
    lay_veth()
    lay_bridge()
    uplink, record = Uplink(LINK, CAPACITY), tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: VETH})
    ) as shaper:
        bench = Bench(link, record, shaper)
        assert bench.read().problems == ()
        assert told(uplink) == "ok"
        traffic.stream_of_box("out")
        wait_until(lambda: bench.read().out_bytes[0, 1] > 1e5)
        for where in (VETH, BRIDGE):
            if where == BRIDGE:
                sh(f"tc qdisc add dev {where} clsact")
            sh(f"tc filter add dev {where} ingress prio 7 matchall action pass")
            found = bench.read()
            assert [
                f"somebody else has filters on what comes in by {where}" in one
                for one in found.problems
            ] == [True]
            assert np.isnan([found.out_ceil[0, 1], found.out_bytes[0, 1]]).all()
            assert found.out_ceil[0, 0] == np.inf
            assert told(uplink) == "missing"
            sh(f"tc filter del dev {where} ingress prio 7")
            for _ in range(10):  # what failed is tried again after ten reads
                found = bench.read()
            assert found.problems == ()
            assert found.out_bytes[0, 1] > 1e5
        sh(f"tc qdisc del dev {BRIDGE} clsact")
    assert {one.why for one in give_back(record)} == {""}
    take_bridge()
    take_veth()


def told(uplink: Uplink) -> str:
    """Return what `doctor` says of the veth."""
    (found,) = (one for one in probe_links([uplink], [VETH]) if one.name == f"veth {VETH}")
    return found.state


def test_what_is_amiss_with_a_port_is_forgotten_once_it_is_another_or_gone(
    link: Path, tmp_path: Path
) -> None:
    """A bridge's name may be of nearly any bytes, and is shown so that a terminal bears it."""
    lay_veth()
    odd = b"br\xff\x1b"
    for command in (
        [b"ip", b"link", b"add", odd, b"type", b"bridge"],
        [b"tc", b"qdisc", b"add", b"dev", odd, b"clsact"],
        [b"tc", b"filter", b"add", b"dev", odd, *b"ingress matchall action pass".split()],
        [b"ip", b"link", b"set", VETH.encode(), b"master", odd],
    ):
        subprocess.run(command, check=True)
    with closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        bench = Bench(link, tmp_path / "uplinks.json", shaper)
        (problem,) = bench.read().problems
        assert "comes in by br\\udcff\\x1b: bytes out of 1 veth(s)" in problem
        assert told(Uplink(LINK, CAPACITY)) == "missing"
        lay_bridge()
        found = bench.read()
        assert found.problems == ()
        assert found.out_ceil.tolist() == [[np.inf, np.inf]]
        assert told(Uplink(LINK, CAPACITY)) == "ok"
        sh(f"tc qdisc replace dev {VETH} root handle 9: pfifo")
        (problem,) = bench.read().problems
        assert f"{VETH} has a qdisc pfifo" in problem
        take_veth()
        assert bench.read().problems == (f"network: veth of bits: {VETH} is not there",)
    assert {one.why for one in give_back(bench.record)} == {""}
    subprocess.run([b"ip", b"link", b"del", odd], check=True)
    take_bridge()


def test_a_tenant_is_held_whose_vlan_is_the_port(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    lay_veth()
    lay_bridge()
    sh("modprobe 8021q")
    ip(
        f"link set {VETH} nomaster",
        f"link add link {VETH} name {VETH}.6 type vlan id 6",
        f"link set {VETH}.6 master {BRIDGE} up",
    )
    ip(
        f"link add link {INSIDE} name {INSIDE}.6 type vlan id 6",
        f"addr flush dev {INSIDE}",
        f"addr add {BOX_ADDRESS}/24 dev {INSIDE}.6",
        f"link set {INSIDE}.6 up",
        "route add default via 10.8.0.1",
        netns=BOX,
    )
    with closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        bench = Bench(link, tmp_path / "uplinks.json", shaper)
        assert bench.read().problems == ()
        traffic.stream_of_box("out")
        wait_until(lambda: bench.read().out_bytes[0, 1] > 1e5)
    assert {one.why for one in give_back(bench.record)} == {""}
    take_bridge()
    take_veth()


def test_a_bridge_that_is_the_uplink_itself_shows_nothing_of_its_ports_and_that_is_said(
    link: Path, tmp_path: Path
) -> None:
    """They send past it, to its other ports; by another uplink they are told as ever."""
    lay_veth()
    lay_bridge_with_link()
    ip("link add up9 type dummy", "link set up9 up")
    uplinks, record = [Uplink(BRIDGE, CAPACITY), Uplink("up9", CAPACITY)], tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, uplinks, is_limited=[True] * 2, record=record, veths={1: VETH})
    ) as shaper:
        found = Bench(link, record, shaper).read()
        assert [f"{BRIDGE} lies above, and is passed by" in one for one in found.problems] == [True]
        assert np.isnan(found.out_ceil).tolist() == [[False, True], [False, False]]
    assert told(uplinks[0]) == "missing"
    assert told(uplinks[1]) == "ok"
    assert {one.why for one in give_back(record)} == {""}
    ip("link del up9")
    take_bridge()
    take_veth()


def test_what_open_vswitch_hides_is_unknown_and_said(link: Path, tmp_path: Path) -> None:
    """It hands packets on to the host by interfaces that nothing ties to its ports."""
    lay_veth()
    switch = Switch("ovs8")
    switch.add(VETH)
    with closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        found = Bench(link, tmp_path / "uplinks.json", shaper).read()
        assert [
            "ovs8 (openvswitch) does not show whose packets it hands on" in one
            for one in found.problems
        ] == [True]
        assert np.isnan(found.out_ceil).tolist() == [[False, True]]
        assert told(Uplink(LINK, CAPACITY)) == "missing"
    assert {one.why for one in give_back(tmp_path / "uplinks.json")} == {""}
    switch.take()
    take_veth()


def test_a_bridge_on_a_vlan_of_the_uplink_sends_by_that(link: Path) -> None:
    """And by the VLAN, where that is an uplink itself."""
    lay_vlan()
    ip(f"link add {BRIDGE} type bridge", f"link set {VLAN} master {BRIDGE}")
    for uplinks, last in (((LINK,), LINK), ((LINK, VLAN), VLAN), ((VLAN, LINK), VLAN)):
        wanted = {LINK: LINK, VLAN: last, BRIDGE: last}
        numbers = {ifindex_of(one): ifindex_of(uplink) for one, uplink in wanted.items()}
        assert passing(uplinks) == numbers
    take_bridge()


def test_the_kernel_is_told_of_many_veths_in_a_few_reads(link: Path, tmp_path: Path) -> None:
    names = tuple(f"t{place}" for place in range(120))
    ip(*(f"link add v{name} type dummy" for name in names))
    uplink, record = Uplink(LINK, CAPACITY), tmp_path / "uplinks.json"
    with closing(
        Shaper(
            link,
            names,
            [uplink],
            is_limited=[True] * len(names),
            record=record,
            veths={at: f"v{name}" for at, name in enumerate(names)},
        )
    ) as shaper:
        reads = [shaper.read(np.zeros(len(names), dtype=np.int64)) for _ in range(5)]
        assert reads[-1].problems == ()
    assert {one.why for one in give_back(record)} == {""}
    ip(*(f"link del v{name}" for name in names))


def test_ports_that_come_and_go_all_the_time_are_no_problem(link: Path, tmp_path: Path) -> None:
    """Nothing is left of any, nor said but that one is not there, which is true in between."""
    ip(f"link add {BRIDGE} type bridge")
    commands = tmp_path / "commands"
    problems: set[str] = set()
    commands.write_text(
        f"""
        link add {VETH} type veth peer name ve-peer
        link set {VETH} master {BRIDGE} up
        link del {VETH}
        """
        * 300
    )
    found = sh("tc qdisc show")
    with closing(bench_with_box(link, tmp_path / "uplinks.json").shaper) as shaper:
        bench = Bench(link, tmp_path / "uplinks.json", shaper)
        with subprocess.Popen(["ip", "-batch", str(commands)]) as coming_and_going:
            while coming_and_going.poll() is None:
                problems.update(bench.read().problems)
        assert problems <= {f"network: veth of bits: {VETH} is not there"}
        ip(f"link add {VETH} type veth peer name ve-peer", f"link set {VETH} master {BRIDGE} up")
        assert bench.read().problems == ()
        ip(f"link del {VETH}")
    assert {one.why for one in give_back(bench.record)} == {""}
    assert sh("tc qdisc show") == found
    take_bridge()


def test_what_comes_in_by_another_port_of_a_tenants_bridge_is_nobodys(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    lay_veth()
    lay_bridge()
    ip("link add ve-other type dummy", f"link set ve-other master {BRIDGE} up")
    uplink, record = Uplink(LINK, CAPACITY, others_fraction=0.01), tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: "ve-other"})
    ) as shaper:
        bench = Bench(link, record, shaper)
        assert bench.read().problems == ()
        traffic.stream_of_box("out")
        time.sleep(0.5)
        others = partial(per_s, partial(sent_bytes, bench, "out", minor=2), 1.0)
        assert comes_to(0.01 * CAPACITY, others, within=0.1)
        assert bench.read().out_bytes.tolist() == [[0, 0]]
    assert {one.why for one in give_back(record)} == {""}
    ip("link del ve-other")
    take_bridge()
    take_veth()
