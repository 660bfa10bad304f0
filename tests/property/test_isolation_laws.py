"""Law 6, isolation: nothing that one tenant does takes another below its guaranteed part."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hosts import ROUNDING, Guest, Host, hosts

positions = st.integers(0, 5)
# Few, so that what one has is often what another lacks.
rivals = hosts(min_guests=1, max_guests=6)


def at_worst(guest: Guest) -> Guest:
    """Return a neighbour who is there and wants, with certainty, all that it may ever have."""
    return replace(
        guest,
        low=1e4,
        width=0.0,
        demand=1e4,
        hold=1e4,
        credit=1.0,
        is_hit=True,
        is_present=True,
    )


def beside_the_worst(host: Host, position: int) -> Host:
    """Return the host in which all neighbours of one tenant behave as badly as they can."""
    guests = tuple(
        guest if place == position else at_worst(guest) for place, guest in enumerate(host.guests)
    )
    return replace(host, guests=guests)


def expected_and_risk(host: Host, position: int) -> tuple[float, float]:
    """Return what one tenant is expected to want, and what part of that is too uncertain, by hand.

    Demand above the forecast's interval counts as expected, and leaves the interval as wide.
    risk = (1 - aversion) width / (expected + width), with width = (high - expected)+.
    """
    claims, aversion = host.claims(), host.guests[position].qos.risk_aversion
    place = next(place for place, level in enumerate(claims.levels) if level >= 0.95)
    expected, high = float(claims.expected[position]), float(claims.grid[place, position])
    width = max(high - expected, 0.0)
    if host.guests[position].demand * host.scale > high:
        expected = host.guests[position].demand * host.scale
    relative = width / (expected + width) if expected + width > 0 else 1.0
    return expected, (1 - aversion) * relative


@given(rivals, positions)
def test_neighbours_at_their_worst_leave_a_tenant_its_guaranteed_part(
    host: Host, position: int
) -> None:
    """What neighbours do, by demand, debt or absence, can only add to what it has at worst."""
    position %= len(host.guests)
    worst = beside_the_worst(host, position).allocated().guarantee.amount[position]
    allocation = host.allocated()
    slack = ROUNDING * host.total
    assert allocation.guarantee.amount[position] >= worst - slack
    assert allocation.limit[position] >= worst - slack


@given(rivals, positions)
def test_the_guaranteed_part_at_worst_follows_from_terms_own_forecast_and_own_debt_alone(
    host: Host, position: int
) -> None:
    """floor + min((expected - floor)+ (1 - risk), fair - floor, share of what floors leave).

    Of what is beyond the floor half the debt is taken back at most: without one, nothing.
    """
    position %= len(host.guests)
    host = beside_the_worst(host, position)
    claims, guarantee = host.claims(), host.allocated().guarantee
    floor = np.minimum(claims.terms.floor, claims.ceiling)
    if floor.sum() > host.total or not host.guests[position].is_present:
        return
    own = (claims.terms.weight / claims.terms.weight.sum())[position]
    fair = min(host.total * own, claims.ceiling[position]) - floor[position]
    left = host.total * (1 - host.emergency.fraction) - floor.sum()
    expected, risk = expected_and_risk(host, position)
    likely = max(expected - floor[position], 0.0) * (1 - risk)
    promised = min(likely, max(fair, 0.0), max(left, 0.0) * own)
    promised *= 1 - max(-host.guests[position].credit, 0.0) / 2
    assert guarantee.amount[position] >= floor[position] + promised - ROUNDING * host.total


@given(rivals, hosts(), positions)
def test_ones_own_risk_depends_on_nobody_else(host: Host, other: Host, position: int) -> None:
    position %= len(host.guests)
    alone = replace(host, guests=(host.guests[position],))
    crowded = replace(host, guests=(*other.guests, host.guests[position]))
    assert alone.allocated().guarantee.risk[-1] == crowded.allocated().guarantee.risk[-1]
