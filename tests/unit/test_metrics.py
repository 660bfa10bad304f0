"""What counts as a metric: in a file that a tenant wrote, and on a command line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metrics import (
    MOST_FILE_LINES,
    MetricError,
    checked,
    parsed_file,
    parsed_pairs,
)
from forecast.settings import LARGEST_METRIC

names = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
numbers = st.floats(min_value=-LARGEST_METRIC, max_value=LARGEST_METRIC)


@given(st.dictionaries(names, numbers, max_size=8))
def test_what_is_written_is_what_is_read(metrics: dict[str, float]) -> None:
    text = "# a comment\n\n" + "".join(f"{name}\t{value!r} \n" for name, value in metrics.items())
    assert parsed_file(text.encode()) == metrics
    assert parsed_pairs([f"{name}={value!r}" for name, value in metrics.items()]) == metrics


@given(st.binary(max_size=300))
def test_whatever_is_in_a_file_it_is_metrics_or_refused(contents: bytes) -> None:
    try:
        found, said = parsed_file(contents), ""
    except MetricError as error:
        found, said = {}, str(error)
    assert not said or (said.isprintable() and len(said) < 200)
    assert checked(found) == found
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("queue_depth", "line 1: expected a name, a blank and a number"),
        ("a 1\nb 1 1690000000\n", "line 2: expected a name, a blank and a number"),
        ("Queue 1", "line 1: expected a name of a-z, 0-9 and '_', beginning with a letter"),
        ("1st 1", "line 1: expected a name"),
        ("a" * 33 + " 1", "line 1: expected a name"),
        ("a nan", "line 1: expected a number between -1e15 and 1e15$"),
        ("a inf", "line 1: expected a number"),
        ("a 1e999", "line 1: expected a number between -1e15 and 1e15$"),
        ("a 1e16", "line 1: expected a number between"),
        ("a 1_000", "line 1: expected a number"),
        ("a 0x10", "line 1: expected a number"),
        ("a \u0661", "line 1: expected a number"),
        ("a " + "9" * 5000, "line 1: expected a name, a blank and a number"),
        ("a 1\na 2", "line 2: the same name is there twice$"),
        ("".join(f"m{place} 1\n" for place in range(9)), "line 9: expected at most 8 metrics"),
        ("\x1b[2J 1", r"line 1: expected a name .* at most 32 long$"),
    ],
)
def test_a_file_with_one_line_that_is_no_metric_has_none(text: str, why: str) -> None:
    with pytest.raises(MetricError, match=f"^{why}"):
        parsed_file(text.encode())


@pytest.mark.parametrize(
    "text", ["s3cr3t", "s3cr3t 1 2", "S3cr3t 1", "a s3cr3t", "s3cr3t 1e16", "s3cr3t 1\ns3cr3t 2"]
)
def test_what_is_wrong_with_a_file_is_said_without_its_contents(text: str) -> None:
    with pytest.raises(MetricError) as caught:
        parsed_file(text.encode())
    assert "3cr3t" not in str(caught.value)


@pytest.mark.parametrize("line", ["#\n", "\n", "# of now\r\n"])
def test_a_file_of_more_lines_than_count_has_no_metrics(line: str) -> None:
    """So that reading one keeps the interpreter for microseconds, whatever is in it."""
    text = "a 1\n" + line * (MOST_FILE_LINES - 1)
    assert parsed_file(text.encode()) == {"a": 1.0}
    for longer in (text + "#", text + line, text + line * 10_000):
        with pytest.raises(MetricError, match=r"^expected at most 64 lines$"):
            parsed_file(longer.encode())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["queue"], "expected NAME=VALUE, got 'queue'"),
        (["queue="], "expected a number"),
        (["=1"], "expected a name"),
        (["a=1", "a=2"], "'a' is there twice"),
        ([f"m{place}=1" for place in range(9)], "expected at most 8 metrics, got 9"),
    ],
)
def test_words_that_are_no_metrics_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(MetricError, match=why):
        parsed_pairs(words)
