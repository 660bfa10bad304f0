"""enforce.kernel_settings: what of the kernel's settings is in the way, and of whom."""

from pathlib import Path

import pytest

from enforce.capability import Capability
from enforce.kernel_settings import probe_settings

PROTECTED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate,memory_recursiveprot 0 0\n"
GOOD = {
    "sys/vm/swappiness": "60\n",
    "sys/vm/panic_on_oom": "0\n",
    "sys/kernel/hung_task_panic": "0\n",
    "sys/fs/nr_open": "1048576\n",
    "swaps": "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
    "mounts": PROTECTED,
}


def probed(folder: Path, **asked: bool) -> dict[str, Capability]:
    """Return what is found where a busy host of a thousand tenants asks for it."""
    found = probe_settings(tenants=1000, proc_sys=folder / "sys", mounts=folder / "mounts", **asked)
    return {one.name: one for one in found}


def written(folder: Path, **changed: str | None) -> None:
    for name, text in (GOOD | {key.replace("__", "/"): t for key, t in changed.items()}).items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def test_usual_settings_are_in_nobodys_way(tmp_path: Path) -> None:
    written(tmp_path)
    (found,) = probed(tmp_path, has_disks=True, has_maxima=True).values()
    assert (found.name, found.state) == ("kernel settings", "ok")


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("sys__vm__swappiness", "0\n", "vm.swappiness"),
        ("sys__kernel__hung_task_panic", "1\n", "kernel.hung_task_panic"),
        ("sys__vm__panic_on_oom", "2\n", "vm.panic_on_oom"),
        ("sys__fs__nr_open", "4096\n", "fs.nr_open"),
        ("mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "memory_recursiveprot"),
    ],
)
def test_what_is_in_the_way_is_named_with_what_it_means_and_what_to_do(
    tmp_path: Path, file: str, text: str, name: str
) -> None:
    written(tmp_path, **{file: text})
    found = probed(tmp_path, has_disks=True, has_maxima=True)
    assert list(found) == [name]
    assert found[name].state == "degraded"
    assert found[name].meaning
    assert found[name].remedy


def test_what_concerns_nobody_here_is_not_named(tmp_path: Path) -> None:
    settings = {"sys__kernel__hung_task_panic": "1\n", "sys__vm__panic_on_oom": "2\n"}
    written(tmp_path, sys__vm__swappiness="0\n", swaps="Filename Type\n", **settings)
    assert list(probed(tmp_path)) == ["kernel settings"]


def test_a_kernel_that_does_not_tell_is_not_accused(tmp_path: Path) -> None:
    assert list(probed(tmp_path, has_disks=True, has_maxima=True)) == ["kernel settings"]
