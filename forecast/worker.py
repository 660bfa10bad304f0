"""The forecaster process: steps in on standard input, profiles out on standard output.

It ends when its input does, so it never outlives the agent.  Between steps it refits models,
within its share of a core.  `python -I -m forecast.worker`
"""

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from forecast.core import ForecastCore
from forecast.history import Floats, Ints
from forecast.message import (
    Begin,
    Frames,
    Hello,
    Learned,
    Message,
    MessageError,
    Rearrange,
    Step,
    answer_message,
    encoded,
    positions_of,
    values_of,
)
from forecast.parent import end_with_parent
from forecast.profile import Profile
from forecast.settings import ForecastSettings

_NICENESS = 10
# The highest score is 1000; a tenant that asked for that itself may still go first.
_OOM_SCORE_ADJ = "900"
# 50,000 series take 345 MiB, of which 190 are libraries; twice that is a fault.
_DATA_BYTES = 768 << 20
_READ_BYTES = 1 << 20
# A step that arrives during refits waits for so many of them: some 10 ms.
_REFITS_AT_A_TIME = 16
# The first answer after a restart waits so long, at most, for models of what is known already.
_FIRST_FITS_S = 1.0


class Core(Protocol):
    """What forecasts, as `ForecastCore` does."""

    settings: ForecastSettings

    @property
    def n_series(self) -> int:
        """Return how many series are forecast."""

    def learn(self, values: Floats) -> None:
        """Take in one step of the past, shape (series,)."""

    def observe(self, step: int, values: Floats) -> Profile:
        """Take in the newest step, and return what to expect next."""

    def due(self) -> Ints:
        """Return the series that may be fitted, those never or longest not fitted first."""

    def never_fitted(self) -> int:
        """Return how many series could be fitted and never were."""

    def urgent(self) -> int:
        """Return how many series, the first of those that are due, are not to wait their turn."""

    def refit(self, series: Ints) -> None:
        """Fit these series' models anew."""

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer."""


Make = Callable[[int, ForecastSettings], Core]


class Refits:
    """Which series are to be refitted now: each in its turn, within a share of a core.

    A round of all series takes `refit_s`, or longer where it would cost more than the share.  For
    a replay refits are counted only, so that the same steps give the same models.
    """

    def __init__(self, settings: ForecastSettings, n_series: int, spent_s: float) -> None:
        self._settings, self._n_series = settings, n_series
        self._queue: Ints = np.empty(0, dtype=np.int64)
        self._owed = 0.0
        self._credit_s = 0.0
        self._counted_s = spent_s

    def grant(self, core: Core, spent_s: float) -> None:
        """Begin another step, at `spent_s` seconds of the process's own time."""
        share_s = self._settings.refit_share * self._settings.step_s
        # What a step costs counts too; what it leaves is not saved up.
        self._credit_s = min(self._credit_s, 0.0) + share_s
        self._account(spent_s)
        self._queue = core.due()
        self._n_series = core.n_series
        turn = self._n_series * self._settings.step_s / self._settings.refit_s
        self._owed = min(self._owed + turn, self._n_series)
        self._owed = max(self._owed, float(core.urgent()))

    def next(self, spent_s: float) -> Ints:
        """Return the series to refit next; none when turn or share are used up."""
        self._account(spent_s)
        may_go_on = self._credit_s > 0 or self._settings.are_refits_counted
        count = min(_REFITS_AT_A_TIME, int(self._owed)) if may_go_on else 0
        series, self._queue = self._queue[:count], self._queue[count:]
        self._owed -= len(series)
        return series

    def _account(self, spent_s: float) -> None:
        self._credit_s -= spent_s - self._counted_s
        self._counted_s = spent_s


