"""Tenants' network limits: real packets between two network namespaces, real HTB, BPF and ifb.

What is set up here changes interfaces and the BPF file system: only in the lab.
"""

import ctypes
import os
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from measuring import comes_to
from pyroute2 import IPRoute
from shaping import CAPACITY, Bench, bench_with_box, counted_as_sent, held, rate, started
from taps import Tap
from tenants import wait_until
from traffic import LINK, MBIT, NAMES, NETNS, PEER, VETH, Traffic, ip, lay_veth, sh, take_veth

from enforce.columns import Result
from enforce.links.libbpf import LIBRARY, Library
from enforce.links.programs import _ATTACH, BPFFS, CLASSIFY_IN, MAPS, PINS
from enforce.links.saved import give_back
from enforce.links.shaper import Shaper
from enforce.links.uplink import EGRESS, Uplink, ifb_name, ifindex_of

pytestmark = [pytest.mark.kernel, pytest.mark.network]

ADDED = {("class 7d6e:99", "added")}


def forget_tenants() -> None:
    """Empty the map of tenants, as someone else might."""
    library = Library()
    tenants = library.pinned(PINS / "tenants")
    keys = library.rows(tenants, 8, 8).keys
    assert len(keys) == 8 * len(NAMES)
    for start in range(0, len(keys), 8):
        library.drop(tenants, keys[start : start + 8])
    os.close(tenants)


def make_another_version() -> None:
    """Put a map in the place of the pinned one whose values have another word behind ours."""
    library = Library()
    pinned = library.pinned(PINS / "tenants")
    rows = library.rows(pinned, 8, 8)
    os.close(pinned)
    (PINS / "tenants").unlink()
    other = ctypes.CDLL(LIBRARY).bpf_map_create(1, b"tenants", 8, 12, 1024, None)
    for at in range(0, len(rows.keys), 8):
        library.put(other, rows.keys[at : at + 8], rows.values[at : at + 8] + bytes(4))
    library.pin(other, PINS / "tenants")
    os.close(other)


def run_another_program(bench: Bench) -> None:
    """Have the filter out run another program, under the same name."""
    programs = bench.shaper._programs
    assert programs is not None
    with IPRoute() as route:
        route.tc(
            "replace-filter",
            "bpf",
            ifindex_of(LINK),
            handle=1,
            parent=EGRESS,
            prio=125,
            protocol=3,
            fd=programs.program(CLASSIFY_IN),
            name="tidegate_out",
            direct_action=True,
        )


@pytest.mark.parametrize("way", ["out", "in"])
def test_a_tenant_has_its_ceil_to_three_per_cent_from_8_to_800_mbit_per_s(
    bench: Bench, traffic: Traffic, way: str
) -> None:
    bench.read()
    # At low rates a window must hold many packets; at high ones most find the machine too busy.
    for limit, window_s in ((8 * MBIT, 2.0), (80 * MBIT, 1.0), (800 * MBIT, 0.5)):
        assert list(bench.set(way, "ceil", limit).result) == [Result.APPLIED]
        traffic.stream("acme", way)
        time.sleep(0.7)
        with counted_as_sent(bench, way):
            assert comes_to(limit, partial(rate, bench, way, window_s), within=0.03)
        traffic.stop()
        assert bench.read().problems == ()


def test_a_shaper_that_is_stopped_makes_nothing_more(bench: Bench) -> None:
    bench.read()
    sh(f"tc qdisc del dev {LINK} root")
    bench.shaper.stop()
    bench.read()
    assert "htb" not in sh(f"tc qdisc show dev {LINK}")


