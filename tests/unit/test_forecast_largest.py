"""forecast.largest: the largest values of a moving past, and rare quantiles of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecast.largest import Largest
from forecast.sample import quantiles

LEVELS = np.array([0.9, 0.95, 0.99])
VALUES = st.one_of(st.just(np.nan), st.floats(0, 4, width=32).map(round), st.floats(0, 9, width=32))


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=90), st.integers(2, 40))
def test_quantiles_are_those_of_the_whole_past(rows: list[tuple[float, float]], depth: int) -> None:
    ring = np.full((2, depth), np.nan, dtype=np.float32)
    largest = Largest(ring, LEVELS[0])
    for step, row in enumerate(np.array(rows, dtype=np.float32)):
        largest.enter(ring[:, step % depth], row)
        ring[:, step % depth] = row
        found = largest.quantiles(np.arange(2), LEVELS)
        np.testing.assert_array_equal(found, quantiles(np.sort(ring, axis=1), LEVELS))


def test_a_series_that_is_not_asked_for_misses_nothing() -> None:
    ring = np.full((2, 50), np.nan, dtype=np.float32)
    largest = Largest(ring, LEVELS[0])
    for step in range(50):
        largest.enter(ring[:, step], np.full(2, step, dtype=np.float32))
        ring[:, step] = step
        largest.quantiles(np.array([0]), LEVELS)
    found = largest.quantiles(np.array([1]), LEVELS)
    np.testing.assert_array_equal(found, quantiles(np.sort(ring[1:], axis=1), LEVELS))
