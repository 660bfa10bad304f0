"""enforce.disks: what the kernel takes a name of a disk for, and what is none."""

from pathlib import Path

import pytest

from enforce.disks import disk_below, disk_number, disk_numbers, lower_disks, weight_file


@pytest.fixture
def block(tmp_path: Path) -> Path:
    """Return /sys/class/block with a disk, its partition, and a dm device stacked on that."""
    devices, block = tmp_path / "devices", tmp_path / "block"
    block.mkdir()
    texts = {"sda": "8:0\n", "sda/sda1": "8:1\n", "odd": "eight\n", "bare": None, "dm-0": "253:0\n"}
    for name, text in texts.items():
        there = devices / name
        there.mkdir(parents=True)
        if text is not None:
            (there / "dev").write_text(text)
        (block / there.name).symlink_to(there)
    (block / "sda1" / "partition").write_text("1\n")
    for folder in ("dm-0/dm", "dm-0/slaves/sda1"):
        (block / folder).mkdir(parents=True)
    (block / "dm-0" / "dm" / "name").write_text("vg-data\n")
    return block


@pytest.mark.parametrize(
    ("name", "number"),
    [("sda", (8, 0)), ("sda1", (8, 0)), ("dm-0", (253, 0)), ("vg-data", (253, 0))],
)
def test_a_disk_has_the_number_that_the_kernel_limits_it_under(
    block: Path, name: str, number: tuple[int, int]
) -> None:
    """The kernel takes no partition's: its limit is its disk's."""
    assert disk_number(name, block) == number


@pytest.mark.parametrize(
    "name", ["sdb", "odd", "bare", "..", "", "../sda", "sda/../sda", "vg-data\n", "mapper/vg-data"]
)
def test_what_is_no_disk_has_none(block: Path, name: str) -> None:
    assert disk_number(name, block) is None


def test_a_second_name_of_the_same_disk_has_no_number_of_its_own(block: Path) -> None:
    """Two parts of a configuration that divide one disk would write over each other's limits."""
    names = ("sda1", "dm-0", "sda", "vg-data")
    numbers = disk_numbers(names, lambda name: disk_number(name, block))
    assert numbers == {"sda1": (8, 0), "dm-0": (253, 0), "sda": None, "vg-data": None}


def test_what_a_device_is_stacked_on_is_known(block: Path) -> None:
    assert lower_disks("dm-0", block) == lower_disks("vg-data", block) == ["sda1"]
    assert lower_disks("sda", block) == []


def test_all_of_a_device_is_on_one_disk_or_it_stands_for_itself(block: Path) -> None:
    """systemd goes down to that disk where it is told of a device."""
    numbers = {"sda": "8:0", "dm-0": "253:0", "dm-1": "253:1"}
    for name in ("sda2", "sdb", "dm-1"):
        (block / name).mkdir()
        (block / name / "dev").write_text(f"{numbers.get(name, '8:16')}\n")
    by_number = block.parent / "numbers"
    by_number.mkdir()
    for name, number in numbers.items():
        (by_number / number).symlink_to(block / name)

    def below(disk: tuple[int, int]) -> str | None:
        return disk_below(disk, block, by_number)

    assert below((253, 0)) == "sda", "its one lower device is a partition of that"
    assert (below((8, 0)), below((253, 1)), below((7, 7))) == (None, None, None)
    for lower in ("sda1", "sdb"):
        (block / "dm-1" / "slaves" / lower).mkdir(parents=True)
    assert below((253, 1)) is None


@pytest.mark.parametrize(
    ("cost", "scheduler", "file"),
    [
        ("8:0 enable=1 ctrl=auto\n", "[none] bfq\n", "io.weight"),
        ("8:0 enable=0 ctrl=auto\n", "[none] bfq\n", None),
        ("8:16 enable=1 ctrl=auto\n", "none [bfq]\n", "io.bfq.weight"),
        (None, "[mq-deadline] none\n", None),
        (None, None, None),
    ],
)
def test_a_disk_is_divided_by_weight_only_where_iocost_or_bfq_is_on(
    tmp_path: Path, cost: str | None, scheduler: str | None, file: str | None
) -> None:
    queue, root = tmp_path / "8:0" / "queue", tmp_path / "cgroup" / "slice" / "tenants"
    queue.mkdir(parents=True)
    root.mkdir(parents=True)
    if cost is not None:
        (tmp_path / "cgroup" / "io.cost.qos").write_text(cost)
    if scheduler is not None:
        (queue / "scheduler").write_text(scheduler)
    assert weight_file((8, 0), root, tmp_path) == file
    assert weight_file(None, root, tmp_path) is None