def test_what_is_missing_is_back_at_the_next_read(bench: Bench, traffic: Traffic) -> None:
    bench.read()
    bench.set("out", "ceil", 80 * MBIT, 8 * MBIT)
    bench.set("in", "ceil", 40 * MBIT, 4 * MBIT)
    ifindex = ifindex_of(LINK)
    filters = {("filter tidegate_out", "removed"), ("filter tidegate_in", "removed")}
    inner = f"dev {LINK} classid 7d6e:1 htb rate 1mbit"
    pins = {(f"program {name}", "removed") for name in _ATTACH}
    pins |= {(f"pin of the map {name}", "removed") for name in MAPS}
    for harm, taken in (
        (f"tc class del dev {LINK} classid 7d6e:11", {("class", "removed")}),
        (f"tc qdisc del dev {LINK} parent 7d6e:10", {("queue", "removed")}),
        (f"tc class change {inner}", {("out class of all tenants", "changed")}),
        (f"tc class add dev {LINK} parent 7d6e:1 classid 7d6e:99 htb rate 1mbit", ADDED),
        (f"tc qdisc del dev {LINK} root", {("HTB out", "removed")}),
        (f"tc filter del dev {LINK} ingress", filters - {("filter tidegate_out", "removed")}),
        (f"tc qdisc del dev {LINK} clsact", filters),
        (f"ip link set {ifb_name(ifindex)} down", {("ifb", "removed")}),
        (f"ip link del {ifb_name(ifindex)}", {("ifb", "removed")}),
        (f"rm {PINS}/link_count_out", {("program count_out", "removed")}),
        (f"rm {PINS}/tenants", {("pin of the map tenants", "removed")}),
        (f"rm -r {PINS}", pins),
    ):
        sh(harm)
        seen = bench.read()
        assert {(one.what, one.how) for one in seen.restored} == taken, harm
        assert bench.read().restored == (), harm
        assert seen.problems == (), harm
        assert seen.out_ceil.tolist() == [[80 * MBIT, 8 * MBIT]], harm
        assert seen.in_ceil.tolist() == [[40 * MBIT, 4 * MBIT]], harm
    traffic.stream("acme", "out")
    time.sleep(0.5)
    assert comes_to(80 * MBIT, partial(rate, bench, "out", 1.0), within=0.1)
    run_another_program(bench)
    assert [(one.what, one.how) for one in bench.read().restored] == [
        ("filter tidegate_out", "changed")
    ]
    forget_tenants()
    seen = bench.read()
    assert [one.what for one in seen.restored] == ["map tenants"]
    before = seen.out_bytes[0, 0]
    wait_until(lambda: bench.read().out_bytes[0, 0] > before + 1 * MBIT)
    # What someone else set since the last read is not written over before it has been seen.
    sh(f"tc class change dev {LINK} parent 7d6e:1 classid 7d6e:10 htb rate 1kbit ceil 16mbit")
    assert list(bench.set("out", "ceil", 8 * MBIT, 4 * MBIT).result) == [
        Result.HELD_BACK,
        Result.APPLIED,
    ]
    assert bench.read().out_ceil.tolist() == [[16 * MBIT, 4 * MBIT]]
    assert list(bench.set("out", "ceil", 8 * MBIT).result) == [Result.APPLIED]


def test_a_cgroup_made_anew_keeps_its_class(bench: Bench, traffic: Traffic) -> None:
    bench.read()
    bench.set("out", "ceil", 8 * MBIT)
    before = bench.ids()[0]
    (bench.root / "acme").rmdir()
    assert np.isnan(bench.read().out_bytes[0, 0]) or bench.ids()[0] == 0
    (bench.root / "acme").mkdir()
    assert bench.ids()[0] != before
    assert bench.read().out_ceil[0, 0] == 8 * MBIT
    traffic.stream("acme", "out")
    time.sleep(0.5)
    assert comes_to(8 * MBIT, partial(rate, bench, "out", 1.0), within=0.1)


