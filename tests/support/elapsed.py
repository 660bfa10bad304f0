"""Measures of time on a machine that may hold up whoever measures, or all that is measured."""

import time
from collections.abc import Callable
from typing import TypeVar

Subject = TypeVar("Subject")


def least_s(
    act: Callable[[Subject], object],
    *,
    of: Callable[[], Subject],
    below_s: float,
    tries: int = 4,
) -> float:
    """Return how long a call took at the least of some tries, which end with one below a bound.

    Each is of a subject that is made anew, so what makes the first call wait makes the least one
    wait; a busy machine holds up some.
    """
    taken_s: list[float] = []
    while len(taken_s) < tries and min(taken_s, default=below_s) >= below_s:
        subject = of()
        began_s = time.monotonic()
        act(subject)
        taken_s.append(time.monotonic() - began_s)
    return min(taken_s)


_NAP_S, _LATE_S = 0.01, 0.1


def rested(seconds: float) -> bool:
    """Sleep; say whether this process ran whenever it would, as when nothing holds the host up."""
    ends_at_s = now_s = time.monotonic()
    ends_at_s += seconds
    is_calm = True
    while now_s < ends_at_s:
        time.sleep(_NAP_S)
        is_calm = is_calm and time.monotonic() - now_s < _NAP_S + _LATE_S
        now_s = time.monotonic()
    return is_calm


def undisturbed(measure: Callable[[], tuple[float, bool]], tries: int = 4) -> float:
    """Return what is measured once the measurement says that nothing has held it up.

    The last one counts in any case: a test does not wait for a calm host.
    """
    found, is_calm = measure()
    while not is_calm and (tries := tries - 1) > 0:
        found, is_calm = measure()
    return found