class Worker:
    """Answers messages from one descriptor on another."""

    def __init__(self, read_fd: int, write_fd: int, make: Make) -> None:
        self._read_fd, self._write_fd, self._make = read_fd, write_fd, make
        self._frames = Frames()
        self._core: Core | None = None
        self._refits: Refits | None = None
        self._generation = 0
        self._has_answered = False

    def run(self) -> None:
        """Answer until the input ends.

        Raises:
            MessageError: What came in is not for this process; it cannot go on from there.
            BrokenPipeError: Nobody reads the answers any more.

        """
        while True:
            if not self._has_input() and self._refit():
                continue
            data = os.read(self._read_fd, _READ_BYTES)  # waits
            if not data:
                return
            for message in self._frames.fed(data):
                self._handle(message)

    def _has_input(self) -> bool:
        return bool(select.select([self._read_fd], [], [], 0)[0])

    def _handle(self, message: Message) -> None:
        match message:
            case Begin():
                self._begin(message)
            case Step():
                self._step(message, self._begun())
            case Rearrange():
                core = self._begun()
                core.rearrange(positions_of(message, core.n_series))
                self._generation = message.generation
                # Positions in the queue are those of before.
                self._refits = Refits(core.settings, core.n_series, time.process_time())
            case _:
                raise MessageError(f"{type(message).__name__} is for the agent to get")

    def _begin(self, message: Begin) -> None:
        self._core = self._make(message.n_series, message.settings)
        self._refits = Refits(message.settings, message.n_series, time.process_time())
        self._generation = message.generation
        self._has_answered = False

    def _step(self, message: Step, core: Core) -> None:
        values = values_of(message, core.n_series)
        if message.is_past:
            core.learn(values)
            send(self._write_fd, Learned(self._generation, message.step))
            return
        if not self._has_answered:
            most_s = min(_FIRST_FITS_S, core.settings.step_s / 2)
            fit_what_is_known(core, float("inf") if core.settings.are_refits_counted else most_s)
            self._has_answered = True
        profile = core.observe(message.step, values)
        send(self._write_fd, answer_message(self._generation, profile))
        if self._refits is not None:
            self._refits.grant(core, time.process_time())
        while core.settings.are_refits_counted and self._refit():
            pass

    def _begun(self) -> Core:
        if self._core is None:
            raise MessageError("expected to be told how to begin")
        return self._core

    def _refit(self) -> bool:
        """Refit a few models; say whether there was anything to do."""
        if self._core is None or self._refits is None:
            return False
        series = self._refits.next(time.process_time())
        if len(series) == 0:
            return False
        self._core.refit(series)
        return True


def fit_what_is_known(core: Core, most_s: float) -> None:
    """Fit models that were never fitted, for at most `most_s` seconds of processor time."""
    until_s = time.process_time() + most_s
    series = core.due()[: core.never_fitted()]
    while len(series) and time.process_time() < until_s:
        core.refit(series[:_REFITS_AT_A_TIME])
        series = series[_REFITS_AT_A_TIME:]


def send(write_fd: int, message: Message) -> None:
    """Write one whole message; waits while the pipe is full."""
    frame = memoryview(encoded(message))
    while frame:
        frame = frame[os.write(write_fd, frame) :]


def settle_down() -> None:
    """Become a background process: niced, bounded in memory, gone when the parent is."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whatever the agent itself was handed open
    end_with_parent()
    os.nice(_NICENESS)
    _be_killed_first()
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the agent, which closes our input


def _be_killed_first() -> None:
    """When memory runs out, let this go before the agent, and before what tenants run."""
    with suppress(OSError):  # as root or not, raising it is allowed: where /proc can be written
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)


def load_ets() -> Make:
    """Load the model library, which takes 2 s and 180 MiB, and return what forecasts with it."""
    from forecast.ets import MODELS  # noqa: PLC0415

    return partial(ForecastCore, models=MODELS)


def main(load: Callable[[], Make] = load_ets) -> None:
    """Serve the agent that started this process, until it is gone."""
    settle_down()
    write_fd = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is a log line
    try:
        send(write_fd, Hello())  # before it loads: starting is not the same as hung
        Worker(sys.stdin.fileno(), write_fd, load()).run()
    except MessageError as error:
        sys.exit(f"forecaster: {error}")
    except BrokenPipeError:
        sys.exit("forecaster: the agent is gone")


if __name__ == "__main__":
    main()
