"""Scenes about one thing counted in bytes a second: who is there, and what is measured.  Pure.

Two tenants: one makes small requests that should not wait, the other takes all that it can get.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from scripts.demo_scene.record import Waits
from scripts.demo_scene.scene import poisson_s
from scripts.demo_scene.verdict import Measure

PRELUDE_S = 2.0  # forecasts and queues settle, and nothing is counted
COUNTED_S = 6.0
END_S = PRELUDE_S + COUNTED_S
REQUESTS_PER_S = 50.0
REQUEST_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """One tenant and what it was sold: its floor, and the share by which fixed caps are set."""

    name: str
    qos: str
    floor_bytes_per_s: float
    share_bytes_per_s: float
    does: str


@dataclass(frozen=True, slots=True)
class RateScene:
    """What is short, in which unit it is shown, and whose it is."""

    title: str
    resource: str  # as tidegate calls it
    unit: str
    unit_bytes_per_s: float
    carries_bytes_per_s: float
    limits: str  # what is shown of each tenant's limits
    small: Part
    bulk: Part

    @property
    def parts(self) -> tuple[Part, Part]:
        """Return both tenants."""
        return self.small, self.bulk


@dataclass(frozen=True, slots=True)
class Limit:
    """What the kernel holds a tenant to: guaranteed (NaN: no such number) and at most (inf)."""

    most_bytes_per_s: float
    guaranteed_bytes_per_s: float = nan

    def text(self, unit_bytes_per_s: float) -> str:
        """Return it in a unit."""
        most = f"{self.most_bytes_per_s / unit_bytes_per_s:.0f}".replace("inf", "max")
        if isnan(self.guaranteed_bytes_per_s):
            return most
        return f"{self.guaranteed_bytes_per_s / unit_bytes_per_s:.0f}..{most}"


@dataclass(frozen=True, slots=True)
class RateMoment:
    """One line of the timeline, over the seconds since the last one; limits are as of now."""

    at_s: float
    waits: Waits
    bytes_per_s: Mapping[str, float]
    limits: Mapping[str, Limit]


@dataclass(frozen=True, slots=True)
class RateFigures:
    """One regime's results."""

    regime: str
    waits: Waits
    bytes_per_s: Mapping[str, float]
    used_fraction: float  # of all that there is
    idle_core_s: float
    daemon_core_s: float
    timeline: Sequence[RateMoment]
    asked: Sequence[tuple[bytes, ...]]  # beside each moment, what the regime said of itself


def arrivals_s(*, seed: int) -> tuple[float, ...]:
    """Return when small requests are due, the same for one seed."""
    return tuple(poisson_s(REQUESTS_PER_S, until_s=END_S, draw=random.Random(seed)))


def measures(scene: RateScene) -> tuple[Measure[RateFigures], ...]:
    """Return what such a scene is judged by."""
    small, bulk = scene.small.name, scene.bulk.name
    return (
        Measure(f"{small} p99", " ms", lambda f: f.waits.p99_s * 1e3, 5),
        Measure(f"{small} p50", " ms", lambda f: f.waits.p50_s * 1e3, 1),
        Measure("requests lost", "", lambda f: f.waits.given_up, 0),
        Measure(
            f"{bulk} got",
            f" {scene.unit}",
            lambda f: f.bytes_per_s[bulk] / scene.unit_bytes_per_s,
            0,
            is_more_better=True,
            noise=0.03,
        ),
    )
