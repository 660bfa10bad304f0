"""What tenants' limits must not do to others' packets, and what is said where they do not hold."""

import socket
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from measuring import comes_to
from shaping import CAPACITY, Bench, in_packets, member_of, rate, started
from traffic import (
    LINK,
    MBIT,
    NAMES,
    OURS,
    THEIRS,
    VETH,
    Traffic,
    ip,
    lay_bridge,
    lay_veth,
    send_datagrams,
    sh,
    take_bridge,
    take_veth,
)

from enforce.columns import NET_QUANTITIES, Result
from enforce.links.discovery import AUTO
from enforce.links.probing import probe_links
from enforce.links.programs import PINS
from enforce.links.saved import give_back
from enforce.links.shaper import Shaper
from enforce.links.uplink import Uplink, ifb_name, ifindex_of

pytestmark = [pytest.mark.kernel, pytest.mark.network]


def test_what_is_forwarded_arrives_though_a_socket_here_waits_at_its_port(
    bench: Bench, traffic: Traffic
) -> None:
    lay_veth()
    with member_of(bench.root / "acme"):
        local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(local):
        local.bind(("", 5353))
        bench.read()
        # What is for the host itself is the socket's; the first tells whose it is, once it has
        # arrived, since the socket is older than the programs.
        for count in (1, 4):
            send_datagrams(OURS, 5353, count=count)
            assert [local.recv(99) for _ in range(count)] == [b"datagram"] * count
        assert in_packets(bench) == 4
        assert traffic.box_receives_datagram(5353)
        assert in_packets(bench) == 4
        # A socket with a peer that is made now is known from its first packet on.
        with member_of(bench.root / "acme"):
            connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(connected):
        connected.bind((OURS, 5354))
        connected.connect((THEIRS, 5355))
        send_datagrams(OURS, 5354, sent_from=5355, count=9)
        assert [connected.recv(99) for _ in range(9)] == [b"datagram"] * 9
    found = bench.read()
    assert found.problems == ()
    assert in_packets(bench) == 4 + 9
    take_veth()


@pytest.mark.parametrize(
    ("hook", "way", "other"), [("ingress", "in", "out"), ("egress", "out", "in")]
)
def test_a_direction_that_cannot_be_set_up_leaves_nothing_and_costs_the_other_nothing(
    bench: Bench, hook: str, way: str, other: str
) -> None:
    # Somebody's filter of another kind has the very priority that ours is to have.
    sh(f"tc qdisc add dev {LINK} clsact")
    sh(f"tc filter add dev {LINK} {hook} prio 125 protocol ip matchall action pass")
    found = sh(f"tc filter show dev {LINK} {hook}")
    columns = bench.read()
    assert [one.partition(":")[0] for one in columns.problems] == ["network"]
    assert f"{LINK} {way} cannot be set up" in columns.problems[0]
    assert np.isnan(getattr(columns, f"{way}_ceil")).all()
    assert getattr(columns, f"{other}_ceil").tolist() == [[np.inf, np.inf]]
    assert ("htb" in sh(f"tc qdisc show dev {LINK}")) == (way == "in")
    assert bool(ifindex_of(ifb_name(ifindex_of(LINK)))) == (way == "out")
    assert sh(f"tc filter show dev {LINK} {hook}") == found
    sh(f"tc filter del dev {LINK} {hook} prio 125")
    for _ in range(10):  # what failed is tried again after ten reads
        columns = bench.read()
    assert columns.problems == ()
    assert getattr(columns, f"{way}_ceil").tolist() == [[np.inf, np.inf]]


