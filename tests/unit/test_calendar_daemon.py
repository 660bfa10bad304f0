"""Known events in the daemon: from files to raised profiles, and to what is told of them."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tenants import wait_until

from agent.answers import Events, Explanation
from agent.cli import main
from agent.client import get
from agent.control import ControlServer
from agent.daemon import Daemon
from agent.event_lines import event_lines
from agent.host import read_config
from agent.settings import Config
from agent.tenant import Resource

HOST = """
[host]
cgroup_root = "{folder}/root"
state_dir = "{folder}/state"
runtime_dir = "{folder}"
[periods]
tick_s = 0.1
step_s = 1
horizon_s = "15s"
"""
EVENT = """
[[events]]
name = "sale"
start = {start}
duration_s = "1h"
multiplier = {{ memory = {times} }}
"""
RULE = """
[[events]]
name = "nightly"
start = 2026-01-01T03:00:00
duration_s = "20m"
repeat = "FREQ=DAILY"
timezone = "Europe/Berlin"
"""
MEMORY_BYTES = 7.0 * (1 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a host of one tenant that holds 7 MiB, and has a sale in two minutes."""
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "tidegate.toml").write_text(HOST.format(folder=tmp_path) + RULE)
    (tmp_path / "root" / "acme").mkdir(parents=True)
    (tmp_path / "root" / "acme" / "memory.current").write_text(f"{MEMORY_BYTES:.0f}\n")
    write_tenant(tmp_path, times=3)
    return tmp_path


def write_tenant(folder: Path, *, times: int) -> None:
    start = (datetime.now(UTC) + timedelta(minutes=2)).isoformat(timespec="seconds")
    text = 'qos = "gold"\n' + EVENT.format(start=start, times=times)
    (folder / "tenants.d" / "acme.toml").write_text(text)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """Return a daemon that has run a few steps on a clock of its own."""

    def read(accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(folder / "tidegate.toml", folder / "tenants.d", accepted)

    with closing(Daemon(read(), read)) as daemon:
        run(daemon, 1000.0)
        yield daemon


def run(daemon: Daemon, began_s: float) -> None:
    for at in range(35):
        assert daemon.tick(began_s + 0.1 * at, 0)


def expected_bytes(daemon: Daemon) -> float:
    assert daemon.record is not None
    return float(daemon.record.resources[Resource.MEMORY].expected[0])


def test_an_event_in_a_tenants_file_raises_its_profile_before_it_starts(daemon: Daemon) -> None:
    assert expected_bytes(daemon) == pytest.approx(3 * MEMORY_BYTES)


def test_a_reload_takes_over_what_changed(daemon: Daemon, folder: Path) -> None:
    write_tenant(folder, times=5)
    daemon.begin_reload(lambda: None)
    wait_until(lambda: daemon.has_loaded)
    daemon.end_reload()
    assert daemon.reload_problem is None
    run(daemon, 1004.0)
    assert expected_bytes(daemon) == pytest.approx(5 * MEMORY_BYTES)
    (folder / "tidegate.toml").write_text(HOST.format(folder=folder) + RULE.replace("DAILY", "X"))
    daemon.begin_reload(lambda: None)
    wait_until(lambda: daemon.has_loaded)
    daemon.end_reload()
    assert "events[0].repeat: expected an iCalendar rule" in str(daemon.reload_problem)
    run(daemon, 1008.0)
    assert expected_bytes(daemon) == pytest.approx(5 * MEMORY_BYTES)


def test_what_raised_it_and_what_is_coming_is_told(daemon: Daemon, folder: Path) -> None:
    path = folder / "control.sock"
    with ControlServer(path, lambda: daemon.record, daemon.facts):
        told = msgspec.json.decode(get(path, "/v1/tenants/acme"), type=Explanation)
        events = msgspec.json.decode(get(path, "/v1/events"), type=Events)
        arguments = ["events", "--socket", str(path)]
        shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
        as_json = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    sentences = {
        chain.resource: [step.text for step in chain.steps if step.stage == "event"]
        for chain in told.chains
    }
    assert sentences["cpu"] == []
    assert sentences["memory"][0].startswith("raised 3.00 times for 'sale' from 20")
    assert [one.name for one in events.events].count("nightly") >= 2
    assert {one.concerns for one in events.events if one.name == "sale"} == {"tenant acme"}
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].split() == ["STARTS", "AGAIN", "LASTS", "EVENT", "CONCERNS", "TAKES"]
    assert len(lines) == 3, "an event that comes again has one line"
    assert "sale     tenant acme  cpu unknown, memory x3" in shown.output
    assert "20m  nightly  all tenants  cpu unknown, memory unknown" in shown.output
    assert msgspec.json.decode(as_json.output, type=Events) == events


