"""Law 5, monotone: more class, weight or balance never gives less; doubt never promises more."""

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from hosts import LADDER, ROUNDING, Host, hosts

positions = st.integers(0, 29)


def own_limits(before: Host, after: Host, position: int) -> tuple[float, float]:
    """Return one tenant's limit before and after a change, the tolerance taken off the first."""
    slack = ROUNDING * before.total
    return before.allocated().limit[position] - slack, after.allocated().limit[position]


@given(hosts(min_guests=1), positions)
def test_a_higher_class_never_lowers_the_limit(host: Host, position: int) -> None:
    position %= len(host.guests)
    rung = [c.name for c in LADDER].index(host.guests[position].qos.name)
    assume(rung > 0)
    before, after = own_limits(host, host.changed(position, qos=LADDER[rung - 1]), position)
    assert after >= before


@given(hosts(min_guests=1), positions, st.sampled_from((1.001, 1.1, 2.0, 1000.0)))
def test_a_larger_weight_never_lowers_the_limit(host: Host, position: int, factor: float) -> None:
    position %= len(host.guests)
    heavier = host.changed(position, weight=host.guests[position].weight * factor)
    before, after = own_limits(host, heavier, position)
    assert after >= before


@given(hosts(min_guests=1), positions, st.sampled_from((0.001, 0.1, 0.5, 2.0)))
def test_a_larger_balance_never_lowers_the_limit(host: Host, position: int, more: float) -> None:
    position %= len(host.guests)
    richer = host.changed(position, balance=min(host.guests[position].balance + more, 1.0))
    before, after = own_limits(host, richer, position)
    assert after >= before


@given(hosts(min_guests=1), positions, st.sampled_from((0.01, 0.1, 0.5)))
def test_more_risk_aversion_never_lowers_the_limit(host: Host, position: int, more: float) -> None:
    position %= len(host.guests)
    qos = host.guests[position].qos
    calmer = replace(qos, risk_aversion=min(qos.risk_aversion + more, 1.0))
    before, after = own_limits(host, host.changed(position, qos=calmer), position)
    assert after >= before


forecasts = st.fixed_dictionaries(
    {"mean": st.sampled_from((0.5, 0.9, 0.97)), "power": st.sampled_from((1.0, 5.0))}
)
surprises = st.sampled_from((0.0, 0.5, 0.96, 1.1))


@given(
    hosts(min_guests=1), positions, forecasts, surprises, st.sampled_from((1.01, 1.5, 3.0, 100.0))
)
def test_a_wider_interval_never_raises_the_guaranteed_part(
    host: Host, position: int, forecast: dict[str, float], surprise: float, factor: float
) -> None:
    """Wider around the same expectation, at the same demand now, expected or a surprise."""
    position %= len(host.guests)
    host = host.changed(position, **forecast)
    demand = host.guests[position].demanding(surprise).demand if surprise else 0.0
    claims = host.changed(position, demand=demand).claims()
    expected = claims.expected[position]
    grid = claims.grid.copy()
    grid[:, position] = np.maximum(expected + factor * (grid[:, position] - expected), 0.0)
    before = host.allocated(claims=claims).guarantee.amount[position]
    wider = host.allocated(claims=replace(claims, grid=grid))
    assert wider.guarantee.amount[position] <= before + ROUNDING * host.total
