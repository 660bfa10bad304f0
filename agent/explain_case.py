"""One tenant's numbers of one resource, picked out of a tick's columns to be explained.  Pure."""

import math
from dataclasses import dataclass

import numpy as np

from agent.accuracy import quality_rows
from agent.accuracy_text import accuracy_text
from agent.amounts import amount_text
from agent.controls import control_of
from agent.record import TickRecord
from agent.tenant import Resource
from forecast.profile import Source

NOTICEABLE = 0.005  # of a core, or of an amount of anything else


@dataclass(frozen=True, slots=True)
class Case:
    """One tenant's numbers of one resource, in base units; NaN is unknown."""

    resource: Resource
    qos: str
    is_present: bool
    is_elsewhere: bool
    is_observed: bool
    is_host_observed: bool
    usage: float
    demand: float
    is_held_back: bool
    throttled_fraction: float
    expected: float
    upper: float
    source: Source
    risk: float
    fair: float
    forfeited: float
    floor: float
    ceiling: float
    total: float  # what the host has: a limit of this is none
    pin: float  # what the limit is pinned to; NaN where it is not
    guaranteed: float
    opportunistic: float
    emergency: float
    grant_left_s: float
    cooldown_left_s: float
    host_need: str
    limit: float
    weight: float
    balance: float
    credit: float
    priority: float
    burst: float
    allowance: float
    pressure: float
    forecaster: str
    accuracy: str

    @classmethod
    def of(cls, record: TickRecord, resource: Resource, position: int) -> "Case":
        """Pick one tenant out of the columns of a record."""
        tick, terms = record.resources[resource], record.roster.terms[resource]
        return cls(
            resource=resource,
            qos=record.roster.qos_names[position],
            is_present=bool(record.sample.cgroup_id[position] != 0),
            is_elsewhere=bool(record.roster.is_elsewhere[position]),
            is_observed=bool(record.roster.is_observed_only[position] or record.is_observing),
            is_host_observed=record.is_observing,
            usage=float(tick.usage[position]),
            demand=float(tick.demand[position]),
            is_held_back=bool(tick.is_censored[position]),
            throttled_fraction=float(record.throttled_fraction[position]),
            expected=float(tick.expected[position]),
            upper=float(tick.upper[position]),
            source=Source(int(tick.source[position])),
            risk=float(tick.risk[position]),
            fair=float(tick.fair[position]),
            forfeited=float(tick.forfeited[position]),
            floor=float(terms.floor[position]),
            ceiling=float(terms.ceiling[position]),
            total=tick.total,
            pin=_pin(record, resource, position),
            guaranteed=float(tick.guaranteed[position]),
            opportunistic=float(tick.opportunistic[position]),
            emergency=float(tick.emergency[position]),
            grant_left_s=float(tick.grant_left_s[position]),
            cooldown_left_s=float(tick.cooldown_left_s[position]),
            host_need=tick.host_need,
            limit=float(tick.limit[position]),
            weight=float(tick.weight[position]),
            balance=float(tick.balance[position]),
            credit=float(tick.credit[position]),
            priority=float(tick.priority[position]),
            burst=float(tick.burst[position]),
            allowance=float(tick.allowance[position]),
            pressure=tick.pressure,
            forecaster=record.forecaster,
            accuracy=accuracy_text(quality_rows(tick.quality, np.array([position]))[0]),
        )

    @property
    def most(self) -> float:
        """Return the highest limit that it may have where nothing is pinned."""
        return min(self.ceiling, self.total)

    @property
    def is_pinned(self) -> bool:
        """Say whether its limit is pinned."""
        return not math.isnan(self.pin)

    @property
    def is_cpu(self) -> bool:
        """Say whether this is about cpu."""
        return self.resource == Resource.CPU

    def text(self, amount: float) -> str:
        """Return an amount of this resource for a person."""
        return amount_text(self.resource.kind, amount)

    def is_more(self, amount: float, other: float) -> bool:
        """Say whether `amount` exceeds `other` by enough for a person to see it."""
        if math.isinf(amount):
            return math.isfinite(other)
        scale = 1.0 if self.is_cpu else max(abs(amount), abs(other))
        return amount > other + NOTICEABLE * scale


def _pin(record: TickRecord, resource: Resource, position: int) -> float:
    control = control_of(resource)
    if record.drift is None or control is None:
        return math.nan
    column = record.drift.pins.value.get(control)
    return math.nan if column is None else float(column[position])
