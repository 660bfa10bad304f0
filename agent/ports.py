"""What the control loop needs of the outside: a kernel and a forecaster, real or simulated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.custody import Beside
from agent.forecaster import State
from agent.pins import Pin, Pins
from agent.tenant import Floats, Ints, Resource, Roster
from enforce.columns import AnyControl, Changes, HostSample, Outcomes, UnitControl
from forecast.profile import Profile


class Sampling(Protocol):
    """Reads all tenants' counters: of the kernel, or of a simulated host."""

    def read(self, taken_at_s: float) -> HostSample: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Applying(Protocol):
    """Carries changes out and says what became of each."""

    def apply(self, changes: Changes) -> Outcomes: ...  # noqa: D102
    def open_up(self, tenant: int, control: UnitControl) -> None: ...  # noqa: D102
    def written_beside(self) -> Beside: ...  # noqa: D102
    def protect_root(self, low_bytes: float, *, is_enforcing: bool) -> str | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Forecasting(Protocol):
    """Takes steps in and gives profiles out, without ever waiting."""

    @property
    def problem(self) -> str | None: ...  # noqa: D102
    def reset(self, n_series: int, history: NDArray[np.floating]) -> None: ...  # noqa: D102
    def rearrange(self, positions: Ints) -> None: ...  # noqa: D102
    def offer(self, step: int, values: Floats, now_s: float) -> None: ...  # noqa: D102
    def poll(self, now_s: float) -> Profile | None: ...  # noqa: D102
    def state(self, now_s: float) -> State: ...  # noqa: D102
    def recent(self, steps: int) -> NDArray[np.float32]: ...  # noqa: D102


class Adjusting(Protocol):
    """Knows of demand what its own past does not show; columns are the forecaster's series."""

    def learn(self, step: int, values: Floats, now_s: float) -> None:
        """Take in the demand of every step that closes at `now_s`, NaN where no tick knew.

        Profiles of that step (`Profile.step`) have seen it; those that come next may not yet.
        """

    def adjusted(self, profile: Profile, now_s: float) -> Profile:
        """Return the profile of a tick as it is with what is known here."""

    def rearrange(self, roster: Roster, foreseen: Sequence[Resource], positions: Ints) -> None:
        """Go on with other series: those of `foreseen`, tenants within; -1 is a newcomer."""


class PinKeeping(Protocol):
    """Keeps pins, also for the next agent."""

    def pins(self, roster: Roster, now_s: float) -> Pins:
        """Return the pins of these tenants that hold at `now_s` (CLOCK_MONOTONIC)."""

    def put(self, pins: Iterable[Pin]) -> None:
        """Put pins in place of those of the same files."""

    def drop(self, pins: Iterable[tuple[str, AnyControl]]) -> None:
        """Forget pins, by tenant and control, without a word."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The two kernel handles of one roster."""

    sampler: Sampling
    applier: Applying

    def close(self) -> None:
        """Close every descriptor; limits stay as they are."""
        self.applier.close()
        self.sampler.close()
