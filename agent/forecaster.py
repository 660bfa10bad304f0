"""The forecaster seen from the agent: a child process that may be late, hung or dead at any time.

Nothing here ever waits for it: pipes do not block, what is kept for it is bounded, and a child
that does not answer is killed and replaced, with growing pauses.  No threads.
"""

import sys
from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from agent.child import MOST_BYTES_A_CALL, Child, ChildGoneError
from forecast.history import Floats, History, Ints
from forecast.message import (
    Answer,
    Begin,
    Hello,
    Learned,
    Message,
    MessageError,
    encoded,
    profile_of,
    rearrange_message,
    step_message,
)
from forecast.profile import Profile
from forecast.settings import ForecastSettings

log = structlog.get_logger()

State = Literal["starting", "live", "late", "dead"]

# Isolated: neither the working directory nor the environment can put other code in its place.
COMMAND = (sys.executable, "-I", "-m", "forecast.worker")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
# A child that has answered for so long is sound: the next pause is the first again.
_SOUND_AFTER_S = 60.0
_KILL_WAIT_S = 5.0
# Loading the model library takes seconds, a minute on an emulated processor.
_START_FACTOR = 4
# A forecast two steps old is better than none; on short steps allow for a busy host.
_LATE_STEPS, _LEAST_LATE_S = 2, 5.0


