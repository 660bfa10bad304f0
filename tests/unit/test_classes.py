"""HTB classes of tenants: as columns, as messages, and in a kernel, in a namespace of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from enforce.links.classes import FIRST_TENANT, MAJOR, Classes, Update, flows_for, minors_for
from enforce.links.messages import (
    Qdisc,
    Setting,
    class_message,
    classes_in,
    qdisc_in,
    qdisc_message,
)

# In a network namespace that ends with it: nothing of this machine's own is touched.
IN_A_NAMESPACE = """
import json, socket, subprocess, sys
import numpy as np
from enforce.links.classes import MAJOR, Update
from enforce.links.netlink import ClassSocket
run = lambda words: subprocess.run(words.split(), check=True)
run("ip link add up0 type veth peer name up1")
run(f"tc qdisc add dev up0 root handle {MAJOR:x}: htb default 2")
ifindex, netlink = socket.if_nametoindex("up0"), ClassSocket()
rates = np.array(json.loads(sys.argv[1]))
minors = np.arange(0x10, 0x10 + len(rates))
one = Update(np.array([1]), np.array([1e11]), np.array([1e11]))
assert netlink.set_classes(ifindex, one, parent=0) == {}
failed = netlink.set_classes(ifindex, Update(minors, rates, rates * 2))
removed = netlink.remove_classes(ifindex, [0x10, 0x9999])
found = netlink.classes(ifindex).of(minors)
some = netlink.some_classes(ifindex, [0x11, 0x9999, 0x13]).of(minors)
assert np.isnan(some.rate).tolist() == [k not in (1, 3) for k in range(len(rates))]
assert some.ceil[3] == found.ceil[3]
root = netlink.root(ifindex)
print(json.dumps([found.rate.tolist(), found.ceil.tolist(), failed, removed, root.is_ours]))
"""
RATES = [125.0, 1e6, 1e8, 4.2e9, 4.3e9, 12.5e9]


def of_minors(*minors: int) -> Classes:
    count = len(minors)
    columns = {name: np.arange(count, dtype=float) for name in ("rate", "ceil", "bytes", "packets")}
    rest = {name: np.zeros(count) for name in ("drops", "overlimits", "backlog_bytes")}
    ids = np.array(minors, dtype=np.int64)
    return Classes(minor=ids, leaf=ids, **columns, **rest)


def test_classes_are_found_by_minor_whatever_their_order() -> None:
    found = of_minors(30, 10, 20).of(np.array([10, 11, 30]))
    np.testing.assert_array_equal(found.rate, [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(found.leaf, [10, 0, 30])
    np.testing.assert_array_equal(Classes.none().of(np.array([10])).rate, [np.nan])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([None, None], [FIRST_TENANT, FIRST_TENANT + 1]),
        ([0x11, None, None], [0x11, 0x10, 0x12]),
        ([0x20, 0x20], [0x20, 0x10]),
        ([MAJOR, 0x2, 0x1FFFF], [0x10, 0x11, 0x12]),
    ],
)
def test_a_tenant_keeps_its_class_and_newcomers_get_free_ones(
    known: list[int | None], expected: list[int]
) -> None:
    assert minors_for(known) == expected


def test_the_last_ones_of_too_many_tenants_get_no_class() -> None:
    minors = minors_for([None] * 70_000)
    assert len(set(minors)) == 65_520
    assert set(minors[65_519:]) == {0}


def test_leaves_of_thousands_are_small() -> None:
    flows = {1: 1024, 128: 1024, 129: 256, 1024: 256, 1025: 64, 10_000: 64}
    assert {tenants: flows_for(tenants) for tenants in flows} == flows


def test_a_message_that_is_cut_short_or_no_class_is_no_class() -> None:
    message = class_message(1, Setting(2, 0x10, 1, 1e6, 1e6))
    assert len(classes_in([message, message[:30], b"\x00" * 64]).minor) == 0


def test_a_qdisc_is_asked_for_as_it_was_told() -> None:
    qdisc = Qdisc(3, 0x550000, 0xFFFFFFFF, "fq_codel", b"\x08\x00\x01\x00\x07\x00\x00\x00")
    assert qdisc_in(qdisc_message(1, qdisc)) == qdisc
    assert not qdisc.is_ours
    assert not qdisc.is_default


@pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace takes root")
def test_the_kernel_holds_what_it_is_told_and_says_what_it_refuses() -> None:
    argv = ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE, json.dumps(RATES)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    rate, ceil, failed, removed, is_ours = json.loads(done.stdout)
    np.testing.assert_allclose(rate[1:], RATES[1:], rtol=1e-9)
    np.testing.assert_allclose(ceil[1:], np.array(RATES[1:]) * 2, rtol=1e-9)
    assert rate[0] is None or np.isnan(rate[0])
    assert (list(failed), list(removed)) == ([], ["1"])
    assert is_ours


def test_an_update_is_cut_at_its_end() -> None:
    update = Update(np.array([1, 2]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert len(update.first(1)) == 1
    assert update.first(1).ceil.tolist() == [3.0]
