"""Who may be waiting, for a disk or a CPU: of these alone it is read how long they do.  Pure."""

import numpy as np

from enforce.columns import Floats, Ints

# A tenant that waits for one request of 1 MiB at less than this may show nothing for a whole tick.
_SMALL = np.array([4.0 * (1 << 20)] * 2 + [64.0] * 2)[None, :, None]
_CLOSE = 0.5  # of a limit


def close_to_limits(
    counted: Floats, before: Floats, limited: Floats, *, elapsed_s: float, most: int, turn: int
) -> Ints:
    """Return the positions of at most `most` tenants that may be held, others at another `turn`.

    `counted`, what it was `elapsed_s` ago, and `limited` have shape (disks, 4, tenants), in the
    order of io.max's numbers; inf is no limit.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = (counted - before) / elapsed_s
        is_close = (rate >= _CLOSE * limited) & (rate > 0)
        is_small = limited < _SMALL
    close = np.flatnonzero((is_close | is_small).any(axis=(0, 1)))
    if len(close) <= most:
        return close
    return np.roll(close, -turn * most)[:most]


def in_pairs(positions: Ints, *, most: int, tick: int) -> Ints:
    """Return at most `most` of these, the same for two ticks in a row, then the next of them."""
    if len(positions) <= most:
        return positions
    return np.roll(positions, -(tick // 2) * most % len(positions))[:most]
