"""enforce.disks: names of disks, and what is none."""

from pathlib import Path

import pytest

from enforce.disks import disk_number


@pytest.fixture
def block(tmp_path: Path) -> Path:
    for name, text in (("sda", "8:0\n"), ("sda1", "8:1\n"), ("odd", "eight\n"), ("bare", None)):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "dev").write_text(text)
    (tmp_path / "sda1" / "partition").write_text("1\n")
    return tmp_path


def test_a_disk_has_the_number_that_the_kernel_counts_it_under(block: Path) -> None:
    assert disk_number("sda", block) == (8, 0)


@pytest.mark.parametrize("name", ["sdb", "sda1", "odd", "bare", "..", "", "../sda", "sda/../sda"])
def test_what_is_no_whole_disk_has_none(block: Path, name: str) -> None:
    assert disk_number(name, block) is None
