"""enforce.counters: what the kernel prints, parsed; what it does not print is NaN."""

import numpy as np
import pytest

from enforce.counters import (
    disk_weights,
    io_counters,
    io_limits,
    numbers,
    quotas,
    stalled_us,
    table,
)

CPU = b"usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 7\nnr_throttled 3\n"
BARE = b"usage_usec 5\nuser_usec 3\nsystem_usec 2\n"
KEYS = (b"usage_usec", b"nr_throttled")
NAN = np.nan


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([CPU], [[100, 3]]),
        ([CPU, CPU.replace(b"100", b"123456789012345")], [[100, 3], [123456789012345, 3]]),
        ([CPU, BARE], [[100, 3], [5, NAN]]),
        ([BARE, BARE], [[5, NAN], [5, NAN]]),
        ([CPU, b""], [[100, 3], [NAN, NAN]]),
        ([b"", b""], [[NAN, NAN], [NAN, NAN]]),
        ([b"k1 5\nusage_usec 6\n"] * 2, [[6, NAN], [6, NAN]]),  # a digit in a key
        ([b"usage_usec\n", b"usage_usec x\n"], [[NAN, NAN], [NAN, NAN]]),
    ],
)
def test_keyed_files_become_columns(rows: list[bytes], expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(table(rows, KEYS), expected)


def test_no_rows_are_no_rows() -> None:
    assert table([], KEYS).shape == (0, 2)
    assert numbers([]).shape == (0, 1)
    assert quotas([]).shape == (0, 1)
    assert io_counters([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([b"0\n", b"18446744\n", b"max\n"], [0, 18446744, np.inf]),
        ([b"5\n", b""], [5, NAN]),
        ([b"5\n6\n", b""], [NAN, NAN]),  # a value never slips into another tenant's row
        ([b"5\n", b"six\n"], [5, NAN]),
    ],
)
def test_single_numbers_become_a_column(rows: list[bytes], expected: list[float]) -> None:
    np.testing.assert_array_equal(numbers(rows)[:, 0], expected)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([b"max 100000\n", b"50000 100000\n", b"25000 10000\n"], [np.inf, 0.5, 2.5]),
        ([b"50000 100000\n", b"50000\n"], [0.5, NAN]),
        ([b"50000 100000\n", b""], [0.5, NAN]),
    ],
)
def test_quotas_become_cores(rows: list[bytes], expected: list[float]) -> None:
    np.testing.assert_array_equal(quotas(rows)[:, 0], expected)


DISK = b"254:%d rbytes=%d wbytes=2 rios=3 wios=4 dbytes=50 dios=60\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([b"", DISK % (0, 1), b""], [[0] * 4, [1, 2, 3, 4], [0] * 4]),
        ([DISK % (0, 1) + DISK % (16, 1000), DISK % (0, 9)], [[1001, 4, 6, 8], [9, 2, 3, 4]]),
        ([DISK % (0, 1) + b"8:0 \n", b""], [[1, 2, 3, 4], [0] * 4]),  # a bare device
        ([DISK[:-1] % (0, 1) + b" cost.usage=7\n"], [[1, 2, 3, 4]]),
        ([b"", b""], [[0] * 4, [0] * 4]),
    ],
)
def test_disk_counters_are_summed_over_devices(
    rows: list[bytes], expected: list[list[float]]
) -> None:
    np.testing.assert_array_equal(io_counters(rows), expected)


OTHER_DISK = b"8:%d rbytes=%d wbytes=20 rios=30 wios=40 dbytes=0 dios=0\n"
COST = b" cost.usage=7\n"


@pytest.mark.parametrize("end", [b"\n", COST, b" more=5\n"])
def test_each_disk_is_counted_apart(end: bytes) -> None:
    both = [DISK % (0, 1) + OTHER_DISK % (0, 10) + OTHER_DISK % (16, 7), b"", OTHER_DISK % (0, 5)]
    rows = [row.replace(b"\n", end) for row in both]
    found = io_counters(rows, [(8, 0), None, (8, 16), (254, 1)])
    assert found.shape == (3, 20)
    np.testing.assert_array_equal(found[:, :4], [[18, 42, 63, 84], [0] * 4, [5, 20, 30, 40]])
    np.testing.assert_array_equal(found[:, 4:8], [[10, 20, 30, 40], [0] * 4, [5, 20, 30, 40]])
    assert np.isnan(found[:, 8:12]).all()  # a disk that is not there
    np.testing.assert_array_equal(found[:, 12:16], [[7, 20, 30, 40], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(found[:, 16:], np.zeros((3, 4)))


def test_limits_of_disks_are_read_by_number_whatever_else_stands_there() -> None:
    """A disk without a line has no limit; one without a number is unknown."""
    regular = b"8:0 rbps=max wbps=1048576 riops=max wiops=120\n"
    rows = [regular + b"8:16 rbps=7 wbps=max riops=max wiops=max\n", b"", regular]
    disks = [(8, 16), None, (8, 0)]
    none, nan = [np.inf] * 4, [np.nan] * 4
    first, of_sda = [7, np.inf, np.inf, np.inf], [np.inf, 1048576, np.inf, 120]
    expected = [first + nan + of_sda, none + nan + none, none + nan + of_sda]
    np.testing.assert_array_equal(io_limits(rows, disks), expected)
    longer = [row.replace(b" wiops=120", b" wiops=120 more=5") for row in rows]
    np.testing.assert_array_equal(io_limits(longer, disks), expected)
    assert io_limits([], disks).shape == (0, 12)


def test_a_disk_that_is_limited_and_unused_counts_as_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its line has no counters (Linux 6.1), and does not make all rows be read one by one."""
    rows = [b"8:32 \n" + OTHER_DISK % (0, 5), b"8:0 \n", OTHER_DISK % (16, 7) + b"8:0 \n"]
    monkeypatch.setattr("enforce.counters._io_row", None)
    found = io_counters(rows, [(8, 0)])
    np.testing.assert_array_equal(found[:, 0], [5, 0, 7])
    np.testing.assert_array_equal(found[:, 4], [5, 0, 0])


def test_the_weight_on_a_disk_is_its_own_or_the_default() -> None:
    rows = [b"default 100\n8:0 300\n", b"default 70\n", b"", b"garbage\n"]
    found = disk_weights(rows, [(8, 0), (8, 16)])
    np.testing.assert_array_equal(found[:2], [[300, 100], [70, 70]])
    assert np.isnan(found[2:]).all()


def test_how_long_a_tenant_stood_still_is_the_total_of_its_line() -> None:
    text = b"some avg10=0.10 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 total=%d\n"
    rows = [text % (9, 7), b"", b"some total=none\n", text % (12345678901, 0)]
    for line, expected in ((b"some", [9, NAN, NAN, 12345678901]), (b"full", [7, NAN, NAN, 0])):
        np.testing.assert_array_equal(stalled_us(rows, line), expected)