def test_a_restart_adopts_classes_and_counters(bench: Bench, traffic: Traffic) -> None:
    bench.read()
    bench.set("out", "ceil", 80 * MBIT, 8 * MBIT)
    bench.set("out", "rate", 10 * MBIT, 1 * MBIT)
    traffic.stream("bits", "out")
    time.sleep(0.5)
    began_s, before = time.monotonic(), bench.read()
    bench.shaper.close()  # as at kill -9: nothing is taken back
    bench.shaper = started(bench.root, bench.record).shaper
    after, elapsed_s = bench.read(), time.monotonic() - began_s
    assert after.problems == ()
    assert after.out_ceil.tolist() == [[80 * MBIT, 8 * MBIT]]
    assert after.out_rate.tolist() == [[10 * MBIT, 1 * MBIT]]
    assert after.out_bytes[0, 1] >= before.out_bytes[0, 1] > 0
    gained = after.out_offered_bytes[0, 1] - before.out_offered_bytes[0, 1]
    # No more than could be sent meanwhile, and that is little.
    assert 0 <= gained < 8 * MBIT * max(1.0, elapsed_s)


def test_an_upgrade_adopts_classes_from_a_map_of_another_version(bench: Bench) -> None:
    bench.read()
    bench.set("out", "ceil", 80 * MBIT, 8 * MBIT)
    bench.set("in", "ceil", 40 * MBIT, 4 * MBIT)
    bench.shaper.close()
    make_another_version()
    bench.shaper = started(bench.root, bench.record).shaper
    found = bench.read()
    assert found.problems == ()
    assert found.out_ceil.tolist() == [[80 * MBIT, 8 * MBIT]]
    assert found.in_ceil.tolist() == [[40 * MBIT, 4 * MBIT]]


def test_a_rate_above_34_gbit_per_s_is_what_it_says(bench: Bench) -> None:
    bench.read()
    # The uplink's own capacity bounds it: a wider one is asked for.
    bench.shaper.close()
    wide = Uplink(LINK, 12.5e9, 12.5e9)
    bench.shaper = Shaper(bench.root, NAMES, [wide], is_limited=[True] * 2, record=bench.record)
    bench.read()
    outcome = bench.set("out", "ceil", 6.25e9)
    assert outcome.kept.tolist() == [6.25e9]
    assert bench.set("out", "rate", 5e9).kept.tolist() == [5e9]
    assert "rate 40Gbit ceil 50Gbit" in sh(f"tc class show dev {LINK} classid 7d6e:10")


@pytest.mark.parametrize(
    "qdisc",
    ["fq_codel limit 77 flows 32 noecn", "cake bandwidth 9mbit"],
)
def test_a_qdisc_of_anothers_stays_until_it_may_go_and_comes_back_as_it_was(
    link: Path, tmp_path: Path, qdisc: str
) -> None:
    sh(f"tc qdisc add dev {LINK} root handle 55: {qdisc}")
    found = sh(f"tc qdisc show dev {LINK}")
    bench = started(link, tmp_path / "refused.json")
    columns = bench.read()
    assert qdisc.split(maxsplit=1)[0] in columns.problems[0]
    assert np.isnan(columns.out_ceil).all()
    assert sh(f"tc qdisc show dev {LINK}") == found
    bench.shaper.close()
    bench = started(link, tmp_path / "replaced.json", may_replace=True)
    assert bench.read().problems == ()
    assert "htb 7d6e: root" in sh(f"tc qdisc show dev {LINK}")
    bench.shaper.close()
    assert [(one.uplink, one.why) for one in give_back(bench.record)] == [(LINK, "")]
    assert sh(f"tc qdisc show dev {LINK}") == found
    assert not PINS.exists()


