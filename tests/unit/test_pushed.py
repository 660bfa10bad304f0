"""Metrics that were pushed: how long they count, and how many there may be."""

import pytest

from agent.metrics import MetricError
from agent.pushed import PushedMetrics


def ended(pushed: PushedMetrics) -> dict[str, dict[str, float]]:
    """Return what counts at a step's end."""
    pushed.ask()
    return {tenant: dict(values) for tenant, values in pushed.found().items()}


def test_a_value_counts_at_the_steps_end_and_the_next_one() -> None:
    pushed = PushedMetrics()
    assert pushed.push("web", {"queue": 1.0}) == {"queue": 1.0}
    assert pushed.push("web", {"queue": 2.0, "rps": 5.0}) == {"queue": 2.0, "rps": 5.0}
    assert ended(pushed) == {"web": {"queue": 2.0, "rps": 5.0}}
    assert pushed.found() == {}
    pushed.push("web", {"rps": 6.0})
    assert ended(pushed) == {"web": {"queue": 2.0, "rps": 6.0}}
    assert ended(pushed) == {"web": {"rps": 6.0}}
    assert ended(pushed) == {}


def test_a_tenant_has_eight_metrics_at_most_and_more_are_refused_whole() -> None:
    pushed = PushedMetrics()
    pushed.push("web", {f"m{place}": 1.0 for place in range(8)})
    with pytest.raises(MetricError, match="at most 8 metrics, got 9"):
        pushed.push("web", {"m0": 2.0, "other": 1.0})
    assert ended(pushed)["web"]["m0"] == 1.0
    pushed.push("db", {"other": 1.0})


@pytest.mark.parametrize("values", [{"Queue": 1.0}, {"a": float("nan")}, {"a": 1e16}, {"": 1.0}])
def test_what_is_no_metric_is_refused(values: dict[str, float]) -> None:
    pushed = PushedMetrics()
    with pytest.raises(MetricError):
        pushed.push("web", values)
    assert ended(pushed) == {}
