"""agent.units: what is written is read back, and no text raises anything but its own error."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from agent.units import at_least_one_digit, parse_bytes, parse_seconds, seconds_text


@given(st.integers(0, 1 << 62), st.sampled_from("BKMGTP"))
def test_whole_numbers_of_bytes_are_read_exactly(value: int, unit: str) -> None:
    factor = 1024 ** "BKMGTP".index(unit)
    assert parse_bytes(f"{value // factor}{unit}") == value // factor * factor


@given(st.floats(1e-300, 1e12))
def test_no_amount_reads_as_nothing(value: float) -> None:
    assert any(digit in at_least_one_digit(value) for digit in "123456789")


@given(st.integers(0, 10**9).map(float) | st.integers(0, 10**9).map(lambda us: us / 1e6))
def test_seconds_are_read_back_as_they_were_written(value_s: float) -> None:
    assert parse_seconds(seconds_text(value_s)) == value_s


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_bytes, parse_seconds):
        with suppress(ValueError):
            assert parse(text) >= 0
