"""Whose veth is whose, by the namespaces of processes, in a kernel, in a namespace of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
NONE = "no process of it is in a network namespace of its own: take `veth` out of its file"


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


def test_who_has_none_is_told_why_and_sought_again_seldom(tmp_path: Path) -> None:
    lines = lines_of(
        tmp_path,
        "import os\n"
        "tenant('web', os.getpid())\n"
        "tenant('off')\n"
        "found = discovery('web', 'off', 'gone')\n"
        "tell(found, 7, 8, 0)\n"
        "tenant('off', box('ve-off'))\n"
        "for _ in range(5): tell(found, 7, 8, 0)\n",
    )
    waits = "it has no process yet, so that its veth cannot be found"
    assert lines[:5] == [[[], [[0, NONE], [1, waits]]]] * 5
    assert lines[5] == [[[1, "ve-off"]], [[0, NONE]]]


def test_two_tenants_in_one_namespace_do_not_share_its_veth_and_of_two_veths_one_is_taken(
    tmp_path: Path,
) -> None:
    (line,) = lines_of(
        tmp_path,
        "pid = box('ve-one', 've-two')\n"
        "tenant('web', pid)\n"
        "found = discovery('web')\n"
        "tell(found, 7)\n",
    )
    assert line == [[[0, "ve-one"]], [[0, "only its veth ve-one is limited, not ve-two"]]]
    (line,) = lines_of(
        tmp_path,
        "pid = box('ve-one')\n"
        "tenant('web', pid)\n"
        "tenant('db', pid)\n"
        "tell(discovery('web', 'db'), 7, 8)\n",
    )
    shared = "another tenant shares its network namespace, and has its veth ve-one"
    assert line == [[[0, "ve-one"]], [[1, shared]]]
