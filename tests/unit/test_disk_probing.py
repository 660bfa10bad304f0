"""enforce.disk_probing: what is said of each disk that is divided."""

from pathlib import Path

import pytest

from enforce import disk_probing
from enforce.counters import Disk
from enforce.disk_probing import probe_disks
from enforce.disks import disk_numbers

NUMBERS: dict[str, Disk] = {"sda": (8, 0), "sda1": (8, 0), "dm-0": (253, 0), "vdb": (254, 16)}


@pytest.fixture(autouse=True)
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a disk, its partition, what is stacked on that, and a disk that iocost divides."""
    monkeypatch.setattr(disk_probing, "disk_number", NUMBERS.get)
    monkeypatch.setattr(
        disk_probing, "lower_disks", lambda name: ["sda1"] if name == "dm-0" else []
    )
    monkeypatch.setattr(
        disk_probing, "weight_file", lambda disk, _: "io.weight" if disk == (254, 16) else None
    )
    numbers = disk_numbers
    monkeypatch.setattr(disk_probing, "disk_numbers", lambda names: numbers(names, NUMBERS.get))


@pytest.mark.parametrize(
    ("names", "elastic", "states", "said"),
    [
        (["sda"], (), ["ok"], "as 8:0; nothing divides it by weight"),
        (["vdb"], ("vdb",), ["ok"], "as 254:16, divided by weight by io.weight"),
        (["sda"], ("sda",), ["degraded"], "elastic limits keep no promise"),
        (["sdz"], (), ["missing"], "no such disk"),
        (["sda1", "sda"], (), ["ok", "missing"], "another table names the same disk"),
        (["sda", "dm-0"], (), ["ok", "degraded"], "stacked on sda, which is divided too"),
    ],
)
def test_of_each_disk_it_is_said_how_it_is_limited_or_why_not(
    names: list[str], elastic: tuple[str, ...], states: list[str], said: str
) -> None:
    found = probe_disks(names, Path("/"), elastic=elastic)
    assert [one.state for one in found] == states
    assert said in found[-1].meaning
    assert all(bool(one.remedy) == (one.state != "ok") for one in found)
