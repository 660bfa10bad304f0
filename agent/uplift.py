"""From multipliers of known events to a raised profile.  Pure.

The models follow demand by themselves once an event is on, and a multiplier must not count twice:
what the smoothed state has absorbed of it is kept beside, rolled as that state is.  A profile is
raised by what is still to come, and never lowered: an event may end early or be cancelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.coming import Coming
from agent.tenant import Floats
from forecast.profile import Profile
from forecast.rolling import DEFAULT_ALPHA, rolled

_LEAST_ABSORBED = 1e-3  # what is as close as that to what is on, is that
# After so many steps a smoothed state has absorbed all but a thousandth.
_STEPS_TO_ABSORB = 20


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
    """By how much a profile is raised, all at least 1: (series,) and (horizons, series)."""

    next: Floats
    maximum: Floats

    @classmethod
    def of(cls, coming: Coming, absorbed: Floats, now_s: float, windows: Windows) -> "Lift":
        """Return max(1, largest multiplier ahead / what is absorbed of it)."""
        ahead = np.stack([coming.largest(now_s, now_s + length_s) for length_s in windows.all_s])
        lift = np.maximum(ahead / np.maximum(absorbed, _LEAST_ABSORBED), 1.0)
        return cls(lift[0], lift[1:])

    @property
    def is_none(self) -> bool:
        """Say whether nothing is raised."""
        return bool((self.maximum == 1.0).all() and (self.next == 1.0).all())

    def applied(self, profile: Profile) -> Profile:
        """Return the raised profile: the very same where nothing is raised."""
        if self.is_none:
            return profile
        return replace(
            profile,
            grid=profile.grid * self.next,
            expected=profile.expected * self.next,
            maximum=profile.maximum * self.maximum[:, None, :],
        )


def absorbed_after(absorbed: Floats, on: Floats, values: Floats) -> Floats:
    """Return what a smoothed state has absorbed after one more step, (series,) each.

    `on` is the mean multiplier of what was on in the step; a gap in `values` leaves the state.
    """
    alpha = np.full(len(absorbed), DEFAULT_ALPHA)
    following = rolled(absorbed, alpha, np.where(np.isnan(values), np.nan, on))
    return np.where(np.abs(following - on) < _LEAST_ABSORBED * on, on, following)


def usual_after(usual: Floats, on: Floats, values: Floats) -> Floats:
    """Return the smoothed level without what is on, after one more step; NaN: not known.

    A step in which less than usual is expected says nothing of it.
    """
    alpha = np.full(len(usual), DEFAULT_ALPHA)
    return rolled(usual, alpha, np.where(on >= 1.0, values / on, np.nan))


def borne_out(on: Floats, usual: Floats, values: Floats) -> Floats:
    """Return what was on, multipliers below 1 no lower than demand has fallen.

    Where a quiet event did not happen, there is no return to the usual to be foreseen.
    """
    fallen = np.divide(values, usual, out=np.ones(len(on)), where=usual > 0)
    fallen = np.clip(np.nan_to_num(fallen, nan=1.0), 0.0, 1.0)
    return np.where(on < 1.0, np.maximum(on, fallen), on)


def absorbed_at(coming: Coming, now_s: float, step_s: float) -> Floats:
    """Return what a state that has seen the last steps has absorbed of what is on.

    Of a quiet event nothing: whether demand has fallen is not known.
    """
    absorbed = np.ones(coming.n_series)
    for steps_ago in range(_STEPS_TO_ABSORB, 0, -1):
        then_s = now_s - steps_ago * step_s
        on = np.maximum(coming.largest(then_s, then_s), 1.0)
        absorbed = absorbed_after(absorbed, on, absorbed)
    return absorbed