def test_without_events_that_is_said(folder: Path) -> None:
    (folder / "tenants.d" / "acme.toml").write_text('qos = "gold"\n')
    (folder / "tidegate.toml").write_text(HOST.format(folder=folder))
    config = read_config(folder / "tidegate.toml", folder / "tenants.d")
    with closing(Daemon(config, lambda _: config)) as daemon:
        run(daemon, 1000.0)
        assert daemon.record is not None
        assert daemon.record.agenda is None
        path = folder / "control.sock"
        with ControlServer(path, lambda: daemon.record, daemon.facts):
            shown = CliRunner().invoke(main, ["events", "--socket", str(path)])
    assert shown.output.startswith("No known event is on or coming within two days")


def test_a_broken_calendar_of_one_tenant_stops_nothing_and_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.calendar._RETRY_S", 0.5)
    path = folder / "own.ics"
    path.write_bytes(b"BEGIN:VCALENDAR\r\nBEGIN:VEV")
    other = f'qos = "gold"\n[[calendars]]\nfile = "{path}"\n'
    (folder / "tenants.d" / "other.toml").write_text(other)
    files = ["--config", str(folder / "tidegate.toml")]
    files += ["--tenants-dir", str(folder / "tenants.d")]
    checked = CliRunner().invoke(main, ["check-config", *files])
    assert checked.exit_code == 1
    assert f"tenant other: {path}: cannot be read: " in checked.output
    config = read_config(folder / "tidegate.toml", folder / "tenants.d")
    with closing(Daemon(config, lambda _: config)) as daemon:
        run(daemon, 1000.0)
        assert expected_bytes(daemon) == pytest.approx(3 * MEMORY_BYTES)
        assert f"tenant other: {path}: " in str(daemon.facts().events_problem)
        path.write_text(
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\n"
            "DTSTART:20260101T000000Z\nEND:VEVENT\nEND:VCALENDAR\n"
        )
        wait_until(lambda: daemon.tick(1010.0, 0) and daemon.facts().events_problem is None)


ICS = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:1\nSUMMARY:fair\n"
    "DTSTART:20260101T000000Z\nRRULE:FREQ=HOURLY\nEND:VEVENT\nEND:VCALENDAR\n"
)


def test_what_was_known_of_a_calendar_outlives_a_file_that_breaks(folder: Path) -> None:
    path = folder / "fair.ics"
    path.write_text(ICS)
    entry = f'[[calendars]]\nfile = "{path}"\n'
    (folder / "tidegate.toml").write_text(HOST.format(folder=folder) + RULE + entry)

    def read(accepted: Mapping[Resource, float] | None = None) -> Config:
        return read_config(folder / "tidegate.toml", folder / "tenants.d", accepted)

    with closing(Daemon(read(), read)) as daemon:
        run(daemon, 1000.0)
        before = known(daemon, folder)
        assert [one.name for one in before.events].count("fair") >= 47
        assert before.problems == ()
        # Twice in a row, no tick between; and with a source before it, so that places change.
        for broken in (lambda: path.write_text("garbage"), path.unlink):
            broken()
            more = '[[events]]\nname = "more"\nstart = 2026-01-01\nrepeat = "FREQ=DAILY"\n'
            text = HOST.format(folder=folder) + more + RULE + entry
            (folder / "tidegate.toml").write_text(text)
            daemon.begin_reload(lambda: None)
            wait_until(lambda: daemon.has_loaded)
            daemon.end_reload()
        assert daemon.tick(1004.0, 0)
        after = known(daemon, folder)
        fairs = [[one for one in told.events if one.name == "fair"] for told in (before, after)]
        assert fairs[0] == fairs[1]
        assert after.problems == (f"{path}: cannot be read: No such file or directory",)
        shown = "\n".join(event_lines(after, width=120))
        assert f"Problem: {path}: cannot be read" in shown


def known(daemon: Daemon, folder: Path) -> Events:
    path = folder / "control.sock"
    with ControlServer(path, lambda: daemon.record, daemon.facts):
        return msgspec.json.decode(get(path, "/v1/events"), type=Events)
