"""What is measured: moments of the timeline, and the figures of one regime.  Pure.

All figures count from the end of the prelude to the end of the scene; nothing is estimated but
the core-seconds of work, from what each unit of work took on the idle host beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

from scripts.demo_scene import scene
from scripts.demo_scene.progress import Counters


@dataclass(frozen=True, slots=True)
class Costs:
    """What one unit of each tenant's work takes alone on the idle host."""

    request_core_s: float
    chunk_core_s: float
    scan_core_s_per_byte: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was to arrive and how long its visitor waited (inf: gave up)."""

    arrival_s: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Waits:
    """How long those waited whose requests ended; who gave up counts as inf."""

    p50_s: float
    p99_s: float
    answered: int
    given_up: int

    @property
    def requests(self) -> int:
        """Return how many there were."""
        return self.answered + self.given_up

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> "Waits":
        """Sum up answers."""
        latencies_s = [answer.latency_s for answer in answers]
        answered = sum(latency_s < inf for latency_s in latencies_s)
        return cls(
            p50_s=quantile(latencies_s, 0.5),
            p99_s=quantile(latencies_s, 0.99),
            answered=answered,
            given_up=len(answers) - answered,
        )


@dataclass(frozen=True, slots=True)
class TenantNow:
    """One tenant at one moment, as its cgroup's files say; inf is no limit."""

    usage_cores: float
    memory_bytes: float
    limit_cores: float
    weight: float
    high_bytes: float
    low_bytes: float


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline, over the seconds since the last one."""

    at_s: float
    asked_cores: float
    tenants: Mapping[str, TenantNow]
    idle_cores: float
    waits: Waits


@dataclass(frozen=True, slots=True)
class Work:
    """One tenant's work in its own unit: chunks, bytes, requests."""

    unit: str
    wanted: float
    done: float
    core_s_per_unit: float

    @property
    def unmet_core_s(self) -> float:
        """Return the work that was wanted and not done."""
        return max(0.0, self.wanted - self.done) * self.core_s_per_unit


@dataclass(frozen=True, slots=True)
class Figures:
    """One regime's results in the CPU's scene."""

    regime: str
    waits: Waits
    reports: int
    reports_in_time: int
    work: Mapping[str, Work]
    idle_core_s: float
    daemon_core_s: float
    web_refaults: int
    chunk_core_s: float  # what the hog's CPU time bought: the machine's speed in this regime
    timeline: Sequence[Moment]
    asked: Sequence[tuple[bytes, ...]]  # beside each moment, what the regime said of itself


def quantile(latencies_s: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank quantile, NaN of nothing; a request given up counts as inf."""
    if not latencies_s:
        return float("nan")
    ordered = sorted(latencies_s)
    return ordered[max(0, ceil(fraction * len(ordered)) - 1)]


def work_done(
    costs: Costs, answers: Sequence[Answer], before: Mapping[str, Counters],
    after: Mapping[str, Counters],
) -> dict[str, Work]:  # fmt: skip
    """Return everyone's work between two readings of their counters."""
    served = sum(answer.latency_s < inf for answer in answers)

    def made(name: str) -> float:
        return after[name].done - before[name].done

    report_wanted = after["report"].wanted - before["report"].wanted
    hog_wanted = scene.HOG_CORES * scene.COUNTED_S / costs.chunk_core_s
    end_s = scene.PRELUDE_S + scene.COUNTED_S
    scan_wanted = scene.SCAN_BYTES_PER_S * end_s - before["eater"].done  # its backlog included
    return {
        "web": Work("requests", len(answers), served, costs.request_core_s),
        "report": Work("chunks", report_wanted, made("report"), costs.chunk_core_s),
        "hog": Work("chunks", hog_wanted, made("hog"), costs.chunk_core_s),
        "eater": Work("bytes", scan_wanted, made("eater"), costs.scan_core_s_per_byte),
    }
