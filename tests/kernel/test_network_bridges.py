"""Tenants behind a bridge, as engines and hypervisors put them there: told apart as they leave."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from shaping import CAPACITY, Bench, bench_with_box, held, rate
from taps import Tap
from traffic import (
    BRIDGE,
    LINK,
    MBIT,
    NAMES,
    VETH,
    Traffic,
    ip,
    lay_bridge,
    lay_bridge_with_link,
    lay_veth,
    sh,
    take_bridge,
    take_veth,
)

from enforce.links.probing import probe_links
from enforce.links.saved import give_back
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink

pytestmark = [pytest.mark.kernel, pytest.mark.network]

BOTH: tuple[Literal["out", "in"], ...] = ("out", "in")


@contextmanager
def masked() -> Iterator[None]:
    """Let what is routed to the link seem to come from this host, as engines do."""
    rule = f"POSTROUTING -t nat -o {LINK} -j MASQUERADE"
    sh(f"iptables-legacy -A {rule}")
    yield
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
            assert rate(bench, way, 2) == pytest.approx(8 * MBIT, rel=0.05)
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
        time.sleep(0.3)
        assert bench.read().out_bytes[0, 1] > 1e5
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
        before, began_s = int(sent_bytes()), time.monotonic()
        time.sleep(1)
        others_per_s = (int(sent_bytes()) - before) / (time.monotonic() - began_s)
        assert bench.read().out_bytes.tolist() == [[0, 0]]
        assert others_per_s == pytest.approx(0.01 * CAPACITY, rel=0.1)
    assert {one.why for one in give_back(record)} == {""}
    ip("link del ve-other")
    take_bridge()
    take_veth()


def sent_bytes() -> str:
    """Return what has left the link's class of all that is nobody's."""
    shown = sh(f"tc -s class show dev {LINK} classid 7d6e:2")
    return shown.partition("Sent ")[2].split()[0]