@pytest.mark.parametrize(("left", "given"), [("in", "out"), ("out", "in")])
def test_a_direction_that_is_not_divided_any_more_is_put_back_and_the_other_stays(
    link: Path, tmp_path: Path, left: str, given: str
) -> None:
    sh(f"tc qdisc add dev {LINK} root handle 55: fq_codel limit 77 flows 32 noecn")
    found = sh(f"tc qdisc show dev {LINK}")
    bench = started(link, tmp_path / "uplinks.json", may_replace=True)
    bench.read()
    bench.set(left, "ceil", 8 * MBIT, 80 * MBIT)
    bench.shaper.close()
    capacity = {f"{left}_bytes_per_s": CAPACITY}
    uplink = Uplink(LINK, may_replace_qdisc=True, **capacity)
    bench.shaper = Shaper(link, NAMES, [uplink], is_limited=[True] * 2, record=bench.record)
    columns = bench.read()
    assert columns.problems == ()
    assert getattr(columns, f"{left}_ceil").tolist() == [[8 * MBIT, 80 * MBIT]]
    assert ("htb 7d6e:" in sh(f"tc qdisc show dev {LINK}")) == (left == "out")
    assert bool(ifindex_of(ifb_name(ifindex_of(LINK)))) == (left == "in")
    hook = "egress" if given == "out" else "ingress"
    assert "tidegate" not in sh(f"tc filter show dev {LINK} {hook}")
    if given == "out":
        assert found in sh(f"tc qdisc show dev {LINK}")
        sh(f"tc qdisc del dev {LINK} root")  # by hand: it is not to come back
        found = sh(f"tc qdisc show dev {LINK} root")
    bench.shaper.close()
    assert [one.why for one in give_back(bench.record)] == [""]
    assert sh(f"tc qdisc show dev {LINK}") == found


