"""enforce.limits: the kernel's formats of limits, written and read."""

import math

import pytest

from enforce.columns import AnyControl, ClassControl, Control
from enforce.limits import is_kept, parse, text

MIB = 1 << 20
CEIL = ClassControl("eth0", "out", "ceil")


@pytest.mark.parametrize(
    ("control", "value", "expected"),
    [
        (Control.CPU_MAX, 1.5, "150000 100000"),
        (Control.CPU_MAX, 0.0, "1000 100000"),  # the kernel refuses less than 1 ms
        (Control.CPU_MAX, math.inf, "max 100000"),
        (Control.CPU_WEIGHT, 0.2, "1"),
        (Control.CPU_WEIGHT, 99.6, "100"),
        (Control.CPU_WEIGHT, math.inf, "10000"),
        (Control.MEMORY_HIGH, 64.9 * MIB, str(int(64.9 * MIB))),
        (Control.MEMORY_HIGH, math.inf, "max"),
        (Control.MEMORY_LOW, 2.0**63, "max"),
        (Control.MEMORY_LOW, 0.0, "0"),
        (CEIL, 1e6 + 0.7, "1000000"),
        (CEIL, 0.0, "125"),  # as good as nothing
        (CEIL, math.inf, "max"),
    ],
)
def test_values_become_the_kernels_text(control: AnyControl, value: float, expected: str) -> None:
    assert text(control, value) == expected


@pytest.mark.parametrize("value", [-1.0, math.nan, -math.inf])
@pytest.mark.parametrize("control", list(Control))
def test_what_is_no_amount_is_never_written(control: Control, value: float) -> None:
    with pytest.raises(ValueError, match=str(control)):
        text(control, value)


@pytest.mark.parametrize(
    ("control", "kept", "value"),
    [
        (Control.CPU_MAX, "max 100000\n", math.inf),
        (Control.CPU_MAX, "25000 50000\n", 0.5),  # another period than ours
        (Control.CPU_WEIGHT, "100\n", 100.0),
        (Control.MEMORY_HIGH, "max\n", math.inf),
        (Control.MEMORY_LOW, "4096\n", 4096.0),
    ],
)
def test_the_kernels_text_becomes_a_value(control: Control, kept: str, value: float) -> None:
    assert parse(control, kept) == value


@pytest.mark.parametrize("kept", ["", "many", "1 2 3", "1.5"])
@pytest.mark.parametrize("control", list(Control))
def test_text_in_another_format_is_refused(control: Control, kept: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|unpack"):
        parse(control, kept)


@pytest.mark.parametrize(
    ("control", "wanted", "kept", "expected"),
    [
        (Control.MEMORY_HIGH, 8192.0, 8192.0, True),
        (Control.MEMORY_HIGH, 8193.0, 8192.0, True),
        (Control.MEMORY_HIGH, 12287.0, 8192.0, True),
        (Control.MEMORY_HIGH, 12288.0, 8192.0, False),
        (Control.MEMORY_HIGH, 8191.0, 8192.0, False),  # the kernel rounds down, never up
        (Control.MEMORY_HIGH, math.inf, 8192.0, False),
        (Control.CPU_MAX, 0.5, 0.5, True),
        (Control.CPU_MAX, 0.500004, 0.5, True),  # less than a microsecond of quota
        (Control.CPU_MAX, 0.5, 0.6, False),
        (Control.CPU_WEIGHT, 100.4, 100.0, True),
        (Control.CPU_WEIGHT, 100.0, 101.0, False),
    ],
)
def test_only_the_kernels_own_grain_is_forgiven(
    control: Control, wanted: float, kept: float, expected: bool
) -> None:
    assert is_kept(control, wanted, kept, page_bytes=4096) is expected
