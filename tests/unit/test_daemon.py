"""The daemon over plain directories: reloads beside the ticks, as systemd sees them."""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
import structlog
from scarcity import few_descriptors, no_more_threads
from tenants import wait_until

from agent.daemon import Daemon
from agent.host import read_config
from agent.notify import Notifier
from agent.paths import ORIGINALS_NAME
from agent.record import TickRecord
from agent.service import run, serve
from agent.settings import Config
from agent.signals import Signals
from agent.sole import AgentRunningError, RootLock
from agent.tenant import Resource
from enforce.originals import Original, Originals
from enforce.restoring import ROOT

WAIT_S = 30.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HOST = """
[host]
cgroup_root = "{folder}/root"
state_dir = "{folder}"
runtime_dir = "{folder}"
observe = {observe}
[periods]
tick_s = 0.1
step_s = 1
most_cpu_cores = {most}
"""


class Files:
    """Configuration files that can be held back while they are read."""

    def __init__(self, folder: Path) -> None:
        self.tenants = folder / "tenants.d"
        self.tenants.mkdir()
        self._folder, self._host = folder, folder / "tidegate.toml"
        self.set_host()
        self.add("first")
        self.may_read, self.readings = threading.Event(), 0
        self.may_read.set()

    def set_host(self, most_cpu_cores: float = 1e3, observe: str = "false") -> None:
        text = HOST.format(folder=self._folder, most=most_cpu_cores, observe=observe)
        self._host.write_text(text)

    def add(self, name: str, text: str = 'qos = "silver"\n') -> None:
        (self.tenants / f"{name}.toml").write_text(text)

    def read(self, accepted: Mapping[Resource, float] | None = None) -> Config:
        self.readings += 1
        config = read_config(self._host, self.tenants, accepted)
        assert self.may_read.wait(WAIT_S)
        return config


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def daemon(files: Files) -> Iterator[Daemon]:
    with closing(Daemon(files.read(), files.read)) as daemon:
        yield daemon


def ticked(daemon: Daemon) -> tuple[str, ...]:
    """Run a tick; return the names of its tenants."""
    assert daemon.tick(time.monotonic(), 0)
    assert daemon.record is not None
    return daemon.record.roster.names


def reloaded(daemon: Daemon) -> str | None:
    """Reload; return what was wrong with it."""
    daemon.begin_reload(lambda: None)
    wait_until(lambda: daemon.has_loaded)
    daemon.end_reload()
    wait_until(lambda: not daemon.is_releasing)
    return daemon.reload_problem


def remade(root: Path) -> None:
    """Put an empty directory in a root's place."""
    shutil.rmtree(root)
    (root.parent / "another").mkdir()  # while the old inode's number may not be taken again
    (root.parent / "another").rename(root)


def test_ticks_go_on_under_the_old_configuration_while_the_new_one_is_read(
    daemon: Daemon, files: Files
) -> None:
    files.add("second")
    files.may_read.clear()
    daemon.begin_reload(lambda: None)
    assert [ticked(daemon) for _ in range(3)] == [("first",)] * 3
    assert not daemon.has_loaded
    files.may_read.set()
    wait_until(lambda: daemon.has_loaded)
    assert ticked(daemon) == ("first",)  # nothing changes but between ticks, when it is told to
    daemon.end_reload()
    assert ticked(daemon) == ("first", "second")


def test_a_reload_has_ended_when_a_tick_under_it_can_be_asked_for(
    daemon: Daemon, files: Files
) -> None:
    ticked(daemon)
    files.add("second")
    assert reloaded(daemon) is None
    assert (daemon.facts().reloads_begun, daemon.facts().reloads_ended) == (1, 0)
    assert ticked(daemon) == ("first", "second")
    assert daemon.facts().reloads_ended == 1
    files.add("second", 'qos = "diamond"\n')
    assert reloaded(daemon) is not None
    assert daemon.facts().reloads_ended == 2  # nothing has changed: no tick has to tell of it


