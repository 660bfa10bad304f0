"""Logs: JSON lines for machines, the journal's priorities under systemd, colour for a terminal."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# sd-daemon(3): the journal takes a line's priority from a number in angle brackets before it.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class _Lossy:
    """A stream that loses what it has no room for: a full disk is to end no agent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send events of `level` and above to `stream` (standard error); may be called again."""
    stream = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *_rendering(stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lossy(stream))),
        cache_logger_on_first_use=False,  # the level may change with a reload
    )


def _rendering(stream: TextIO) -> list[Processor]:
    """Return the processors that turn an event into a line for whoever reads `stream`."""
    clock = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if stream.isatty():
        return [
            clock,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    if _is_journal(stream):  # which has a clock of its own
        return [structlog.processors.format_exc_info, _journal_line]
    return [clock, structlog.processors.format_exc_info, _json_line]


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _journal_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    priority = _PRIORITIES.get(event.pop("level"), _PRIORITIES["info"])
    return f"<{priority}>{_json_line(logger, method, event)}"


def _is_journal(stream: TextIO) -> bool:
    """Say whether `stream` is the one that systemd connected to the journal."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
