"""enforce.descriptors: files that are kept open, and those that are gone."""

import errno
import os
import resource
from pathlib import Path

import pytest

from enforce.descriptors import (
    KeptFiles,
    PolledFiles,
    raise_open_files_limit,
    read_each,
    read_once,
)


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def test_each_descriptor_is_read_from_its_beginning_each_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n")
    fd = opened(tmp_path / "a")
    assert read_each([fd, fd], 64) == ([b"1\n", b"1\n"], {})
    (tmp_path / "a").write_bytes(b"22\n")
    assert read_each([fd], 64) == ([b"22\n"], {})
    os.close(fd)


def test_a_bad_descriptor_costs_no_other_its_row(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n")
    fd = opened(tmp_path / "a")
    rows, failures = read_each([10**6, fd, 10**6, fd, 10**6], 64)
    assert rows == [b"", b"1\n", b"", b"1\n", b""]
    assert failures == dict.fromkeys((0, 2, 4), errno.EBADF)
    os.close(fd)


def test_a_row_longer_than_expected_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    fd = opened(tmp_path / "a")
    assert read_each([fd], 10) == ([b"x" * 100], {})
    os.close(fd)


def test_reading_names_the_positions_that_it_has_rows_of(tmp_path: Path) -> None:
    files = KeptFiles("f", size_bytes=64)
    for position, name in ((700, "a"), (3, "b"), (5, "c")):
        (tmp_path / name).mkdir()
        if name != "b":
            (tmp_path / name / "f").write_bytes(name.encode())
        files.open(position, opened(tmp_path / name))
    assert 3 not in files
    reading = files.read()
    assert (reading.positions.tolist(), reading.rows, reading.gone) == ([5, 700], [b"c", b"a"], [])
    assert files.read([5, 3]).positions.tolist() == [5]
    files.close(700)
    assert files.read().rows == [b"c"]
    files.close_all()


def test_files_that_the_kernel_does_not_signal_are_read_every_time(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    files = PolledFiles("f", size_bytes=64)
    files.open(4, opened(tmp_path))
    assert files.changed() == {4}
    assert files.changed() == {4}
    files.close(4)
    assert files.changed() == set()
    files.close_all()


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    assert read_once(f"{tmp_path}/file", 64) == b"text"
    assert read_once(f"{tmp_path}/missing", 64) == b""
    assert read_once(f"{tmp_path}/folder", 64) == b""


@pytest.mark.parametrize(("wanted", "holds"), [(50, 100), (300, 300), (9000, 500)])
def test_the_limit_of_open_files_rises_as_far_as_it_may(
    monkeypatch: pytest.MonkeyPatch, wanted: int, holds: int
) -> None:
    limits = [100, 500]

    def set_limit(_: int, pair: tuple[int, int]) -> None:
        if pair[1] > limits[1]:
            raise ValueError("not allowed to raise maximum limit")
        limits[:] = pair

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert raise_open_files_limit(wanted) == holds
    assert limits == [holds, 500]
