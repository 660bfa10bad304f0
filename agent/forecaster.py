"""The forecaster's process seen from the agent: offered steps, polled for profiles, not waited for.

Everything happens in the caller's thread over non-blocking pipes.  A child that is hung or dead is
killed and started anew, with back-off; a new one is told the recent past.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.tenant import Floats, Ints
from forecast.message import (
    HEADER_BYTES,
    Answer,
    Message,
    MessageError,
    Rearrange,
    Step,
    begin,
    body_bytes,
    decoded,
    encoded,
    profile_of,
)
from forecast.profile import Profile
from forecast.settings import ForecastSettings

log = structlog.get_logger()

COMMAND = (sys.executable, "-I", "-m", "forecast.worker")
_LONGEST_BACK_OFF_S = 60.0
_CHUNK_BYTES = 1 << 20
# Arithmetic of one thread: a niced child has no business on all cores.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Loading the model library takes seconds, a minute on an emulated CPU.
_START_GRACE_S = 60.0
# A child that has not read this much is not coming back.
_MOST_UNSENT_BYTES = 1 << 28


class _Child:
    """One incarnation of the process and its two pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # a ^C at the terminal is the agent's to handle
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a pipe that was asked for is missing")
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._unsent = bytearray()
        self._received = bytearray()

    @property
    def is_clogged(self) -> bool:
        """Say whether far more waits to be read than any child needs."""
        return len(self._unsent) > _MOST_UNSENT_BYTES

    def send(self, message: Message) -> None:
        """Queue a message; what the pipe takes now goes now."""
        self._unsent += encoded(message)
        self.flush()

    def flush(self) -> None:
        """Write what the pipe takes without waiting."""
        with suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                sent = os.write(self._in, memoryview(self._unsent)[:_CHUNK_BYTES])
                del self._unsent[:sent]

    def newest(self) -> Profile | None:
        """Return the last complete profile that has arrived, if one has.

        Raises:
            MessageError: What arrived is no answer of ours.

        """
        with suppress(BlockingIOError):
            while chunk := os.read(self._out, _CHUNK_BYTES):
                self._received += chunk
        found: Answer | None = None
        while (body := self._complete_body()) is not None:
            message = decoded(body)
            if not isinstance(message, Answer):
                raise MessageError("expected an answer")
            found = message
        return None if found is None else profile_of(found)

    def _complete_body(self) -> bytes | None:
        if len(self._received) < HEADER_BYTES:
            return None
        end = HEADER_BYTES + body_bytes(bytes(self._received[:HEADER_BYTES]))
        if len(self._received) < end:
            return None
        body = bytes(self._received[HEADER_BYTES:end])
        del self._received[:end]
        return body

    def end(self) -> None:
        """Kill the process and let go of it; SIGKILL also ends one that is stopped."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()


class Forecaster:
    """Offers steps to the child and hands out its newest profile; `command` is for tests."""

    def __init__(
        self,
        settings: ForecastSettings,
        *,
        hung_after_s: float = 30.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings, self._hung_after_s, self._command = settings, hung_after_s, command
        self._child: _Child | None = None
        self._n_series = 0
        self._history: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self._failures = 0
        self._start_at_s = float("-inf")
        self._waiting_since_s: float | None = None  # the oldest step without an answer
        self._answered_step = -1
        self._offered_step = -1
        self._stale_step = -1  # answers up to it were asked for under another order of series

    @property
    def pid(self) -> int | None:
        """Return the child's process id, None while there is none."""
        return None if self._child is None else self._child.process.pid

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Start over on `history` (steps, series), as a new child would."""
        self._n_series, self._history = n_series, history.astype(np.float32)
        self._answered_step, self._stale_step = -1, self._offered_step
        if self._child is not None:
            self._child.send(begin(self._settings, n_series, self._history))

    def reconfigure(self, settings: ForecastSettings, *, hung_after_s: float) -> None:
        """Go on under new settings; where they differ the child starts over on the recent past."""
        self._hung_after_s = hung_after_s
        if settings != self._settings:
            self._settings = settings
            self.reset(self._n_series, self._history)

    def rearrange(self, positions: Ints, history: Floats) -> None:
        """Put the series in a new order (-1: a newcomer), keeping what the child has learned."""
        self._n_series, self._history = len(positions), history.astype(np.float32)
        self._stale_step = self._offered_step
        if self._child is not None:
            self._child.send(Rearrange(positions.astype(np.int64).tobytes()))

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Hand over one closed step, shape (series,); NaN is a gap."""
        row = values.astype(np.float32)[None]
        self._history = np.concatenate((self._history, row))[-self._settings.history_steps :]
        self._offered_step = step
        if self._child is None:
            return
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        self._child.send(Step(step, values.astype(np.float64).tobytes()))

    def poll(self, now_s: float) -> Profile | None:
        """Return the newest profile that has arrived since the last call; tend to the child."""
        if self._child is None:
            if now_s >= self._start_at_s:
                self._start(now_s)
            return None
        try:
            self._child.flush()
            profile = self._child.newest()
        except MessageError as error:
            self._fail(now_s, f"garbled answer: {error}")
            return None
        if profile is not None:
            return self._taken(profile)
        self._watch(self._child, now_s)
        return None

    def state(self, now_s: float) -> str:
        """Return "starting", "live", "late" or "dead"; only a live one's profiles are current."""
        if self._child is None:
            return "dead" if self._failures else "starting"
        if self._answered_step < 0:
            return "starting"
        waited_s = 0.0 if self._waiting_since_s is None else now_s - self._waiting_since_s
        return "late" if waited_s > self._settings.step_s else "live"

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _taken(self, profile: Profile) -> Profile | None:
        self._failures = 0
        if profile.step >= self._offered_step:
            self._waiting_since_s = None
        if profile.step <= self._stale_step:
            return None
        self._answered_step = profile.step
        return profile

    def _start(self, now_s: float) -> None:
        try:
            self._child = _Child(self._command)
        except OSError as error:
            self._fail(now_s, f"cannot be started: {error}")
            return
        self._answered_step = -1
        self._waiting_since_s = None
        self._child.send(begin(self._settings, self._n_series, self._history))

    def _watch(self, child: _Child, now_s: float) -> None:
        code = child.process.poll()
        if code is not None:
            self._fail(now_s, f"ended with status {code}")
            return
        waited_s = 0.0 if self._waiting_since_s is None else now_s - self._waiting_since_s
        grace_s = _START_GRACE_S if self._answered_step < 0 else 0.0
        if child.is_clogged or waited_s > self._hung_after_s + grace_s:
            self._fail(now_s, f"no answer for {waited_s:.0f} s")

    def _fail(self, now_s: float, why: str) -> None:
        """Kill what is left of the child; start the next one after a while, longer each time."""
        self.close()
        wait_s = min(2.0**self._failures, _LONGEST_BACK_OFF_S)
        self._failures += 1
        self._start_at_s = now_s + wait_s
        self._answered_step = -1
        self._waiting_since_s = None
        log.warning("forecaster failed; the rule stands in", why=why, restart_in_s=wait_s)
