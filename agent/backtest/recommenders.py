"""Recommenders that keep decaying histograms: VPA's, koordlet's and Autopilot's.  Pure.

Parameters are those of the projects' own sources and papers, cited in peers.py.
"""

from dataclasses import dataclass

import numpy as np

from agent.backtest.histogram import Buckets, DecayingHistogram
from agent.backtest.windows import Highest
from agent.tenant import Bools, Floats, Resource

HOUR_S = 3600.0
_DAY_S = 24 * HOUR_S
_MIB = 2.0**20
_RATIO = 1.05  # of buckets' widths, in VPA and koordlet


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a recommender does differently for each resource."""

    buckets: Buckets
    half_life_s: float
    level: float
    margin_fraction: float
    least: float = 0.0  # recommended at least

    def histogram(self, tenants: int, step_s: float) -> DecayingHistogram:
        """Return an empty histogram whose time moves once a step."""
        return DecayingHistogram(tenants, self.buckets, self.half_life_s / step_s)

    def recommended(self, histogram: DecayingHistogram) -> Floats:
        """Return the quantile with its safety margin."""
        limit = histogram.quantile(self.level) * (1.0 + self.margin_fraction)
        return np.maximum(limit, self.least)


VPA_CPU = Sizing(Buckets.up_to(1000.0, first=0.01, ratio=_RATIO), _DAY_S, 0.9, 0.15, least=0.025)
VPA_MEMORY = Sizing(
    Buckets.up_to(1e12, first=1e7, ratio=_RATIO), _DAY_S, 0.9, 0.15, least=250 * _MIB
)
KOORDLET_CPU = Sizing(Buckets.up_to(1024.0, first=0.025, ratio=_RATIO), 12 * HOUR_S, 0.95, 0.1)
KOORDLET_MEMORY = Sizing(Buckets.up_to(2.0**41, first=5 * _MIB, ratio=_RATIO), _DAY_S, 0.98, 0.1)


class VpaCpu:
    """The target of VPA for cpu: a decaying histogram of all values, by the request they had.

    The request is the last target, so that after a rise what came before counts less.
    """

    _LEAST_WEIGHT = 0.1

    def __init__(self, ceiling: Floats, step_s: float) -> None:
        self._histogram = VPA_CPU.histogram(len(ceiling), step_s)
        self._request = ceiling

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the targets."""
        self._histogram.age()
        weight = np.maximum(self._request, self._LEAST_WEIGHT)
        self._histogram.add(values, is_known, weight)
        target = VPA_CPU.recommended(self._histogram)
        self._request = np.where(is_known, target, self._request)
        return target


class VpaMemory:
    """The target of VPA for memory: a decaying histogram of each day's peak, today's included."""

    def __init__(self, tenants: int, step_s: float) -> None:
        self._histogram = VPA_MEMORY.histogram(tenants, _DAY_S)
        self._steps_per_day = max(round(_DAY_S / step_s), 1)
        self._step = 0
        self._one = np.ones(tenants)
        self._peak = np.full(tenants, -np.inf)

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the targets."""
        if self._step and self._step % self._steps_per_day == 0:
            self._histogram.age()
            self._peak.fill(-np.inf)
        self._step += 1
        is_higher = is_known & (values > self._peak)
        self._histogram.add(self._peak, is_higher & (self._peak >= 0), -self._one)
        self._histogram.add(values, is_higher, self._one)
        self._peak = np.where(is_higher, values, self._peak)
        return VPA_MEMORY.recommended(self._histogram)


class Koordlet:
    """The peak that koordlet predicts; nothing (NaN) while a tenant starts cold, for a day."""

    def __init__(self, tenants: int, step_s: float, sizing: Sizing) -> None:
        self._sizing = sizing
        self._histogram = sizing.histogram(tenants, step_s)
        self._step_s = step_s
        self._weight = np.ones(tenants)
        self._age_s = np.zeros(tenants)

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the peaks."""
        self._age_s += np.where(is_known | (self._age_s > 0), self._step_s, 0.0)
        self._histogram.age()
        self._histogram.add(values, is_known, self._weight)
        return np.where(self._age_s > _DAY_S, self._sizing.recommended(self._histogram), np.nan)


class Autopilot:
    """Autopilot's moving window: a quantile of load, a margin, and the last hour's maximum.

    All in units of each tenant's ceiling.  What counts in the quantile is load, not time: a
    value weighs as much as it is high.
    """

    _BUCKETS = Buckets.split(2.0, count=400, ratio=1.02)
    _MARGIN_FRACTION, _MARGIN_AT_CEILING_FRACTION = 0.15, 0.10

    def __init__(self, ceiling: Floats, step_s: float, *, half_life_s: float, level: float) -> None:
        self._ceiling, self._level = ceiling, level
        self._histogram = DecayingHistogram(len(ceiling), self._BUCKETS, half_life_s / step_s)
        self._last_hour = Highest(len(ceiling), max(round(HOUR_S / step_s), 1))

    def __call__(self, values: Floats, is_known: Bools) -> Floats:
        """Take in a value of each tenant and return the limits."""
        part = np.divide(values, self._ceiling, out=np.zeros_like(values), where=self._ceiling > 0)
        load = self._BUCKETS.end(self._BUCKETS.of(part))
        self._histogram.age()
        self._histogram.add(part, is_known, load)
        raw = self._histogram.quantile(self._level)
        return self._ceiling * self._last_hour(raw * (1.0 + self._margin_fraction(raw)), is_known)

    def _margin_fraction(self, raw: Floats) -> Floats:
        """Return the margin: smaller for limits that are nearer to the ceiling."""
        shrinkage = self._MARGIN_FRACTION - self._MARGIN_AT_CEILING_FRACTION
        return self._MARGIN_FRACTION - shrinkage * np.minimum(raw, 1.0)


def vpa(ceiling: Floats, step_s: float, resource: Resource) -> VpaCpu | VpaMemory:
    """Return VPA's recommender for one resource."""
    if resource == Resource.MEMORY:
        return VpaMemory(len(ceiling), step_s)
    return VpaCpu(ceiling, step_s)


def koordlet(ceiling: Floats, step_s: float, resource: Resource) -> Koordlet:
    """Return koordlet's predictor for one resource."""
    sizing = KOORDLET_MEMORY if resource == Resource.MEMORY else KOORDLET_CPU
    return Koordlet(len(ceiling), step_s, sizing)


def autopilot(ceiling: Floats, step_s: float, resource: Resource) -> Autopilot:
    """Return Autopilot's recommender for one resource: of serving jobs, and of most memory."""
    if resource == Resource.MEMORY:
        return Autopilot(ceiling, step_s, half_life_s=48 * HOUR_S, level=0.98)
    return Autopilot(ceiling, step_s, half_life_s=12 * HOUR_S, level=0.95)