def test_a_newcomer_finds_no_limit_of_one_who_has_left(bench: Bench) -> None:
    bench.read()
    bench.set("out", "ceil", 8 * MBIT, 80 * MBIT)
    bench.set("out", "rate", 4 * MBIT, 1 * MBIT)
    bench.shaper.close()
    (bench.root / "zeta").mkdir()
    uplink, names = Uplink(LINK, CAPACITY, CAPACITY), ("bits", "zeta")
    bench.shaper = Shaper(bench.root, names, [uplink], is_limited=[True] * 2, record=bench.record)
    ids = np.array([(bench.root / name).stat().st_ino for name in names])
    found = bench.shaper.read(ids)
    assert found.out_ceil.tolist() == [[80 * MBIT, np.inf]]
    assert found.out_rate[0, 1] < 1 * MBIT
    (bench.root / "zeta").rmdir()


def test_without_its_record_an_uplink_is_given_back_all_the_same(bench: Bench) -> None:
    ip("link add dev ve8 type dummy", "link set ve8 up")
    found = sh("tc qdisc show") + sh("ip -o link show")
    bench.read()
    sh("tc qdisc replace dev ve8 root handle 7d6e: htb")
    bench.shaper.close()
    bench.record.write_text("{")
    done = give_back(bench.record)
    assert {one.uplink for one in done if not one.why} == {LINK, "ve8"}
    assert [one.uplink for one in done if one.why] == [str(bench.record)]
    assert not PINS.exists()
    sh(f"tc qdisc del dev {LINK} clsact")
    assert sh("tc qdisc show") + sh("ip -o link show") == found
    sh("ip link del ve8")
    bench.shaper = started(bench.root, bench.record).shaper
    bench.read()


def test_where_others_police_with_the_qdisc_ingress_bytes_out_are_not_limited_and_that_is_said(
    bench: Bench, traffic: Traffic
) -> None:
    """A filter on what leaves would take the place of the one on what comes in there."""
    sh(f"tc qdisc add dev {LINK} ingress")
    for _ in range(11):  # what failed is tried again after ten reads
        columns = bench.read()
        assert [f"{LINK} has somebody's qdisc ingress" in one for one in columns.problems] == [True]
        assert columns.restored == ()
        assert np.isnan(columns.out_ceil).all()
    assert bench.set("in", "ceil", 8 * MBIT).why == {}
    traffic.stream("acme", "in")
    time.sleep(0.5)
    assert comes_to(8 * MBIT, partial(rate, bench, "in", 1), within=0.1)
    (told,) = (
        one
        for one in probe_links([Uplink(LINK, CAPACITY, CAPACITY)])
        if one.name == f"uplink {LINK}"
    )
    assert told.state == "missing"
    sh(f"tc qdisc del dev {LINK} ingress")


def test_filters_of_others_that_are_asked_first_are_said(link: Path, tmp_path: Path) -> None:
    """On what leaves they concern tenants behind a veth alone: no other's class is told there."""
    lay_veth()
    for veths, ways in (({}, ["comes in"]), ({1: VETH}, ["leaves", "comes in"])):
        uplink, record = Uplink(LINK, CAPACITY, CAPACITY), tmp_path / "uplinks.json"
        with closing(
            Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths=veths)
        ) as shaper:
            bench = Bench(link, record, shaper)
            assert bench.read().problems == ()
            for hook in ("egress", "ingress"):
                sh(f"tc filter add dev {LINK} {hook} prio 124 matchall action pass")
            found = bench.read().problems
            assert [f"what {way} by" in one for way, one in zip(ways, found, strict=True)] == [
                True
            ] * len(ways)
            told = [one.state for one in probe_links([uplink], list(veths.values()))]
            assert told.count("degraded") == len(ways)
            for hook in ("egress", "ingress"):
                sh(f"tc filter del dev {LINK} {hook} prio 124")
                sh(f"tc filter add dev {LINK} {hook} prio 126 matchall action pass")
            assert bench.read().problems == ()
        for hook in ("egress", "ingress"):
            sh(f"tc filter del dev {LINK} {hook} prio 126")
        assert {one.why for one in give_back(record)} == {""}
    take_veth()


