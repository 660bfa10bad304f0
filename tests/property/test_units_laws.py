from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from agent.units import bytes_text, parse_bytes, parse_seconds, seconds_text


@given(st.integers(0, 1 << 62) | st.integers(0, 1 << 20).map(lambda n: n << 30))
def test_bytes_are_read_back_as_they_were_written(value: int) -> None:
    assert parse_bytes(bytes_text(value)) == value


@given(st.integers(0, 10**9).map(float) | st.integers(0, 10**9).map(lambda us: us / 1e6))
def test_seconds_are_read_back_as_they_were_written(value_s: float) -> None:
    assert parse_seconds(seconds_text(value_s)) == value_s


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_bytes, parse_seconds):
        with suppress(ValueError):
            assert parse(text) >= 0
