"""Where rows of a history stand in time when some were written under a wrong clock.  Pure."""

import math
from bisect import bisect_left

import numpy as np

from agent.tenant import Bools, Floats, Ints

NOWHERE = -1


def placed(ended_at_s: Floats, step_s: float, *, now_s: float = math.inf) -> tuple[Ints, float]:
    """Return how many steps before the last place each row (in the order of writing) ended.

    With it comes when the last place ended.  Rows of a right clock stand where they say: those of
    the longest sequence in which each ended after the one before, and none after `now_s` unless
    half of them do (then that is wrong).  Steps that are shorter than they should be may share a
    place.  Each other row takes a step of the gap in which it was written, the last ones first;
    where there is none it is `NOWHERE`.
    """
    is_past = ended_at_s <= now_s
    candidates = np.flatnonzero(is_past | (2 * is_past.sum() <= len(is_past)))
    is_right = np.zeros(len(ended_at_s), dtype=np.bool_)
    is_right[candidates] = _in_order(ended_at_s[candidates])
    right = np.flatnonzero(is_right)
    after = len(ended_at_s) - 1 - int(right[-1])  # so many have come since
    newest_s = float(ended_at_s[right[-1]])
    places = np.full(len(ended_at_s), NOWHERE, dtype=np.int64)
    places[right] = np.round((newest_s - ended_at_s[right]) / step_s) + after
    _fill_gaps(places, is_right)
    return places, newest_s + after * step_s


def _fill_gaps(places: Ints, is_right: Bools) -> None:
    """Give each row of a wrong clock the step before the row after it, where nobody has that."""
    limit = np.iinfo(np.int64).max
    before = np.full(len(places), limit)  # the place of the next older row of a right clock
    before[1:] = np.minimum.accumulate(np.where(is_right, places, limit))[:-1]
    newer = NOWHERE
    for row in range(len(places) - 1, -1, -1):
        if is_right[row]:
            newer = int(places[row])
        elif newer + 1 < before[row]:
            newer = places[row] = newer + 1


def _in_order(ended_at_s: Floats) -> Bools:
    """Say which rows are of the longest sequence that rises; of several, the closest in time.

    Patience sorting, O(n log n): a row that ends a longest sequence of k rows is the k-th ending
    that is lowest so far.
    """
    lowest: list[float] = []
    length = [_put(lowest, float(one)) for one in ended_at_s]
    is_in = np.zeros(len(length), dtype=np.bool_)
    at = _last_of(length, len(lowest))
    is_in[at] = True
    rows_of = _by_length(length)
    for wanted in range(len(lowest) - 1, 0, -1):
        # Of one length the earlier ones ended later: the first that fits is the closest in time.
        at = next(row for row in rows_of[wanted] if ended_at_s[row] < ended_at_s[at])
        is_in[at] = True
    return is_in


def _put(lowest: list[float], ended_at_s: float) -> int:
    """Return how long the longest rising sequence is that ends with this row."""
    at = bisect_left(lowest, ended_at_s)
    lowest[at : at + 1] = [ended_at_s]
    return at + 1


def _last_of(length: list[int], wanted: int) -> int:
    return len(length) - 1 - length[::-1].index(wanted)


def _by_length(length: list[int]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for row, one in enumerate(length):
        rows.setdefault(one, []).append(row)
    return rows
