"""Laws of the kernel's formats: what is written and what is read are one value."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enforce.columns import Control
from enforce.limits import is_kept, parse, rounded, text

PAGE = 4096
controls = st.sampled_from(Control)
amounts = st.floats(min_value=0.0, max_value=2.0**62) | st.just(math.inf) | st.floats(0.0, 64.0)
MEMORY = [Control.MEMORY_HIGH, Control.MEMORY_LOW, Control.MEMORY_MAX]


@given(controls, amounts)
def test_reading_back_and_writing_again_changes_nothing(control: Control, value: float) -> None:
    written = text(control, value)
    assert text(control, parse(control, written)) == written


@given(controls, amounts, amounts)
def test_more_is_never_written_as_less(control: Control, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert parse(control, text(control, low)) <= parse(control, text(control, high))


@given(st.floats(min_value=0.01, max_value=1024.0))
def test_a_quota_is_kept_to_the_microsecond(cores: float) -> None:
    assert abs(parse(Control.CPU_MAX, text(Control.CPU_MAX, cores)) - cores) <= 0.5e-5 + 1e-12


@given(st.sampled_from(MEMORY), st.floats(0.0, 2.0**52))
def test_a_limit_of_memory_is_kept_to_the_byte(control: Control, size: float) -> None:
    assert 0.0 <= size - parse(control, text(control, size)) < 1.0


@given(controls, amounts)
def test_the_kernels_rounding_of_what_we_write_counts_as_kept(
    control: Control, value: float
) -> None:
    kept = parse(control, text(control, value))
    if control in MEMORY and math.isfinite(kept):
        kept = float(int(kept) // PAGE * PAGE)
    assert is_kept(control, value, kept, page_bytes=PAGE)


@given(controls, amounts, amounts)
def test_a_value_that_differs_by_more_than_a_grain_is_never_taken_for_kept(
    control: Control, value: float, kept: float
) -> None:
    held = parse(control, text(control, value))
    if kept > held or held - kept >= PAGE:
        assert not is_kept(control, value, kept, page_bytes=PAGE)


@given(controls, st.lists(amounts, max_size=5))
def test_a_rounded_column_holds_what_is_written_of_each(
    control: Control, values: list[float]
) -> None:
    written = [parse(control, text(control, value)) for value in values]
    assert rounded(control, np.array(values)).tolist() == written
