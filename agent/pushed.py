"""Metrics that were pushed to the control socket, kept until the steps' end and the next.

Threads of the socket write; the tick reads.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from agent.metrics import MOST_METRICS, MetricError, checked

_COUNTS_FOR_STEPS = 2  # ends of steps at which a value counts, unless it is pushed again


@dataclass(frozen=True, slots=True)
class _Value:
    """One metric, and how many ends of steps it still counts at."""

    value: float
    steps_left: int


class PushedMetrics:
    """The last values of each tenant; bounded: so many metrics of so many tenants."""

    problem: str | None = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, _Value]] = {}
        self._new: dict[str, dict[str, float]] = {}

    def push(self, tenant: str, values: Mapping[str, float]) -> dict[str, float]:
        """Take in metrics of a tenant that exists; return all that is held of it.

        Raises:
            MetricError: Something is no metric, or there would be too many of them.

        """
        pushed = {name: _Value(value, _COUNTS_FOR_STEPS) for name, value in checked(values).items()}
        with self._lock:
            held = {**self._values.get(tenant, {}), **pushed}
            if len(held) > MOST_METRICS:
                raise MetricError(f"expected at most {MOST_METRICS} metrics, got {len(held)}")
            self._values[tenant] = held
        return {name: one.value for name, one in held.items()}

    def ask(self) -> None:
        """Take the values as they are at the end of a step, and forget those that are too old."""
        with self._lock:
            self._new = {
                tenant: {name: one.value for name, one in held.items()}
                for tenant, held in self._values.items()
            }
            aged = {tenant: _aged(held) for tenant, held in self._values.items()}
            self._values = {tenant: held for tenant, held in aged.items() if held}

    def found(self) -> Mapping[str, Mapping[str, float]]:
        """Return what was taken last, once."""
        found, self._new = self._new, {}
        return found


def _aged(held: Mapping[str, _Value]) -> dict[str, _Value]:
    return {
        name: _Value(one.value, one.steps_left - 1)
        for name, one in held.items()
        if one.steps_left > 1
    }
