"""The forecaster process: steps in on standard input, profiles out on standard output.

It ends when its input does, so that it never outlives the agent.  Between steps it refits models,
within its share of a core.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from io import FileIO
from typing import BinaryIO

from forecast.core import ForecastCore
from forecast.message import (
    HEADER_BYTES,
    Begin,
    Message,
    MessageError,
    Rearrange,
    Step,
    answer,
    body_bytes,
    decoded,
    encoded,
    history_of,
    positions_of,
    values_of,
)
from forecast.settings import ForecastSettings

_NICENESS = 10
_DATA_BYTES = 1 << 30  # far above what 50,000 series take (see `make bench`)
_PR_SET_PDEATHSIG = 1
# Refits look for the next step after this many models: some 10 ms.
_SERIES_AT_A_TIME = 8


class Worker:
    """Answers messages and spends what is left of its share of a core on refits."""

    def __init__(self, reader: FileIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._core: ForecastCore | None = None
        self._settings = ForecastSettings()
        self._refits_left = 0
        self._refit_time_left_s = 0.0

    def run(self) -> None:
        """Answer until the input ends.

        Raises:
            MessageError: What came in is not for this process: it had better start anew.

        """
        while (message := self._next()) is not None:
            self._handle(message)
            self._refit_until_spoken_to()

    def _next(self) -> Message | None:
        """Wait for a message; None when the input has ended."""
        header = self._read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return None
        length = body_bytes(header)
        body = self._read(length)
        return decoded(body) if len(body) == length else None

    def _read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer where the input ends."""
        parts, left = [], count
        while left and (part := self._reader.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Begin):
            self._begin(message)
        elif self._core is None:
            raise MessageError("expected to be told how to begin")
        elif isinstance(message, Step):
            profile = self._core.observe(message.step, values_of(message, self._core.n_series))
            self._writer.write(encoded(answer(profile)))
            self._writer.flush()
            self._grant_refits(self._core)
        elif isinstance(message, Rearrange):
            self._core.rearrange(positions_of(message, self._core.n_series))
        else:
            raise MessageError("expected a step, got an answer")

    def _begin(self, message: Begin) -> None:
        # Slow to load (1 s, 100 MB), and first needed here.
        from forecast.ets import fitted  # noqa: PLC0415

        history = history_of(message)
        self._settings = message.settings
        self._core = ForecastCore(message.n_series, message.settings, fitted)
        for row in history:
            self._core.learn(row.astype("float64"))
        self._grant_refits(self._core)
        if len(history):  # after a restart models are needed at once, not in an hour
            self._refits_left = message.n_series

    def _grant_refits(self, core: ForecastCore) -> None:
        """Allow as many refits as this step's turn, and no more time than its share."""
        settings = self._settings
        steps_a_round = max(settings.refit_s / settings.step_s, 1.0)
        in_turn = -int(-core.n_series // steps_a_round)
        self._refits_left = max(in_turn, core.never_fitted())
        self._refit_time_left_s = settings.refit_share * settings.step_s

    def _refit_until_spoken_to(self) -> None:
        core = self._core
        while core is not None and self._refits_left > 0 and self._refit_time_left_s > 0:
            if select.select([self._reader], [], [], 0)[0]:
                return
            series = core.due()[: min(_SERIES_AT_A_TIME, self._refits_left)]
            if not len(series):
                return
            began_s = time.process_time()
            core.refit(series)
            self._refits_left -= len(series)
            self._refit_time_left_s -= time.process_time() - began_s


def main() -> None:
    """Run as a child: of low priority, bounded in memory, gone when its parent is."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        return
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the agent, who closes our input
    # Unbuffered, so that select() sees everything that has not been read.
    reader = FileIO(0, "rb")
    writer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is a log line, not a message
    try:
        Worker(reader, writer).run()
    except MessageError as error:
        sys.exit(f"forecaster: {error}")


if __name__ == "__main__":
    main()
