"""One HTB with tenants' classes, in a kernel, in a namespace of its own."""

import errno
import json
import os
import subprocess
import sys

import pytest

# In a network namespace that ends with it: nothing of this machine's own is touched.
IN_A_NAMESPACE = """
import json, socket, subprocess, sys
import numpy as np
from enforce.links.classes import INNER, MAJOR, Update
from enforce.links.netlink import ClassSocket
from enforce.links.tree import Tree

run = lambda words: subprocess.run(words.split(), check=True)
run("ip link add up0 type veth peer name up1")
run(f"tc qdisc add dev up0 root handle {MAJOR:x}: htb default 2")
ifindex, netlink = socket.if_nametoindex("up0"), ClassSocket()

def made(minor, below):
    one = Update(np.array([minor]), np.array([1e9]), np.array([1e9]))
    assert netlink.set_classes(ifindex, one, parent=below) == {}

"""
TREE = """
tree, present = Tree(netlink, 1e9, np.array([0x10, 0x11, 0x12])), np.ones(3, dtype=bool)
for _ in range(2):
    found = tree.complete(ifindex, netlink.classes(ifindex), present)
    print(json.dumps([np.nan_to_num(found.ceil).tolist(), tree.refused]))
"""
# HTB has eight levels: below the eighth nothing can be made, and what is elsewhere stays.
TOO_DEEP = """
for minor, below in ((0x10, 0), (0x12, 0), (3, 0), *((k, k - 1) for k in range(4, 10)), (INNER, 9)):
    made(minor, below)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace takes root")


def lines_of(*programs: str) -> list[list[object]]:
    """Return what each line says that programs print in a namespace of their own."""
    argv = ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE + "".join(programs)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_class_that_is_refused_costs_the_others_nothing() -> None:
    refused = [[1e9, 0.0, 1e9], {"1": errno.EINVAL}]
    assert lines_of(TOO_DEEP, TREE) == [refused, refused]


THOUSANDS = """
made(INNER, 0)
minors = np.arange(0x10, 0x10 + 2500)
tree, present, before = Tree(netlink, 1e9, minors), np.ones(2500, dtype=bool), netlink._sequence
found = tree.complete(ifindex, netlink.classes(ifindex), present)
print(json.dumps([int((~np.isnan(found.ceil)).sum()), netlink._sequence - before]))
"""


def test_one_read_asks_for_no_more_than_a_thousand_classes_and_their_queues() -> None:
    ((made, requests),) = lines_of(THOUSANDS)
    assert made == 1000
    assert isinstance(requests, int)
    assert 2000 < requests < 2010
