"""enforce.writes: who wrote is told, and who writes without end costs nobody else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforce.writes import WriteWatch

FILES = ("cpu.max", "memory.high")
QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in "abc"]
    for folder in found:
        folder.mkdir()
        for file in (*FILES, "cgroup.procs", "cgroup.threads"):
            (folder / file).write_text("")
    return found


@pytest.fixture
def watch(folders: list[Path]) -> Iterator[WriteWatch]:
    found = WriteWatch(FILES)
    for position, folder in enumerate(folders):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        found.watch(position, fd)
        os.close(fd)
    yield found
    found.close()


def write(folder: Path, *files: str, times: int = 1) -> None:
    """Write files in turn: events of one file in a row are one."""
    fds = [os.open(folder / file, os.O_WRONLY) for file in files]
    for _ in range(times):
        for fd in fds:
            os.write(fd, b"x")
    for fd in fds:
        os.close(fd)


def test_who_was_written_is_told_once(folders: list[Path], watch: WriteWatch) -> None:
    write(folders[1], "cpu.max", "cgroup.procs")
    assert watch.touched() == {"cpu.max": {1}}
    assert watch.written() == {"cpu.max": {1}, "memory.high": set()}
    assert watch.written() == {"cpu.max": set(), "memory.high": set()}


def test_who_writes_without_end_is_read_instead_and_no_other(
    folders: list[Path], watch: WriteWatch
) -> None:
    write(folders[0], "cgroup.procs", "cgroup.threads", times=500)
    write(folders[1], "cpu.max")
    assert watch.written() == {"cpu.max": {0, 1}, "memory.high": {0}}
    assert watch.unwatched == {0}
    write(folders[0], "cgroup.procs", "cgroup.threads", times=QUEUE)
    write(folders[1], "cpu.max")
    assert watch.touched() == {"cpu.max": {1}}
    assert watch.written() == {"cpu.max": {0, 1}, "memory.high": {0}}


def test_where_the_kernel_lost_events_all_may_have_been_written_once(
    folders: list[Path], watch: WriteWatch
) -> None:
    write(folders[0], "cgroup.procs", "cgroup.threads", times=QUEUE)
    write(folders[1], "cpu.max")
    assert watch.touched() == {}  # which would hold all writes back
    assert watch.written() == {"cpu.max": {0, 1, 2}, "memory.high": {0, 1, 2}}
    write(folders[0], "cgroup.procs", "cgroup.threads", times=QUEUE)
    assert watch.written() == {"cpu.max": {0}, "memory.high": {0}}
