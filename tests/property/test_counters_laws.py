"""Laws of bulk parsing: many rows at once say what each row says by itself."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforce.columns import Floats
from enforce.counters import io_counters, numbers, quotas, table

KEYS = (b"usage_usec", b"nr_periods", b"throttled_usec")
counters = st.integers(min_value=0, max_value=2**53)
words = counters.map(lambda n: b"%d" % n) | st.just(b"max")


def keyed(names: list[bytes]) -> st.SearchStrategy[bytes]:
    """Files with the keys `names`, and their values."""
    return st.tuples(*(counters for _ in names)).map(
        lambda values: b"".join(b"%s %d\n" % pair for pair in zip(names, values, strict=True))
    )


regular = keyed([b"usage_usec", b"user_usec", b"nr_periods", b"throttled_usec"])
bare = keyed([b"usage_usec", b"user_usec"])
odd = keyed([b"throttled_usec", b"numa0_usec", b"usage_usec"])
device = st.tuples(st.integers(0, 300), *(counters for _ in range(6))).map(
    lambda n: b"254:%d rbytes=%d wbytes=%d rios=%d wios=%d dbytes=%d dios=%d\n" % n
)
debug = device.map(lambda line: line[:-1] + b" cost.usage=3\n")
single = words.map(lambda word: word + b"\n")
pair = st.tuples(words, st.integers(1000, 10**6)).map(lambda p: b"%s %d\n" % p)

FILES: list[tuple[st.SearchStrategy[bytes], Callable[[list[bytes]], Floats]]] = [
    (regular, lambda rows: table(rows, KEYS)),
    (st.one_of(regular, bare, odd, st.just(b"")), lambda rows: table(rows, KEYS)),
    (single, numbers),
    (st.one_of(single, st.just(b"")), numbers),
    (pair, quotas),
    (st.one_of(pair, single), quotas),
    (st.lists(device, max_size=3).map(b"".join), io_counters),
    (st.lists(st.one_of(device, debug), max_size=3).map(b"".join), io_counters),
]


@pytest.mark.parametrize(("row", "parse"), FILES)
@given(data=st.data())
def test_rows_parsed_together_equal_rows_parsed_alone(
    row: st.SearchStrategy[bytes], parse: Callable[[list[bytes]], Floats], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    alone = np.concatenate([parse([each]) for each in rows])
    np.testing.assert_array_equal(parse(rows), alone)


@given(st.lists(st.lists(device, max_size=3), min_size=1, max_size=4))
def test_the_order_of_devices_does_not_matter(rows: list[list[bytes]]) -> None:
    forwards = io_counters([b"".join(row) for row in rows])
    backwards = io_counters([b"".join(reversed(row)) for row in rows])
    np.testing.assert_allclose(forwards, backwards, rtol=1e-15)