def test_a_bad_change_keeps_the_old_configuration(daemon: Daemon, files: Files) -> None:
    files.add("second", 'qos = "diamond"\n')
    assert "second" in (reloaded(daemon) or "")
    assert ticked(daemon) == ("first",)
    files.add("second")
    assert reloaded(daemon) is None
    assert ticked(daemon) == ("first", "second")


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Capture the log, which is not to go on to a stream that ends with the test."""
    yield capsys
    structlog.reset_defaults()


def test_a_reload_logs_once_which_files_are_left_alone(
    logged: pytest.CaptureFixture[str], daemon: Daemon, files: Files
) -> None:
    (files.tenants / ".second.toml").touch()
    assert reloaded(daemon) is None
    assert [ticked(daemon) for _ in range(2)] == [("first",)] * 2
    assert logged.readouterr().err.count('"files":".second.toml (hidden)"') == 1


def test_a_reload_without_room_for_a_thread_is_read_at_once(daemon: Daemon, files: Files) -> None:
    wait_until(lambda: not daemon.is_releasing)  # what the start had to put back
    files.add("second")
    with no_more_threads():
        daemon.begin_reload(lambda: None)
    assert daemon.has_loaded
    daemon.end_reload()
    assert ticked(daemon) == ("first", "second")


@pytest.mark.parametrize("has_room", [True, False])
def test_a_fault_in_reading_keeps_the_old_configuration(
    daemon: Daemon, files: Files, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    def broken() -> int:
        raise RuntimeError("no processors in sight")

    files.add("second")
    with monkeypatch.context() as patch, nullcontext() if has_room else no_more_threads():
        patch.setattr("psutil.cpu_count", broken)
        daemon.begin_reload(lambda: None)
        wait_until(lambda: daemon.has_loaded)
    daemon.end_reload()
    assert "the log says why" in (daemon.reload_problem or "")
    assert ticked(daemon) == ("first",)
    assert reloaded(daemon) is None


OBSERVED = 'qos = "silver"\nobserve = true\n'


@pytest.fixture
def limited(files: Files, tmp_path: Path) -> Path:
    """Return a tenant's cgroup that tidegate has set limits in, and its root's."""
    cgroup = tmp_path / "root" / "first"
    cgroup.mkdir(parents=True)
    for folder in (cgroup, cgroup.parent):
        (folder / "cgroup.procs").touch()
    (cgroup / "cpu.max").write_text("50000 100000")
    (cgroup.parent / "memory.low").write_text("4096")
    found = [
        Original("first", cgroup.stat().st_ino, "cpu.max", "max 100000"),
        Original(ROOT, cgroup.parent.stat().st_ino, "memory.low", "0"),
    ]
    Originals(tmp_path / ORIGINALS_NAME).record(found)
    return cgroup


def test_a_tenant_that_is_only_observed_from_now_on_gets_its_control_files_back(
    limited: Path, daemon: Daemon, files: Files
) -> None:
    assert reloaded(daemon) is None
    assert (limited / "cpu.max").read_text() == "50000 100000"
    files.add("first", OBSERVED)
    assert reloaded(daemon) is None
    assert (limited / "cpu.max").read_text() == "max 100000"
    assert not daemon.facts().problems()
    (limited / "cpu.max").write_text("70000 100000")  # by another: nobody's to put back now
    assert reloaded(daemon) is None
    assert (limited / "cpu.max").read_text() == "70000 100000"
    assert (limited.parent / "memory.low").read_text() == "4096"  # others may need it


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_host_that_is_only_observed_from_now_on_gets_all_control_files_back(
    limited: Path, files: Files, is_restarted: bool
) -> None:
    with closing(Daemon(files.read(), files.read)) as daemon:
        files.set_host(observe="true")
        assert is_restarted or reloaded(daemon) is None
    with closing(Daemon(files.read(), files.read)) if is_restarted else nullcontext(daemon) as last:
        wait_until(lambda: not last.is_releasing)
        assert (limited / "cpu.max").read_text() == "max 100000"
        assert (limited.parent / "memory.low").read_text() == "0"
        assert limited.exists()
        assert not last.facts().problems()


def test_who_only_observes_puts_nothing_back_where_another_agent_sets_the_limits(
    limited: Path, files: Files
) -> None:
    files.set_host(observe="true")
    with closing(RootLock(limited.parent)), closing(Daemon(files.read(), files.read)) as daemon:
        wait_until(lambda: not daemon.is_releasing)
        assert (limited / "cpu.max").read_text() == "50000 100000"
        assert "cannot be put back" in daemon.facts().problems()[0]


def test_what_cannot_be_put_back_is_told_and_tried_again_with_each_step(
    limited: Path, daemon: Daemon, files: Files
) -> None:
    (limited / "cpu.max").unlink()
    (limited / "cpu.max").mkdir()
    files.add("first", OBSERVED)
    assert reloaded(daemon) is None
    assert "first/cpu.max" in daemon.facts().problems()[0]
    (limited / "cpu.max").rmdir()
    (limited / "cpu.max").write_text("50000 100000")
    wait_until(lambda: bool(ticked(daemon)) and not daemon.facts().problems())
    assert (limited / "cpu.max").read_text() == "max 100000"


def test_ticks_go_on_and_reloads_wait_while_what_is_limited_no_more_is_put_back(
    files: Files, tmp_path: Path
) -> None:
    """A FIFO stands for a file that takes its time: it waits for its other end."""
    cgroup = tmp_path / "root" / "former"
    cgroup.mkdir(parents=True)
    (cgroup / "cgroup.procs").touch()
    os.mkfifo(cgroup / "cpu.max")
    found = Original("former", cgroup.stat().st_ino, "cpu.max", "max 100000")
    Originals(tmp_path / ORIGINALS_NAME).record([found])
    with closing(Daemon(files.read(), files.read)) as daemon:
        daemon.begin_reload(lambda: None)
        wait_until(lambda: files.readings == 2)
        assert [ticked(daemon) for _ in range(3)] == [("first",)] * 3
        assert "1 cgroup(s) are being put back" in daemon.facts().problems()[0]
        assert not daemon.has_loaded
        assert (cgroup / "cpu.max").read_text() == "max 100000"
        (cgroup / "cpu.max").write_text("max 100000")  # what is read back
        wait_until(lambda: daemon.has_loaded)
        assert not daemon.facts().problems()


def test_a_root_that_was_made_anew_is_locked_anew(daemon: Daemon, tmp_path: Path) -> None:
    ticked(daemon)
    remade(tmp_path / "root")
    ticked(daemon)
    with pytest.raises(AgentRunningError):
        RootLock(tmp_path / "root")


def test_nothing_is_ticked_while_another_agent_has_the_root_that_was_made_anew(
    daemon: Daemon, tmp_path: Path
) -> None:
    ticked(daemon)
    last = daemon.record
    remade(tmp_path / "root")
    with closing(RootLock(tmp_path / "root")):
        assert not daemon.tick(time.monotonic(), 0)
        assert daemon.record is last
        assert not list((tmp_path / "root").iterdir())
    ticked(daemon)
    assert daemon.record is not last


def test_a_root_that_is_gone_for_good_stops_no_tick(daemon: Daemon, tmp_path: Path) -> None:
    ticked(daemon)
    shutil.rmtree(tmp_path / "root")
    (tmp_path / "root").write_text("in the way")
    ticked(daemon)
    assert "1 tenant" in daemon.summary()


def test_a_reload_without_descriptors_changes_nothing(daemon: Daemon, files: Files) -> None:
    ticked(daemon)
    files.add("second")
    daemon.begin_reload(lambda: None)
    wait_until(lambda: daemon.has_loaded)
    with few_descriptors(left=0):
        daemon.end_reload()
    assert "Too many open files" in (daemon.reload_problem or "")
    assert ticked(daemon) == ("first",)
    assert reloaded(daemon) is None
    assert ticked(daemon) == ("first", "second")


def served(daemon: Daemon, *, for_s: float) -> tuple[TickRecord, TickRecord]:
    """Run a daemon as the service does; return its records before and after."""
    signals, first = Signals(), daemon.record

    def stop() -> None:
        signals.stop = True
        signals.wake()

    threading.Timer(for_s, stop).start()
    serve(daemon, signals, Notifier())
    last = daemon.record
    assert first is not None
    assert last is not None
    return first, last


def test_ticks_that_cost_too_much_are_left_out_and_status_says_so(
    daemon: Daemon, files: Files, tmp_path: Path
) -> None:
    (tmp_path / "root" / "first" / "cpu.stat").write_text("usage_usec 1000\n")
    for _ in range(30):
        ticked(daemon)
    assert not daemon.facts().problems()
    files.set_host(most_cpu_cores=1e-6)  # no tick costs so little
    assert reloaded(daemon) is None
    for _ in range(30):
        ticked(daemon)
    facts = daemon.facts()
    assert facts.tick_s == pytest.approx(1.0)  # one a step
    assert "one in 10 is run, every 1 s" in facts.problems()[0]
    assert reloaded(daemon) is None  # nothing has changed: nor does the pace
    assert daemon.facts().tick_s == facts.tick_s
    first, last = served(daemon, for_s=2.5)
    for _ in range(3):  # a busy machine makes some late, but not each time
        if (last.number - first.number, last.late_ticks) != (3, 0):
            first, last = served(daemon, for_s=2.5)
    assert last.number - first.number == 3  # at 0, 1 and 2 s, of 25
    assert last.late_ticks == 0
    for later_s in (10.0, 11.5):  # more than ten ticks, but not more than ten of those that are run
        assert daemon.tick(last.taken_at_s + later_s, 0)
    assert daemon.record is not None
    assert daemon.record.resources[Resource.CPU].usage.tolist() == [0.0]
    files.set_host()
    assert reloaded(daemon) is None
    assert not daemon.facts().problems()


def test_what_the_machine_has_is_followed_and_floors_are_scaled_while_they_do_not_fit(
    files: Files, tmp_path: Path
) -> None:
    """A reload is good meanwhile unless its files would not have been good before either."""
    machine = {Resource.CPU: 4096.0, Resource.MEMORY: 2.0**40}  # more than any host for tests
    floors = {"first": 2500.0, "second": 1000.0}
    for name, floor in floors.items():
        files.add(name, f'qos = "silver"\n[cpu]\nfloor_cores = {floor}\n')
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "cpu.stat").write_text("usage_usec 1000\n")
    alarm = "cpu floors exceed the capacity: they are scaled down by weight"
    with closing(Daemon(files.read(machine), files.read, lambda: dict(machine))) as daemon:

        def cores() -> float:
            ticked(daemon)
            assert daemon.record is not None
            part = daemon.record.resources[Resource.CPU]
            assert part.guaranteed.sum() <= part.capacity * (1 + 1e-9)
            assert (alarm in daemon.record.problems) == (part.capacity < sum(floors.values()))
            return part.capacity

        assert cores() == pytest.approx(4095.9)
        machine[Resource.CPU] = 2048.0
        wait_until(lambda: cores() == pytest.approx(2047.9))
        assert reloaded(daemon) is None
        assert cores() == pytest.approx(2047.9)
        files.add("third", 'qos = "silver"\n[cpu]\nfloor_cores = 2000\n')
        assert "sum of cpu.floor_cores" in (reloaded(daemon) or "")
        machine[Resource.CPU] = 0.05  # less than what is kept for the system
        wait_until(lambda: cores() == 0.0)
        machine[Resource.CPU] = 4096.0
        wait_until(lambda: cores() == pytest.approx(4095.9))


def test_a_start_without_room_for_threads_is_a_clear_error(tmp_path: Path) -> None:
    files = Files(tmp_path)
    taken = [signal.getsignal(number) for number in SIGNALS]
    try:
        with no_more_threads(), pytest.raises(OSError, match=r"cannot be served .*TasksMax="):
            run(tmp_path / "tidegate.toml", files.tenants)
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in zip(SIGNALS, taken, strict=True):
            signal.signal(number, handler)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(WAIT_S)
        yield receiver


class Systemd:
    """Listens to the daemon from a thread, and does `on[n]` upon the n-th change of state."""

    def __init__(self, inbox: socket.socket, *on: Callable[[], None]) -> None:
        self._inbox, self._on = inbox, on
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._listen)

    def follow(self, daemon: Daemon, signals: Signals) -> list[str]:
        """Serve until stopped; return the states in the order in which they were heard."""
        self._thread.start()
        serve(daemon, signals, Notifier(self._inbox.getsockname()))
        self._thread.join(WAIT_S)
        return self.heard

    def _listen(self) -> None:
        while "STOPPING" not in self.heard:
            state = self._inbox.recv(1000).decode().partition("=")[0]
            if state != "STATUS":
                self.heard.append(state)
                if len(self.heard) <= len(self._on):
                    self._on[len(self.heard) - 1]()


def test_two_hangups_in_a_row_are_two_reloads_one_after_the_other(
    daemon: Daemon, files: Files, inbox: socket.socket
) -> None:
    signals = Signals()

    def hang_up() -> None:
        signals.reload = True
        signals.wake()

    def hang_up_again() -> None:  # while the files of the first are being read
        wait_until(lambda: files.readings == 2)
        files.add("second")
        hang_up()
        time.sleep(0.3)  # ticks go on
        files.may_read.set()

    def stop() -> None:
        signals.stop = True
        signals.wake()

    files.may_read.clear()
    systemd = Systemd(inbox, hang_up, hang_up_again, lambda: None, lambda: None, stop)
    order = systemd.follow(daemon, signals)
    assert order == ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]
    assert files.readings == 3
    assert ticked(daemon) == ("first", "second")
    assert daemon.failed_ticks == 0


def test_a_stop_does_not_wait_for_files_that_are_being_read(
    daemon: Daemon, files: Files, inbox: socket.socket
) -> None:
    signals = Signals()

    def hang_up() -> None:
        files.may_read.clear()
        signals.reload = True
        signals.wake()

    def stop() -> None:
        signals.stop = True
        signals.wake()

    order = Systemd(inbox, hang_up, stop).follow(daemon, signals)
    assert order == ["READY", "RELOADING", "STOPPING"]
    assert daemon.is_reloading
    files.may_read.set()


def reported(daemon: Daemon) -> set[str]:
    """Run a tick; return the metrics of which a value is known."""
    ticked(daemon)
    time.sleep(0.02)
    if daemon.record is None or daemon.record.indicators is None:
        return set()
    tick = daemon.record.indicators
    told = [f"{name}={value:g}" for name, value in zip(tick.names, tick.value, strict=True)]
    return {one for one in told if not one.endswith("=nan")}


def test_metrics_in_a_file_and_from_the_socket_are_taken_in_at_a_steps_end(
    daemon: Daemon, files: Files, tmp_path: Path
) -> None:
    path = tmp_path / "metrics"
    path.write_text("queue_depth 42\n")
    files.add("first", f'qos = "silver"\n[metrics]\nfile = "{path}"\n')
    assert reloaded(daemon) is None

    def are_both_known() -> bool:
        path.write_text("queue_depth 42\n")  # as long as they are told: neither counts for ever
        daemon.pushed.push("first", {"rps": 7.0})
        return reported(daemon) == {"queue_depth=42", "rps=7"}

    wait_until(are_both_known)
    assert daemon.facts().metrics_problem is None

    files.add("first", 'qos = "silver"\n')  # no file any more: it is not read again
    assert reloaded(daemon) is None
    daemon.pushed.push("first", {"rps": 8.0})
    wait_until(lambda: reported(daemon) == {"rps=8"})


def test_a_metric_file_that_cannot_be_read_is_a_problem_that_status_tells(
    daemon: Daemon, files: Files, tmp_path: Path
) -> None:
    files.add("first", f'qos = "silver"\nmetrics = {{ file = "{tmp_path}/none" }}\n')
    assert reloaded(daemon) is None
    wait_until(lambda: reported(daemon) or daemon.facts().metrics_problem)
    (problem,) = [one for one in daemon.facts().problems() if one.startswith("metrics not used")]
    assert problem == (
        f"metrics not used: metrics of 1 tenant(s): first: {tmp_path}/none: "
        "No such file or directory"
    )
