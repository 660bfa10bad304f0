"""Tenants' metric files: hostile ones are refused, and one that hangs holds nobody else up."""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from children import wait_until
from elapsed import least_s
from scarcity import no_more_threads

from agent.metric_files import MetricFiles, contents
from agent.metrics import MOST_FILE_BYTES
from agent.mounts import parsed_mounts, read_mounts, served_mount

PATIENCE_S = 0.05


class Files:
    """A folder of metric files, and what is read of them; a disk that does not answer until set."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.answers = folder, threading.Event()
        self.hanging: list[str] = []
        self.mounts: dict[str, str] = {}
        self.reader = MetricFiles(
            {}, read=self.read, patience_s=PATIENCE_S, mounts=lambda: dict(self.mounts)
        )

    def read(self, path: str) -> tuple[int, bytes]:
        """Read a file; one that is named `stuck...` is on that disk."""
        if Path(path).name.startswith("stuck"):
            self.hanging.append(path)
            self.answers.wait(60)
        return contents(path)

    def path(self, tenant: str) -> Path:
        return self.folder / tenant

    def of(self, *tenants: str) -> "Files":
        self.reader.reconfigure({tenant: str(self.path(tenant)) for tenant in tenants})
        return self

    def write(self, tenant: str, text: str = "queue_depth 42\n") -> None:
        """Write a file, at another time than before."""
        path = self.path(tenant)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(text)
        os.utime(path, ns=(before + 1, before + 1))

    def held_up(self, *tenants: str) -> set[str]:
        """Return whose file does not answer, or did so late on a busy machine, and is not asked."""
        self.reader.found()
        return set(tenants) & set(self.reader._held_up)

    def asked(self, *expected: str) -> Mapping[str, Mapping[str, float]]:
        """Ask, and return what is found once something is of all that are expected."""
        wait_until(lambda: not self.held_up(*expected), f"{expected} are not held up")
        self.reader.ask()
        return self.found(*expected)

    def found(self, *expected: str) -> Mapping[str, Mapping[str, float]]:
        """Return what is found once something is of all that are expected."""
        found: dict[str, Mapping[str, float]] = {}

        def is_all_there() -> bool:
            found.update(self.reader.found())
            return set(expected) <= set(found)

        wait_until(is_all_there, f"files of {expected} are read")
        return found


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    yield files
    files.answers.set()
    files.reader.close()


def test_metrics_are_read(files: Files) -> None:
    files.write("web")
    files.write("db", "# of now\nrps 1.5e3\nqueue_depth -1\n")
    assert files.of("web", "db").asked("web", "db") == {
        "web": {"queue_depth": 42.0},
        "db": {"rps": 1500.0, "queue_depth": -1.0},
    }
    assert files.reader.problem is None
    assert files.reader.found() == {}


def test_without_files_there_is_no_thread(files: Files) -> None:
    before = set(threading.enumerate())  # of which one or another may be about to end
    files.reader.ask()
    assert files.reader.found() == {}
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device", "nothing", "socket"])
def test_what_is_no_file_of_its_own_is_refused(files: Files, kind: str) -> None:
    path = files.path("web")
    if kind == "link":
        files.write("secret")
        path.symlink_to(files.path("secret"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    target = "/dev/zero" if kind == "device" else str(path)
    files.reader.reconfigure({"web": target})
    assert files.asked("web") == {"web": {}}
    assert files.reader.problem is not None
    assert files.reader.problem.startswith(f"metrics of 1 tenant(s): web: {target}: ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" * (MOST_FILE_BYTES + 1), "larger than 64 KiB"),
        ("queue_depth\n", "line 1: expected a name, a blank and a number"),
        ("queue_depth 1\nqueue_dep", "line 2: expected a name, a blank and a number"),
    ],
)
def test_a_file_that_is_too_large_or_half_written_tells_nothing(
    files: Files, text: str, why: str
) -> None:
    files.write("web", text)
    assert files.of("web").asked("web") == {"web": {}}
    assert (files.reader.problem or "").endswith(why)
    files.write("web")
    assert files.asked("web") == {"web": {"queue_depth": 42.0}}
    assert files.reader.problem is None


def test_a_file_that_nobody_writes_any_more_stops_counting_within_two_steps(files: Files) -> None:
    files.write("web")
    files.of("web")
    told = [files.asked("web")["web"] for _ in range(4)]
    assert told == [{"queue_depth": 42.0}, {"queue_depth": 42.0}, {}, {}]
    assert "not written for 3 steps" in (files.reader.problem or "")
    files.write("web")
    assert files.asked("web")["web"] == {"queue_depth": 42.0}


def test_a_file_whose_writer_holds_a_lease_is_refused_and_not_waited_for(files: Files) -> None:
    files.write("web")
    handler = signal.signal(signal.SIGIO, signal.SIG_IGN)  # tells the holder, and would end it
    with files.path("web").open("r+b") as held:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # openers would wait for 45 s
        assert files.of("web").asked("web") == {"web": {}}
    signal.signal(signal.SIGIO, handler)
    assert "temporarily unavailable" in (files.reader.problem or "")


def test_files_that_hang_hold_up_nobody_else_and_no_tick(files: Files) -> None:
    stuck = [f"stuck{place}" for place in range(6)]
    for tenant in (*stuck, "web"):
        files.write(tenant)

    def another() -> Files:
        one = Files(files.folder)
        one.answers = files.answers
        return one.of(*stuck, "web")

    def ask(one: Files) -> None:
        one.reader.ask()
        one.reader.found()

    assert least_s(ask, of=another, below_s=0.5) < 0.5
    ask(files.of(*stuck, "web"))
    assert files.asked("web")["web"] == {"queue_depth": 42.0}
    wait_until(lambda: "stuck0: " in (files.reader.problem or ""), "it is told")
    assert "does not answer" in (files.reader.problem or "")
    threads = threading.active_count()
    for _ in range(5):
        files.write("web")
        assert files.asked("web")["web"] == {"queue_depth": 42.0}
    # A file that hangs is left alone; a thread that was late may be about to end.
    wait_until(lambda: threading.active_count() <= threads, "no thread more")

    files.answers.set()
    wait_until(lambda: not files.reader.found() and not files.reader._held_up, "they answer")
    for tenant in stuck:
        files.write(tenant)
    assert files.asked(*stuck)["stuck5"] == {"queue_depth": 42.0}


def test_however_many_files_hang_threads_are_bounded(files: Files) -> None:
    stuck = [f"stuck{place:02}" for place in range(90)]
    for tenant in stuck:
        files.write(tenant)
    before = threading.active_count()
    files.of(*stuck).reader.ask()
    ends_at_s = time.monotonic() + 3.0
    while time.monotonic() < ends_at_s:
        files.reader.found()
        time.sleep(0.01)
    assert threading.active_count() - before <= 64 + 1


def test_what_hangs_at_one_mount_holds_up_two_threads_and_others_are_read(files: Files) -> None:
    away = files.folder / "away"
    (away / "local").mkdir(parents=True)
    files.mounts = {
        "/": "ext4",
        str(away): "fuse.sshfs",
        str(away / "local"): "tmpfs",
        str(files.folder): "tmpfs",
    }
    stuck = [f"away/stuck{place:02}" for place in range(80)]
    for tenant in (*stuck, "web", "away/local/db"):
        files.write(tenant)
    files.of(*stuck, "away/local/db", "web")
    files.reader.ask()
    wait_until(lambda: len(files.hanging) == 2, "both threads hang")
    time.sleep(2 * PATIENCE_S)  # or one might be left alone before the other, and a third begin
    found = files.found("web", "away/local/db", *stuck[2:])
    assert found["web"] == found["away/local/db"] == {"queue_depth": 42.0}
    wait_until(lambda: files.held_up(*stuck, "web", "away/local/db") == {*stuck[:2]}, "no others")
    assert len(files.hanging) == 2
    assert "left alone, as others at" in files.reader._problems[stuck[-1]]
    files.answers.set()
    wait_until(lambda: not files.reader.found() and not files.reader._held_up, "they answer")
    for tenant in stuck:
        files.write(tenant)
    assert files.asked(*stuck)[stuck[-1]] == {"queue_depth": 42.0}


def test_a_tenant_whose_file_is_another_now_holds_up_no_second_thread(files: Files) -> None:
    for place in range(4):
        files.write(f"stuck{place}")
        files.reader.reconfigure({"web": str(files.path(f"stuck{place}"))})
        files.reader.ask()
        wait_until(lambda: bool(files.reader.found()) or bool(files.reader._held_up), "it is seen")
    assert list(files.reader._held_up) == ["web"]
    assert len(files.reader._readers) <= 2


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "22 27 0:21 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "23 22 0:40 / /srv/a\\040b rw - fuse.sshfs host:/ rw\n"
        "24 23 0:41 / /srv/a\\040b/c rw - tmpfs none rw\n25 nonsense\n"
    )
    mounts = parsed_mounts(text)
    assert mounts == {"/": "ext4", "/srv/a b": "fuse.sshfs", "/srv/a b/c": "tmpfs"}
    assert served_mount("/srv/a b/x/metrics", mounts) == "/srv/a b"
    assert served_mount("/srv/a b/c/metrics", mounts) is None
    assert served_mount("/srv/a bc/metrics", mounts) is None
    assert read_mounts()["/proc"] == "proc"


def test_where_there_is_no_room_for_a_thread_nothing_is_read_and_nothing_fails(
    files: Files,
) -> None:
    files.write("web")
    with no_more_threads():
        files.of("web").reader.ask()
        assert files.reader.found() == {}
    assert files.asked("web")["web"] == {"queue_depth": 42.0}


def test_a_file_that_is_configured_no_more_tells_nothing_more(files: Files) -> None:
    files.write("web", "no metric\n")
    files.of("web").asked("web")
    assert files.reader.problem
    assert files.of().reader.problem is None
    assert files.reader.found() == {}
