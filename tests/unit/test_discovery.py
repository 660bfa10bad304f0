"""Whose veth is whose, by the namespaces of processes, in a kernel, in a namespace of its own."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from enforce.links.discovery import processes_of

# In a network namespace that ends with it: nothing of this machine's own is touched.
BEGIN = """
import json, subprocess, sys
from pathlib import Path
import numpy as np
from enforce.links.discovery import Discovery
from enforce.links.netlink import ClassSocket

root, boxes = Path(sys.argv[1]), []

def run(words):
    subprocess.run(words.split(), check=True)

def box(*veths):
    # A process in a network namespace of its own, with these veths to here.
    argv = ["unshare", "--net", "sh", "-c", "echo; exec sleep 99"]
    boxes.append(subprocess.Popen(argv, stdout=subprocess.PIPE))
    boxes[-1].stdout.readline()
    for name in veths:
        run(f"ip link add {name} type veth peer name in-{name} netns {boxes[-1].pid}")
    return boxes[-1].pid

def tenant(name, *pids):
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "cgroup.procs").write_text("".join(f"{pid}\\n" for pid in pids))

def discovery(*names):
    found = Discovery(ClassSocket(), range(len(names)))
    found.path_of = lambda at: str(root / names[at])
    return found

def tell(found, *ids):
    said = found.look(np.array(ids))
    print(json.dumps([sorted(said.items()), sorted(found.problems.items())]))
"""
END = """
for one in boxes:
    one.kill()
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making a network namespace takes root")
NONE = "no veth leads to its processes: their network is the host's, or none"


