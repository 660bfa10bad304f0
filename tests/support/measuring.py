"""Measures what counters gain a second, on a machine that may stand still at any instant."""

import time
from collections.abc import Callable

# A count is of one instant, which is known to the time that reading takes: at most this part of
# what is measured over, or that of the quickest of so many readings.
_INSTANT_FRACTION, _READINGS = 0.005, 20


def per_s(count: Callable[[], float], seconds: float) -> float:
    """Return what a counter gains a second, over as many seconds or more."""
    before, began_s = _stamped(count, _INSTANT_FRACTION * seconds)
    time.sleep(seconds)
    after, ended_s = _stamped(count, _INSTANT_FRACTION * seconds)
    return (after - before) / (ended_s - began_s)


def comes_to(
    limit: float, measured: Callable[[], float], *, within: float, times: int = 12
) -> bool:
    """Say whether a limit is used but for a part: never more, less while the machine is busy."""
    for _ in range(times):
        found = measured()
        assert found < (1 + within) * limit, f"{found / limit:.3f} of {limit:g}"
        if found > (1 - within) * limit:
            return True
    return False


def _stamped(count: Callable[[], float], most_s: float) -> tuple[float, float]:
    """Return a count and when it was taken."""
    quickest_s, found = float("inf"), (0.0, 0.0)
    for _ in range(_READINGS):
        began_s = time.monotonic()
        value = count()
        taken_s = time.monotonic() - began_s
        if taken_s < quickest_s:
            quickest_s, found = taken_s, (value, began_s + taken_s / 2)
        if taken_s <= most_s:
            break
    return found