class Forecaster:
    """Offers steps to a child and polls profiles; all periods in seconds, none is ever waited.

    A child that has not answered for `hung_after_s` (four times that while it starts) is killed
    and replaced; the new one learns from the steps that are kept here.
    """

    def __init__(
        self,
        settings: ForecastSettings,
        *,
        hung_after_s: float = 30.0,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings, self._hung_after_s, self._command = settings, hung_after_s, command
        self._child: Child | None = None
        self._dying: Child | None = None
        self._started_at_s = self._retry_at_s = self._progress_at_s = float("-inf")
        self._failures = 0
        self._has_greeted = self._has_ever_answered = self._has_answered = False
        self._in_flight = 0  # steps sent that nothing has come back for
        self.problem: str | None = None
        self._generation = 0
        self._controls: deque[bytes] = deque()
        self._steps: deque[int] = deque()  # numbers of the rows of history
        self._profile: Profile | None = None
        self._forget(0)

    @property
    def pid(self) -> int | None:
        """Return the child's process id, None while there is no child."""
        return self._child.pid if self._child is not None else None

    @property
    def _late_after_s(self) -> float:
        """Return how long an answer may take before the last one is no longer up to date."""
        return min(self._hung_after_s / 2, max(_LATE_STEPS * self._settings.step_s, _LEAST_LATE_S))

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Start anew with other series, whose past is `history` (steps, n_series)."""
        self._forget(n_series)
        steps = self._settings.kept_steps(n_series)
        for row in history[-steps:]:
            self._keep(0, row)
        self._begin_child()

    def reconfigure(self, settings: ForecastSettings, *, hung_after_s: float) -> None:
        """Go on under new settings; where they differ the child starts anew on the recent past."""
        self._hung_after_s = hung_after_s
        if settings != self._settings:
            # Steps of another length are another series.
            is_same_step = settings.step_s == self._settings.step_s
            past = self._history.recent(len(self._history) if is_same_step else 0)
            self._settings = settings
            self.reset(self._history.n_series, past)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order, keeping what the child knows of those that stay.

        `positions` are among the old series; -1 is a newcomer.
        """
        steps = self._settings.kept_steps(len(positions))
        self._history.rearrange(positions, steps)
        self._steps = deque(self._steps, maxlen=steps)
        self._generation += 1
        if self._profile is not None:
            self._profile = self._profile.rearranged(positions)
        self._controls.append(encoded(rearrange_message(self._generation, positions)))

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Hand over the values of a closed step (n_series,); NaN is a gap."""
        if not self._is_expecting():
            self._progress_at_s = now_s
        self._keep(step, values)
        self._waiting.append((step, now_s))
        self._advance(now_s)

    def poll(self, now_s: float) -> Profile | None:
        """Return the newest profile that has arrived for these series, None before the first."""
        self._advance(now_s)
        return self._profile

    def state(self, now_s: float) -> State:
        """Return how the child does; only what is polled while it is "live" is up to date."""
        if self._child is None:
            return "dead" if self._failures else "starting"
        if not self._has_answered:
            return "starting"
        if self._waiting and now_s - self._waiting[0][1] > self._late_after_s:
            return "late"
        return "live"

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last closed steps, at most `steps`, oldest first: shape (steps, series)."""
        return self._history.recent(steps)

    def close(self) -> None:
        """End the child; unlike all else here this waits, a few seconds at most."""
        for child in (self._child, self._dying):
            if child is not None:
                child.kill()
                child.wait(_KILL_WAIT_S)
        self._child = self._dying = None

    def _forget(self, n_series: int) -> None:
        """Start with an empty history of `n_series` series."""
        steps = self._settings.kept_steps(n_series)
        self._history = History(n_series, steps)
        self._steps = deque(maxlen=steps)
        self._waiting: deque[tuple[int, float]] = deque(maxlen=self._settings.history_steps)
        self._kept = 0
        self._profile = None

    def _begin_child(self) -> None:
        """Queue what a child must hear first: how to begin, then everything that is kept."""
        self._generation += 1
        begin = Begin(self._generation, self._settings, self._history.n_series)
        self._controls = deque([encoded(begin)])
        self._sent = self._kept - len(self._history)
        self._has_answered = False

    def _keep(self, step: int, values: NDArray[np.floating]) -> None:
        self._history.append(values)
        self._steps.append(step)
        self._kept += 1

    def _advance(self, now_s: float) -> None:
        """Do all that can be done without waiting."""
        if self._child is None:
            self._start(now_s)
        if self._child is None:
            return
        try:
            for message in self._child.received():
                self._take(message, now_s)
            self._send_on(self._child, now_s)
        except (ChildGoneError, MessageError) as error:
            self._end(f"the child {error}", now_s)
            return
        patience = 1 if self._has_ever_answered else _START_FACTOR
        limit_s = patience * self._hung_after_s
        if self._is_expecting() and now_s - self._progress_at_s > limit_s:
            self._end(f"no answer for {limit_s:g} s", now_s)

    def _start(self, now_s: float) -> None:
        """Start a child, unless a pause is not over or the last one still dies."""
        if self._dying is not None and self._dying.is_reaped():
            self._dying = None
        if self._dying is not None or now_s < self._retry_at_s:
            return
        try:
            self._child = Child(self._command)
        except OSError as error:
            self._pause(f"cannot be started: {error}", now_s)
            return
        self._started_at_s = self._progress_at_s = now_s
        self._has_greeted = self._has_ever_answered = False
        self._in_flight = 0
        self._begin_child()

    def _end(self, problem: str, now_s: float) -> None:
        """Kill the child; another is started after a pause."""
        if self._child is not None:
            self._child.kill()
        self._child, self._dying = None, self._child
        self._pause(problem, now_s)

    def _pause(self, problem: str, now_s: float) -> None:
        if self._has_ever_answered and now_s - self._started_at_s > _SOUND_AFTER_S:
            self._failures = 0
        pause_s = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        self._retry_at_s = now_s + pause_s
        self.problem = problem
        log.warning("forecaster stopped, the fallback rule stands in", why=problem, pause_s=pause_s)

    def _take(self, message: Message, now_s: float) -> None:
        """Believe one message.

        Raises:
            MessageError: It makes no sense here.

        """
        self._progress_at_s = now_s
        match message:
            case Hello() if not self._has_greeted:
                self._has_greeted = True
            case Learned() | Answer() if self._in_flight > 0:
                self._in_flight -= 1
                if isinstance(message, Answer):
                    self._answered(message)
            case _:
                raise MessageError(f"sent {type(message).__name__} unasked")

    def _answered(self, answer: Answer) -> None:
        if answer.generation != self._generation:
            return  # of series as they were before
        if not self._steps or answer.step > self._steps[-1]:
            raise MessageError(f"answered step {answer.step}, which was not asked for")
        self._profile = profile_of(answer, self._history.n_series)
        self._has_answered = self._has_ever_answered = True
        self.problem = None
        while self._waiting and self._waiting[0][0] <= answer.step:
            self._waiting.popleft()

    def _is_expecting(self) -> bool:
        """Say whether the child owes us anything."""
        has_unsent = self._child is not None and self._child.has_unsent
        return not self._has_greeted or self._in_flight > 0 or has_unsent or bool(self._waiting)

    def _send_on(self, child: Child, now_s: float) -> None:
        """Write what is queued, oldest first, until the pipe is full or nothing is left."""
        written = child.flush()
        while not child.has_unsent and written < MOST_BYTES_A_CALL:
            if self._controls:
                frame = self._controls.popleft()
            elif self._sent < self._kept:
                frame = self._next_step(now_s)
            else:
                return
            written += child.send(frame)

    def _next_step(self, now_s: float) -> bytes:
        """Return the oldest kept step that the child has not been sent yet."""
        oldest = self._kept - len(self._history)
        # What has left the ring before it could be sent is lost, as if it were a gap.
        self._sent = max(self._sent, oldest)
        place = self._sent - oldest
        is_past = self._sent < self._kept - 1
        values = self._history.row(place)
        if self._in_flight == 0:
            self._progress_at_s = now_s
        self._sent += 1
        self._in_flight += 1
        return encoded(step_message(self._steps[place], values, is_past=is_past))
