"""agent.units: amounts as people write and read them."""

import pytest

from agent.units import (
    approximate_bytes,
    approximate_seconds,
    at_least_one_digit,
    parse_bytes,
    parse_seconds,
    seconds_text,
    three_digits,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1K", 1024),
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("2 GiB", 2 << 30),
        ("2gb", 2 << 30),
        ("1T", 1 << 40),
        ("100B", 100),
        (" 7k ", 7168),
        ("0.5", 0),
    ],
)
def test_bytes_are_read_in_powers_of_1024(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "value_s"),
    [("60", 60), ("60s", 60), ("5m", 300), ("1.5h", 5400), ("1d", 86400), ("250ms", 0.25)],
)
def test_durations_are_read_in_seconds(text: str, value_s: float) -> None:
    assert parse_seconds(text) == value_s


@pytest.mark.parametrize(
    "text", ["", "M", "-1M", "1e3", "1Q", "1 2", "nan", "inf", "0x10", "1_000", "1M\n1", "9" * 30]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_bytes(text)
    with pytest.raises(ValueError, match=r"\S"):
        parse_seconds(text)


def test_a_quantity_beyond_any_host_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_bytes("5000P")


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(0, "0s"), (1, "1s"), (90, "90s"), (300, "5m"), (7200, "2h"), (86400, "1d"), (0.25, "0.25s")],
)
def test_seconds_are_written_exactly(value_s: float, text: str) -> None:
    assert seconds_text(value_s) == text


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.2, "1s"),
        (119.0, "119s"),
        (120.0, "2m"),
        (3586.0, "60m"),
        (2 * 3600.0, "2h"),
        (86400.0, "24h"),
        (9 * 86400.0, "9d"),
    ],
)
def test_a_time_for_a_persons_eye_is_whole_units(value_s: float, text: str) -> None:
    assert approximate_seconds(value_s) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0B"),
        (1023.0, "1023B"),
        (1024.0, "1.00K"),
        (1023.9 * 1024, "1.00M"),
        (511.4 * (1 << 20), "511M"),
        (12.34 * (1 << 30), "12.3G"),
    ],
)
def test_bytes_for_a_persons_eye_have_three_digits(value: float, text: str) -> None:
    assert approximate_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (-0.004, "0.00"),
        (-0.296, "-0.30"),
        (0.296, "0.30"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1e4, "10000"),
    ],
)
def test_numbers_for_a_persons_eye_have_about_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0004, "less than 0.01"),
        (0.01, "0.01"),
        (0.3, "0.30"),
        (31.5, "31.5"),
        (300.0, "300"),
    ],
)
def test_only_nothing_reads_as_zero(value: float, text: str) -> None:
    assert at_least_one_digit(value) == text