@pytest.mark.parametrize(
    ("dev", "uplink", "problems"),
    [
        (LINK, Uplink(LINK, 0, CAPACITY), []),
        (VETH, Uplink(LINK, CAPACITY, CAPACITY), [f"{VETH} has a qdisc htb"]),
    ],
)
def test_a_qdisc_that_ours_never_replaced_is_left_alone_at_release(
    link: Path, tmp_path: Path, dev: str, uplink: Uplink, problems: list[str]
) -> None:
    """On an uplink of which only bytes in are divided; on a tenant's port, as libvirt sets one."""
    lay_veth()
    lay_bridge()
    sh(f"tc qdisc add dev {dev} root handle 5: htb default 1")
    sh(f"tc class add dev {dev} parent 5: classid 5:1 htb rate 50mbit")
    found = sh("tc qdisc show") + sh(f"tc class show dev {dev}")
    record = tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: VETH})
    ) as shaper:
        seen = Bench(link, record, shaper).read().problems
        assert [said in one for said, one in zip(problems, seen, strict=True)] == [True] * len(seen)
    assert {one.why for one in give_back(record)} == {""}
    assert sh("tc qdisc show") + sh(f"tc class show dev {dev}") == found
    take_bridge()
    take_veth()


def test_of_a_tenant_elsewhere_without_a_veth_nothing_is_known_and_that_is_said(
    link: Path, tmp_path: Path
) -> None:
    uplink, record = Uplink(LINK, CAPACITY, CAPACITY), tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: None})
    ) as shaper:
        bench = Bench(link, record, shaper)
        found = bench.read()
        assert [one for one in found.problems if "bits" in one] == list(found.problems)
        assert len(found.problems) == 1
        for name in NET_QUANTITIES:
            assert np.isnan(getattr(found, name)[0, 1]), name
            assert not np.isnan(getattr(found, name)[0, 0]), name
        assert list(bench.set("out", "ceil", MBIT, MBIT).result) == [Result.APPLIED, Result.GONE]
    assert [one.why for one in give_back(record)] == [""]


@pytest.mark.parametrize(
    ("veth", "why"),
    [(AUTO, "it has no process yet"), ("ve-gone", "veth of bits: ve-gone is not there")],
)
def test_of_a_tenant_whose_veth_is_not_there_nothing_is_known_until_it_is(
    link: Path, tmp_path: Path, veth: str, why: str
) -> None:
    """Its packets share the class of all that is no tenant's: a limit of its own would be a lie."""
    uplink, record = Uplink(LINK, CAPACITY, CAPACITY), tmp_path / "uplinks.json"
    with closing(
        Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=record, veths={1: veth})
    ) as shaper:
        shaper.discovery.path_of = lambda at: str(link / NAMES[at])
        bench = Bench(link, record, shaper)
        found = bench.read()
        (problem,) = found.problems
        assert why in problem
        for name in NET_QUANTITIES:
            assert np.isnan(getattr(found, name)[0, 1]), name
            assert not np.isnan(getattr(found, name)[0, 0]), name
        if veth != AUTO:
            ip(f"link add {veth} type dummy", f"link set {veth} up")
            found = bench.read()
            assert found.problems == ()
            assert [found.out_ceil[0, 1], found.in_ceil[0, 1]] == [np.inf, np.inf], "no limit yet"
            ip(f"link del {veth}")
    assert {one.why for one in give_back(record)} == {""}


def test_a_tenant_cannot_add_to_its_own_bytes_in_by_an_interface_of_the_same_number(
    bench: Bench, traffic: Traffic
) -> None:
    lay_veth(inside_ifindex=ifindex_of(LINK))
    bench.read()
    with member_of(bench.root / "acme"):
        traffic.stream_of_box("in")
    before = bench.read()
    time.sleep(0.5)
    after = bench.read()
    assert after.problems == ()
    assert after.in_bytes[0, 0] - before.in_bytes[0, 0] < 10_000
    take_veth()
