"""agent.telemetry: lines of the log, for machines and for the journal."""

import io
import json
import os
import pty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from agent.telemetry import configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_pipe_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure("info", stream)
    structlog.get_logger().info("limit written", tenant="web", path=Path("/x"), cores=0.5)
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "limit written",
        "level": "info",
        "tenant": "web",
        "path": "/x",
        "cores": 0.5,
    }


def test_what_is_below_the_level_is_not_written_and_the_level_may_change() -> None:
    stream = io.StringIO()
    log = structlog.get_logger()
    configure("warning", stream)
    log.info("quiet")
    configure("debug", stream)
    log.debug("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_the_journal_gets_its_priority_before_the_line_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "journal", "w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure("info", stream)
        structlog.get_logger().warning("reload refused")
        stream.seek(0)
        assert stream.read() == '<4>{"event":"reload refused"}\n'


def test_a_traceback_is_kept_in_one_line() -> None:
    stream = io.StringIO()
    configure("info", stream)
    try:
        raise ValueError("why")  # noqa: TRY301
    except ValueError:
        structlog.get_logger().exception("tick failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["exception"]


def test_a_terminal_gets_a_line_for_a_person() -> None:
    leader, follower = pty.openpty()
    with open(follower, "w") as stream:
        configure("info", stream)
        structlog.get_logger().info("limit written", tenant="web")
        text = os.read(leader, 4096).decode()
    os.close(leader)
    assert "limit written" in text
    assert not text.startswith("{")


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info")
    structlog.get_logger().error("broken")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "broken"


def test_a_log_that_finds_no_room_or_no_reader_is_lost_and_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for stream in (open("/dev/full", "w"), os.fdopen(writer, "w")):  # noqa: SIM115 - cannot be closed in peace
        configure("info", stream)
        log = structlog.get_logger()
        for _ in range(3):
            log.warning("tick failed", problem="x" * 10_000)
        with suppress(OSError):
            stream.close()
