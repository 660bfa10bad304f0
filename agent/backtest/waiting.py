"""The forecaster child of the agent, waited for: what a replay needs and a tick must never do.

The child is the one that the daemon talks to, forecast.worker; a dead or silent one is an error.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from agent.child import Child, ChildGoneError
from agent.forecaster import COMMAND, State
from agent.tenant import Floats, Ints
from forecast.history import History
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

_KILL_WAIT_S = 5.0
Kind = TypeVar("Kind", bound=Message)


class ForecasterError(Exception):
    """The forecaster cannot be started, died, or does not answer."""


class WaitingForecaster:
    """Offers steps to a child and waits for each answer, at most `patience_s` seconds.

    Raises:
        ForecasterError: The child cannot be started, is gone, or does not answer; so does every
            method that talks to it.

    """

    problem: str | None = None

    def __init__(
        self,
        settings: ForecastSettings,
        *,
        command: Sequence[str] = COMMAND,
        patience_s: float = 300.0,
    ) -> None:
        self._settings, self._patience_s = settings, patience_s
        self._generation = 0
        self._profile: Profile | None = None
        self._history = History(0, settings.history_steps)
        self._inbox: list[Message] = []
        try:
            self._child = Child(command)
        except OSError as error:
            raise ForecasterError(f"the forecaster cannot be started: {error}") from error
        self._expect(Hello)

    def __enter__(self) -> "WaitingForecaster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cpu_s(self) -> float:
        """Return the processor time that the child has used so far."""
        used = psutil.Process(self._child.pid).cpu_times()
        return float(used.user + used.system)

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait(_KILL_WAIT_S)

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Start anew with other series, whose past is `history` (steps, n_series)."""
        self._generation += 1
        self._profile = None
        steps = self._settings.kept_steps(n_series)
        self._history = History(n_series, steps)
        self._send(encoded(Begin(self._generation, self._settings, n_series)))
        for row in history[-steps:]:
            self._history.append(row)
            self._send(encoded(step_message(0, row, is_past=True)))
            self._expect(Learned)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order; -1 is a newcomer."""
        self._generation += 1
        self._history.rearrange(positions, self._settings.kept_steps(len(positions)))
        if self._profile is not None:
            self._profile = self._profile.rearranged(positions)
        self._send(encoded(rearrange_message(self._generation, positions)))

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Hand over the values of a closed step (n_series,) and wait for what follows from it."""
        self.answered(step, values)

    def answered(self, step: int, values: Floats) -> Profile:
        """Hand over the values of a closed step (n_series,) and return what follows from it."""
        self.ask(step, values)
        return self.answer(step)

    def ask(self, step: int, values: Floats) -> None:
        """Hand over the values of a closed step (n_series,); answers come in the order asked."""
        self._history.append(values)
        self._send(encoded(step_message(step, values, is_past=False)))

    def answer(self, step: int) -> Profile:
        """Wait for what follows from a step, the first that was asked and not answered yet."""
        answer = self._expect(Answer)
        if answer.generation != self._generation or answer.step != step:
            raise self._ended(f"answered step {answer.step} when asked for {step}")
        try:
            self._profile = profile_of(answer, self._history.n_series)
        except MessageError as error:
            raise self._ended(f"made no sense: {error}") from error
        return self._profile

    def poll(self, now_s: float) -> Profile | None:
        """Return the profile that follows from the last step, None before the first."""
        return self._profile

    def state(self, now_s: float) -> State:
        """Say that the forecaster is live: otherwise there was an error."""
        return "starting" if self._profile is None else "live"

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last closed steps, at most `steps`, oldest first: shape (steps, series)."""
        return self._history.recent(steps)

    def _send(self, frame: bytes) -> None:
        try:
            self._child.send(frame)
            while self._child.has_unsent:
                self._wait()
                self._inbox += self._child.received()  # it may wait for room for its last answer
                self._child.flush()
        except ChildGoneError as error:
            raise self._ended(str(error)) from error
        except MessageError as error:
            raise self._ended(f"made no sense: {error}") from error

    def _expect(self, kind: type[Kind]) -> Kind:
        try:
            while not self._inbox:
                self._wait()
                self._inbox += self._child.received()
        except ChildGoneError as error:
            raise self._ended(str(error)) from error
        except MessageError as error:
            raise self._ended(f"made no sense: {error}") from error
        message = self._inbox.pop(0)
        if not isinstance(message, kind):
            raise self._ended(f"sent {type(message).__name__} unasked")
        return message

    def _wait(self) -> None:
        if not self._child.wait_for_pipes(self._patience_s):
            raise self._ended(f"did not answer for {self._patience_s:g} s")

    def _ended(self, why: str) -> ForecasterError:
        self.close()
        return ForecasterError(f"the forecaster {why}")
