"""What is logged of forecasts: each time that one is found poor, replaced or good again, once."""

from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from records import CPU, NAMES, record, with_quality

from agent.record import TickRecord
from agent.tenant import Roster
from agent.verdicts import log_verdicts
from forecast.quality import Quality, Verdict

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Return the log's lines, as they are written."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def quality_of(one: TickRecord) -> Quality:
    found = one.resources[CPU].quality
    assert found is not None
    return found


def web_is(verdict: Verdict, others: Verdict = Verdict.GOOD) -> TickRecord:
    """Return a record in which the verdict on web's cpu is this."""
    one = with_quality(record(), verdict=others)
    verdicts = np.full(len(NAMES), others, dtype=np.uint8)
    verdicts[NAMES.index("web")] = verdict
    cpu = replace(one.resources[CPU], quality=replace(quality_of(one), verdict=verdicts))
    return replace(one, resources={**one.resources, CPU: cpu})


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (Verdict.GOOD, Verdict.POOR, "forecast poor: refitted early"),
        (Verdict.UNJUDGED, Verdict.POOR, "forecast poor: refitted early"),
        (Verdict.POOR, Verdict.REPLACED, "forecast replaced by the fallback rule"),
        (Verdict.REPLACED, Verdict.POOR, "forecast back from the fallback rule"),
        (Verdict.POOR, Verdict.GOOD, "forecast good again"),
    ],
)
def test_each_change_is_told_once_with_tenant_resource_and_numbers(
    lines: Lines, before: Verdict, after: Verdict, event: str
) -> None:
    now = web_is(after)
    log_verdicts(web_is(before), now)
    log_verdicts(now, now)
    log_verdicts(now, web_is(after))  # the same verdict, from a later step
    (line,) = lines
    assert (line["event"], line["tenant"], line["resource"]) == (event, "web", "cpu")
    assert line["reason"]
    assert (line["coverage_95_pct"], line["skill_naive_pct"], line["windows"]) == (95.0, 20.0, 500)


def test_what_is_no_news_is_not_told(lines: Lines) -> None:
    log_verdicts(None, web_is(Verdict.GOOD))
    log_verdicts(web_is(Verdict.UNJUDGED, Verdict.UNJUDGED), web_is(Verdict.GOOD))
    log_verdicts(web_is(Verdict.POOR), web_is(Verdict.UNJUDGED))  # the forecaster began anew
    log_verdicts(web_is(Verdict.POOR), record())  # and has nothing to say yet
    assert lines == []


def test_who_was_poor_under_another_roster_is_not_told_again(lines: Lines) -> None:
    before, after = web_is(Verdict.POOR), web_is(Verdict.POOR)
    names = after.roster.names
    fewer = replace(before, roster=Roster.of([]))
    log_verdicts(before, replace(after, roster=replace(after.roster, names=names)))
    assert lines == []
    log_verdicts(fewer, after)
    assert [line["tenant"] for line in lines] == ["web"]