def lines_of(folder: Path, program: str) -> list[list[list[list[object]]]]:
    """Return what each line says that a program prints in a namespace of its own."""
    argv = ["unshare", "--net", sys.executable, "-c", BEGIN + program + END, str(folder)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_veth_is_found_by_the_namespace_of_any_process_also_of_a_group_below(
    tmp_path: Path,
) -> None:
    (line,) = lines_of(
        tmp_path,
        "import os\n"
        "tenant('web', os.getpid())\n"
        "tenant('web/container', box('ve-web'))\n"
        "tenant('db', box('ve-db'))\n"
        "tell(discovery('web', 'db'), 7, 8)\n",
    )
    assert line == [[[0, "ve-web"], [1, "ve-db"]], []]


def test_what_was_found_stays_whatever_processes_do_until_it_or_the_cgroup_is_gone(
    tmp_path: Path,
) -> None:
    lines = lines_of(
        tmp_path,
        "tenant('web', box('ve-web'))\n"
        "found = discovery('web')\n"
        "tell(found, 7)\n"
        "tenant('web', box())\n"
        "tell(found, 7)\n"
        "tell(found, 0)\n"
        "tenant('web', box('ve-new'))\n"
        "tell(found, 9)\n"
        "run('ip link del ve-new')\n"
        "tell(found, 9)\n",
    )
    assert [one for one, _ in lines] == [[[0, "ve-web"]]] * 2 + [[], [[0, "ve-new"]], []]
    assert lines[-1][1] == [[0, "its network namespace has no veth to this host"]]


def test_who_has_none_is_told_why_and_sought_often_at_first_and_seldom_later(
    tmp_path: Path,
) -> None:
    lines = lines_of(
        tmp_path,
        "import os\n"
        "tenant('web', os.getpid())\n"
        "tenant('off')\n"
        "tenant('late')\n"
        "found = discovery('web', 'off', 'gone', 'late')\n"
        "tell(found, 7, 8, 0, 9)\n"
        "tenant('late', box('ve-late'))\n"
        "for _ in range(6): tell(found, 7, 8, 0, 9)\n"
        "tenant('off', box('ve-off'))\n"
        "for _ in range(5): tell(found, 7, 8, 0, 9)\n",
    )
    waits = "it has no process yet, so that its veth cannot be found"
    assert lines[0] == [[], [[0, NONE], [1, waits], [3, waits]]]
    assert lines[1:10] == [[[[3, "ve-late"]], [[0, NONE], [1, waits]]]] * 9
    assert lines[10:] == [[[[1, "ve-off"], [3, "ve-late"]], [[0, NONE]]]] * 2


def test_of_many_without_a_veth_few_are_sought_in_a_look_and_each_has_its_turn(
    tmp_path: Path,
) -> None:
    """So that no look takes long: of 200, one took 75 ms."""
    lines = lines_of(
        tmp_path,
        "found, asked = discovery(*map(str, range(40))), []\n"
        "found.path_of = asked.append\n"
        "for _ in range(12):\n"
        "    asked.clear()\n"
        "    found.look(np.ones(40, dtype=np.int64))\n"
        "    print(json.dumps(sorted(asked)))\n",
    )
    everyone = str([*range(40)])
    assert str(lines[0]) == everyone
    assert [len(line) for line in lines[1:6]] == [16] * 5
    assert max(map(len, lines[6:])) == 16
    for some in lines[1:4], lines[6:]:
        assert str(sorted({int(str(at)) for line in some for at in line})) == everyone


def test_a_tenants_thousands_of_cgroups_are_not_all_listed(tmp_path: Path) -> None:
    """Each of 64 may hold as many: listing them kept the limits of all tenants waiting."""
    for number in range(3000):
        (tmp_path / f"child-{number}").mkdir()
    tracemalloc.start()
    assert list(processes_of(tmp_path)) == []
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 200_000


def test_a_process_that_ended_while_it_was_asked_says_nothing(tmp_path: Path) -> None:
    """Its number may be a process's of another tenant by then."""
    (line,) = lines_of(
        tmp_path,
        "class Slow(ClassSocket):\n"
        "    def namespace_of(self, pid):\n"
        "        told = super().namespace_of(pid)\n"
        "        tenant('web')\n"
        "        return told\n"
        "tenant('web', box('ve-web'))\n"
        "found = Discovery(Slow(), [0])\n"
        "found.path_of = lambda at: str(root / 'web')\n"
        "tell(found, 7)\n",
    )
    assert line[0] == []


def test_a_veth_that_a_file_names_is_nobody_elses(tmp_path: Path) -> None:
    (line,) = lines_of(
        tmp_path,
        "tenant('web', box('ve-web'))\n"
        "found = Discovery(ClassSocket(), [0], ['ve-web'])\n"
        "found.path_of = lambda at: str(root / 'web')\n"
        "tell(found, 7)\n",
    )
    shared = "another tenant shares its network namespace, and has its veth ve-web"
    assert line == [[], [[0, shared]]]


def test_what_was_found_is_left_to_the_next_agent_also_where_no_process_leads_there_now(
    tmp_path: Path,
) -> None:
    """A tenant whose processes have all left its namespace may still have sockets there."""
    lines = lines_of(
        tmp_path,
        "import os, socket\n"
        "box('ve-web'), box('ve-db')\n"
        "tenant('web', os.getpid())\n"
        "owners = {socket.if_nametoindex('ve-web'): 7}\n"
        "for its in 7, 8:\n"
        "    found = discovery('web')\n"
        "    found.owners = owners\n"
        "    tell(found, its)\n"
        "tenant('web', boxes[1].pid)\n"
        "found = discovery('web')\n"
        "found.owners = owners\n"
        "tell(found, 7)\n",
    )
    assert lines == [[[[0, "ve-web"]], []], [[], [[0, NONE]]], [[[0, "ve-db"]], []]]


def test_two_tenants_in_one_namespace_do_not_share_its_veth_and_of_two_veths_one_is_taken(
    tmp_path: Path,
) -> None:
    """Whoever had it before has it, also after a restart of the agent."""
    (line,) = lines_of(
        tmp_path,
        "pid = box('ve-one', 've-two')\n"
        "tenant('web', pid)\n"
        "found = discovery('web')\n"
        "tell(found, 7)\n",
    )
    assert line == [[[0, "ve-one"]], [[0, "only its veth ve-one is limited, not ve-two"]]]
    lines = lines_of(
        tmp_path,
        "pid = box('ve-one')\n"
        "tenant('web', pid)\n"
        "tenant('db', pid)\n"
        "import socket\n"
        "tell(discovery('web', 'db'), 7, 8)\n"
        "found = discovery('web', 'db')\n"
        "found.owners = {socket.if_nametoindex('ve-one'): 8}\n"
        "tell(found, 7, 8)\n",
    )
    shared = "another tenant shares its network namespace, and has its veth ve-one"
    assert lines == [[[[at, "ve-one"]], [[1 - at, shared]]] for at in (0, 1)]
