"""Tenants' network limits by UDP and IPv6: whose a packet is, and that none is lost over it."""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from measuring import comes_to
from shaping import Bench, counted_as_sent, in_packets, member_of, rate, started
from traffic import (
    LINK,
    MBIT,
    OURS,
    OURS_6,
    OURS_7,
    THEIRS_6,
    THEIRS_7,
    VLAN,
    Traffic,
    ip,
    lay_ipv6,
    lay_vlan,
    send_datagrams,
)

from enforce.columns import Result
from enforce.links.saved import give_back

pytestmark = [pytest.mark.kernel, pytest.mark.network]

PORT = 5600
PAYLOAD_BYTES = 1400
HEADER_BYTES, HEADER_BYTES_6 = 14 + 20 + 8, 14 + 40 + 8


@pytest.fixture(autouse=True)
def ipv6(link: Path) -> None:
    """Give the link IPv6 addresses, too."""
    assert link.is_dir()
    lay_ipv6()


@contextmanager
def server(bench: Bench, family: socket.AddressFamily) -> Iterator[socket.socket]:
    """Return a UDP socket of the first tenant's that has no peer."""
    with member_of(bench.root / "acme"):
        waiting = socket.socket(family, socket.SOCK_DGRAM)
    with closing(waiting):
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        waiting.bind(("", PORT))
        waiting.settimeout(5)
        yield waiting


def received(group: Sequence[socket.socket], to: str, seconds: float) -> float:
    """Return what arrives at any of them a second, bytes on the wire with the Ethernet header."""
    drained(group)  # what has waited while this process did not run came before
    began_s, total = time.monotonic(), 0
    while time.monotonic() < began_s + seconds:
        assert select.select(group, [], [], 5)[0]
        total += drained(group)
    elapsed_s = time.monotonic() - began_s
    return total * (PAYLOAD_BYTES + (HEADER_BYTES_6 if ":" in to else HEADER_BYTES)) / elapsed_s


def drained(group: Sequence[socket.socket]) -> int:
    """Receive all that waits; return how many datagrams."""
    count = 0
    for one in group:
        one.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                assert len(one.recv(2048)) == PAYLOAD_BYTES
                count += 1
    return count


@pytest.mark.parametrize(
    ("family", "to"),
    [
        (socket.AF_INET, OURS),
        (socket.AF_INET6, OURS_6),
        (socket.AF_INET6, OURS),
    ],
    ids=["v4", "v6", "v4-at-v6"],
)
def test_a_udp_server_without_a_peer_receives_its_ceil_to_three_per_cent(
    bench: Bench, traffic: Traffic, family: socket.AddressFamily, to: str
) -> None:
    bench.read()
    assert list(bench.set("in", "ceil", 8 * MBIT).result) == [Result.APPLIED]
    with server(bench, family) as one, server(bench, family) as other:
        traffic.flood("", to, PORT, 40 * MBIT)
        received((one, other), to, 0.5)
        with counted_as_sent(bench, "in"):
            assert comes_to(8 * MBIT, lambda: received((one, other), to, 1.5), within=0.03)


@pytest.mark.parametrize("way", ["out", "in"])
def test_a_tenant_has_its_ceil_by_ipv6_too(bench: Bench, traffic: Traffic, way: str) -> None:
    bench.read()
    assert list(bench.set(way, "ceil", 80 * MBIT).result) == [Result.APPLIED]
    traffic.stream("acme", way, ours=OURS_6, theirs=THEIRS_6)
    time.sleep(0.7)
    assert comes_to(80 * MBIT, partial(rate, bench, way, 1.0), within=0.03)
    traffic.stop()
    with server(bench, socket.AF_INET6):
        sender, to = ("acme", THEIRS_6) if way == "out" else ("", OURS_6)
        traffic.flood(sender, to, PORT, 120 * MBIT)
        time.sleep(0.5)
        with counted_as_sent(bench, way):
            assert comes_to(80 * MBIT, partial(rate, bench, way, 1.0), within=0.03)


def test_extension_headers_and_fragments_arrive_and_are_the_tenants(
    bench: Bench,
) -> None:
    bench.read()
    with server(bench, socket.AF_INET6) as waiting:
        for to, size, options, packets in (
            (OURS_6, 100, False, 3),
            (OURS_6, 101, True, 3),
            (OURS_6, 4000, False, 9),  # in three fragments each
            (OURS_6, 4001, True, 9),
            (OURS, 4002, False, 9),
        ):
            before = in_packets(bench)
            send_datagrams(to, PORT, count=3, size=size, options=options)
            assert [len(waiting.recv(8192)) for _ in range(3)] == [size] * 3
            assert in_packets(bench) - before == packets, (size, options)
    assert bench.read().problems == ()


@pytest.mark.parametrize("uplink", [LINK, VLAN], ids=["below", "itself"])
def test_a_tenant_has_its_ceil_on_a_vlan_of_the_uplink_and_on_one_that_is_it(
    link: Path, tmp_path: Path, traffic: Traffic, uplink: str
) -> None:
    lay_vlan()
    bench = started(link, tmp_path / "uplinks.json", uplink=uplink)
    bench.read()
    for way in ("out", "in"):
        assert list(bench.set(way, "ceil", 80 * MBIT).result) == [Result.APPLIED]
        traffic.stream("acme", way, ours=OURS_7, theirs=THEIRS_7)
        time.sleep(0.7)
        names = (f"{way}_bytes", "out_offered_bytes" if way == "out" else "in_bytes")
        with counted_as_sent(bench, way, *names):
            assert comes_to(80 * MBIT, partial(rate, bench, way, 1.0), within=0.03)
        traffic.stop()
    assert bench.read().problems == ()
    bench.shaper.close()
    assert [one.why for one in give_back(bench.record)] == [""]
    ip(f"link del {VLAN}")
