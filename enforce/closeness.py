"""Who may be held up, by a limit or behind others: of these alone more is read each tick.  Pure.

Of a disk's limits and of CPUs it is how long they wait, of memory.high also what cannot be
reclaimed.
"""

import numpy as np

from enforce.columns import Bools, Floats, Ints

# A tenant that waits for one request of 1 MiB at less than this may show nothing for a whole tick.
_SMALL = np.array([4.0 * (1 << 20)] * 2 + [64.0] * 2)[None, :, None]
_CLOSE = 0.5  # of a limit
_CLOSE_TO_HIGH = 0.95  # of memory.high


def close_to_high(held: Floats, high: Floats, is_there: Bools, *, most: int) -> list[int]:
    """Return who may be held up by memory.high, the furthest beyond first, at most `most`.

    The kernel makes a tenant wait longer than a tick for each page beyond it: to raise it in time,
    what cannot be reclaimed has to be known in the same tick.
    """
    with np.errstate(invalid="ignore"):
        is_close = held >= _CLOSE_TO_HIGH * high
    close = np.flatnonzero(is_close & is_there)
    furthest = np.argsort((high - held)[close], kind="stable")
    found: list[int] = close[furthest[:most]].tolist()
    return found


class DiskCloseness:
    """Says who may wait for a disk at a limit of its own, by what was counted the last time."""

    def __init__(self) -> None:
        self._before, self._at_s = np.empty(0), np.nan

    def seen(
        self, counted: Floats, limited: Floats, now_s: float, *, most: int, tick: int
    ) -> list[int]:
        """Return the positions of at most `most`; see `close_to_limits`."""
        before = self._before if self._before.shape == counted.shape else np.nan * counted
        elapsed_s, self._before, self._at_s = now_s - self._at_s, counted.copy(), now_s
        close = close_to_limits(counted, before, limited, elapsed_s=elapsed_s, most=most, tick=tick)
        found: list[int] = close.tolist()
        return found


def close_to_limits(
    counted: Floats, before: Floats, limited: Floats, *, elapsed_s: float, most: int, tick: int
) -> Ints:
    """Return the positions of at most `most` tenants that may be held, in turns as `in_pairs`.

    `counted`, what it was `elapsed_s` ago, and `limited` have shape (disks, 4, tenants), in the
    order of io.max's numbers; inf is no limit.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (counted - before) / elapsed_s
        is_close = (rate >= _CLOSE * limited) & (rate > 0)
        is_small = limited < _SMALL
    return in_pairs(np.flatnonzero((is_close | is_small).any(axis=(0, 1))), most=most, tick=tick)


def in_pairs(positions: Ints, *, most: int, tick: int) -> Ints:
    """Return at most `most` of these, the same for two ticks in a row, then the next of them."""
    if len(positions) <= most:
        return positions
    return np.roll(positions, -(tick // 2) * most % len(positions))[:most]
