"""Who is asked how long it waits, where many may be waiting: each in its turn, two ticks long."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enforce.closeness import in_pairs


@given(st.integers(0, 300), st.integers(1, 80), st.integers(0, 50))
def test_each_has_a_turn_of_two_ticks_and_no_turn_is_too_long(
    count: int, most: int, begin: int
) -> None:
    positions, seen = np.arange(count), set[int]()
    for tick in range(2 * begin, 2 * (begin - (-count // most)), 2):
        now, again = (in_pairs(positions, most=most, tick=at) for at in (tick, tick + 1))
        assert now.tolist() == again.tolist()
        assert len(now) == min(count, most)
        seen.update(now.tolist())
    assert seen == set(range(count))
