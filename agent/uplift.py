"""From multipliers of known events to a raised profile.  Pure.

What is in the profile already (`agent.absorbed`) must not count twice.  A profile is raised by what
is still to come, and never lowered: an event may end early or be cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.absorbed import LEAST_ABSORBED, Absorbed
from agent.coming import Coming
from agent.tenant import Floats
from forecast.profile import Profile


@dataclass(frozen=True, slots=True)
class Windows:
    """How far ahead events count: for the next step, and for the maximum within each horizon.

    The next step's covers the time before an event in which the profile is to have risen.  No
    horizon's is shorter, so that the maximum stays above the next step.
    """

    next_s: float
    horizons_s: tuple[float, ...]

    @classmethod
    def of(cls, *, lead_s: float, step_s: float, horizons_s: Sequence[float]) -> "Windows":
        """Return the windows of a lead, a step and the horizons in rising order."""
        next_s = max(lead_s, step_s)
        return cls(next_s, tuple(max(horizon_s, next_s) for horizon_s in horizons_s))

    @property
    def all_s(self) -> tuple[float, ...]:
        """Return each of them."""
        return (self.next_s, *self.horizons_s)


@dataclass(frozen=True, slots=True)
class Lift:
    """By how much a profile is raised, all at least 1: (series,), and (horizons, series).

    `next` raises what is expected of the next step, `grid` its quantiles.
    """

    next: Floats
    grid: Floats
    maximum: Floats

    @classmethod
    def of(cls, ahead: Floats, absorbed: Absorbed) -> "Lift":
        """Return max(1, largest multiplier ahead / what is absorbed of it); see `ahead_of`."""
        return cls(
            _lifted(ahead[0], absorbed.expected),
            _lifted(ahead[0], absorbed.grid),
            _lifted(ahead[1:], absorbed.maximum),
        )

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> "Lift":
        """Return that of nothing ahead, (windows, series)."""
        return cls(np.ones(shape[1]), np.ones(shape[1]), np.ones((shape[0] - 1, shape[1])))

    @property
    def is_none(self) -> bool:
        """Say whether nothing is raised."""
        return all(bool((one == 1.0).all()) for one in (self.next, self.grid, self.maximum))

    def applied(self, profile: Profile) -> Profile:
        """Return the raised profile: the very same where nothing is raised."""
        if self.is_none:
            return profile
        return replace(
            profile,
            grid=profile.grid * self.grid,
            expected=profile.expected * self.next,
            maximum=profile.maximum * self.maximum[:, None, :],
        )


def ahead_of(coming: Coming, now_s: float, windows: Windows) -> Floats:
    """Return the largest multiplier within each window from now on, (windows, series)."""
    return np.stack([coming.largest(now_s, now_s + length_s) for length_s in windows.all_s])


def _lifted(ahead: Floats, absorbed: Floats) -> Floats:
    return np.maximum(ahead / np.maximum(absorbed, LEAST_ABSORBED), 1.0)