def test_who_is_only_observed_is_counted_and_nothing_is_set_up(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    found = sh("tc qdisc show")
    bench = started(link, tmp_path / "uplinks.json", limited=False)
    bench.read()
    traffic.stream("acme", "out")
    wait_until(lambda: bench.read().out_bytes[0, 0] > 1e6)
    assert bench.read().out_ceil.tolist() == [[np.inf, np.inf]]
    assert sh("tc qdisc show") == found
    bench.shaper.close()
    assert give_back(bench.record) == []


def test_who_is_only_observed_beside_others_is_held_by_nothing(
    bench: Bench, traffic: Traffic
) -> None:
    bench.read()
    bench.set("out", "ceil", 8 * MBIT, 8 * MBIT)
    bench.shaper.close()
    uplink, record = Uplink(LINK, CAPACITY, CAPACITY, others_fraction=0.01), bench.record
    bench.shaper = Shaper(bench.root, NAMES, [uplink], is_limited=[False, True], record=record)
    assert bench.read().out_ceil.tolist() == [[np.inf, 8 * MBIT]]
    traffic.stream("acme", "out")
    wait_until(lambda: rate(bench, "out", 0.5) > 100 * MBIT)
    sh(f"tc class change dev {LINK} parent 7d6e:1 classid 7d6e:10 htb rate 1kbit ceil 1mbit")
    assert bench.read().out_ceil[0, 0] == np.inf


def test_without_a_bpf_file_system_it_is_said(link: Path, tmp_path: Path) -> None:
    sh(f"umount {BPFFS}")
    bench = started(link, tmp_path / "uplinks.json")
    columns = bench.read()
    bench.shaper.close()
    sh(f"mount -t bpf bpf {BPFFS}")
    assert columns.problems == (f"network: [Errno 2] no BPF file system at {BPFFS}",)
    assert np.isnan(columns.out_ceil).all()


def test_a_tenant_behind_its_veth_is_held_both_ways(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    lay_veth()
    record = tmp_path / "uplinks.json"
    bench = bench_with_box(link, record)
    assert bench.read().problems == ()
    held(bench, traffic, 40 * MBIT, ("out", "in"))
    sh(f"tc qdisc del dev {VETH} root")
    seen = bench.read()
    assert seen.in_ceil[0, 1] == 40 * MBIT
    assert [(one.where, one.what) for one in seen.restored] == [(f"{LINK} in", f"HTB of {VETH}")]
    bench.shaper.close()
    assert [one.why for one in give_back(record)] == ["", ""]
    assert "htb" not in sh(f"tc qdisc show dev {VETH}") + sh(f"tc qdisc show dev {LINK}")
    take_veth()


def test_a_machine_behind_its_tap_is_held_both_ways_and_again_once_it_is_started_anew(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    record = tmp_path / "uplinks.json"
    with closing(bench_with_box(link, record).shaper) as shaper:
        bench = Bench(link, record, shaper)
        bench.read()
        both: tuple[Literal["out", "in"], ...] = ("out", "in")
        for ways in (both, both[1:]):
            tap = Tap()
            bench.read()
            assert bench.read().problems == ()
            held(bench, traffic, 8 * MBIT, ways)
            tap.take()
    assert {one.why for one in give_back(record)} == {""}


def test_a_veth_that_goes_between_a_reading_and_its_write_comes_back_as_it_was(
    link: Path, tmp_path: Path
) -> None:
    record = tmp_path / "uplinks.json"
    with closing(bench_with_box(link, record).shaper) as shaper:
        bench = Bench(link, record, shaper)
        lay_veth()
        assert bench.read().problems == ()
        for number, value in (("rate", 16 * MBIT), ("ceil", 40 * MBIT)):
            assert bench.set("in", number, value, value).why == {}
        take_veth()
        assert bench.set("in", "ceil", 40 * MBIT, 80 * MBIT).result[1] == Result.GONE
        bench.read()
        lay_veth()
        found = bench.read()
        assert (found.in_rate[0, 1], found.in_ceil[0, 1]) == (16 * MBIT, 40 * MBIT)
        take_veth()
    assert {one.why for one in give_back(record)} == {""}


def test_an_uplink_that_is_made_anew_is_set_up_again_and_leaves_nothing(bench: Bench) -> None:
    bench.read()
    gone = ifb_name(ifindex_of(LINK))
    sh(f"ip link del {LINK}")
    assert "no interface" in "".join(bench.read().problems)
    ip(f"link add {LINK} type veth peer name {PEER} netns {NETNS}", f"link set {LINK} up")
    for _ in range(10):  # what failed is tried again after ten reads
        bench.read()
    columns = bench.read()
    assert columns.problems == ()
    assert columns.out_ceil.tolist() == [[np.inf, np.inf]]
    assert ifindex_of(gone) == 0
    assert ifindex_of(ifb_name(ifindex_of(LINK))) > 0


def test_two_uplinks_are_limited_each_by_itself(
    link: Path, tmp_path: Path, traffic: Traffic
) -> None:
    sh("ip link add up2 type veth peer name up3")
    uplinks, record = [Uplink("up2", CAPACITY), Uplink(LINK, CAPACITY)], tmp_path / "uplinks.json"
    shaper = Shaper(link, NAMES, uplinks, is_limited=[True] * 2, record=record)
    bench = Bench(link, record, shaper)
    bench.read()
    bench.set("out", "ceil", 80 * MBIT, 8 * MBIT)
    traffic.stream("bits", "out")
    wait_until(lambda: bench.read().out_bytes[1, 1] > 10_000)
    columns = bench.read()
    assert columns.problems == ()
    assert columns.out_ceil.tolist() == [[np.inf, np.inf], [80 * MBIT, 8 * MBIT]]
    assert columns.out_bytes[0].tolist() == [0.0, 0.0]
    assert np.isnan(columns.in_ceil).all()
    # One is left: only the other is limited from now on.
    shaper.close()
    bench.shaper = Shaper(link, NAMES, uplinks[1:], is_limited=[True] * 2, record=record)
    assert bench.read().out_ceil.tolist() == [[80 * MBIT, 8 * MBIT]]
    assert "htb" not in sh("tc qdisc show dev up2")
    bench.shaper.close()
    assert [one.why for one in give_back(record)] == [""]
    sh("ip link del up2")
