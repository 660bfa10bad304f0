"""What a debt costs: little by little, before the host is full, and never more than is written."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.allocation import Claims, Mode
from agent.tenant import Floats

from hosts import LADDER, ROUNDING, Guest, Host, hosts

positions = st.integers(0, 5)
rivals = hosts(min_guests=1, max_guests=6)
debts = st.sampled_from((1.0, 0.5, 0.1))
SOFT_THRESHOLD = 0.8  # of the capacity, as docs/laws.md has it
MOST_TAKEN_BACK = 0.5


def without_surprise(host: Host) -> Claims:
    """Return the claims of tenants of whose demand the forecast has seen all that there is."""
    return replace(host.claims(), is_foreseen=True)


def crowding(claims: Claims, capacity: float) -> float:
    """Return how far debts count, by hand: 0 at four fifths of the capacity expected, 1 at all."""
    beyond = float(claims.expected.sum()) / capacity - SOFT_THRESHOLD
    return min(max(beyond / (1.0 - SOFT_THRESHOLD), 0.0), 1.0)


def wanted_above_floor(host: Host, claims: Claims, position: int) -> float:
    """Return what one tenant is promised beyond its floor where all that fits and it has no debt.

    min((expected - floor)+ (1 - risk), share by weight - floor), risk as in docs/laws.md.
    """
    terms, ceiling = claims.terms, claims.ceiling
    place = int(np.searchsorted(claims.levels, 0.95))
    expected, high = claims.expected[position], claims.grid[place, position]
    width = max(high - expected, 0.0)
    relative = width / (expected + width) if expected + width > 0 else 1.0
    risk = (1.0 - terms.risk_aversion[position]) * relative
    floor = min(terms.floor[position], ceiling[position])
    present = np.where(ceiling > 0, terms.weight, 0.0)
    fair = host.total * present[position] / present.sum() if present.sum() > 0 else 0.0
    most = max(min(fair, ceiling[position]) - floor, 0.0)
    return float(min(max(expected - floor, 0.0) * (1.0 - risk), most))


@given(rivals, positions, debts)
def test_a_guarantee_in_debt_is_the_floor_and_at_least_half_of_the_rest_of_what_it_is_without(
    host: Host, position: int, debt: float
) -> None:
    position %= len(host.guests)
    free, owing = (
        host.changed(position, credit=credit).allocated().guarantee for credit in (0.0, -debt)
    )
    slack = ROUNDING * host.total
    floor, without = free.floor[position], free.amount[position]
    least = floor + (1.0 - MOST_TAKEN_BACK * debt) * (without - floor)
    assert least - slack <= owing.amount[position] <= without + slack


@given(rivals, positions, debts)
def test_a_debt_takes_back_half_of_what_is_beyond_the_floor_as_deep_as_it_is_and_the_host_is_full(
    host: Host, position: int, debt: float
) -> None:
    """No more is left than that by hand; where floors fit, for less would be another law broken."""
    position %= len(host.guests)
    host = host.changed(position, credit=-debt)
    claims = without_surprise(host)
    guarantee = host.allocated(claims=claims).guarantee
    kept = 1.0 - MOST_TAKEN_BACK * crowding(claims, host.total) * debt
    most = guarantee.floor[position] + kept * wanted_above_floor(host, claims, position)
    if not guarantee.are_floors_scaled:
        assert guarantee.amount[position] <= most + ROUNDING * host.total


# What all together expect, in parts of the capacity
PARTS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.2)
BEFORE_SATURATION, AT_THRESHOLD = PARTS.index(0.95), PARTS.index(SOFT_THRESHOLD)


@st.composite
def crowds(draw: st.DrawFn, *, modes: tuple[Mode, ...] = tuple(Mode)) -> list[Host]:
    """Draw a debtor on ten cores beside one to three others, who expect more and more.

    All are as certain of it all along, and nobody's ceiling or bank is in the way.
    """
    debtor = Guest(
        qos=draw(st.sampled_from(LADDER)),
        low=draw(st.sampled_from((2.0, 1.0, 4.0))),
        width=draw(st.sampled_from((0.0, 1.0))),
        floor=draw(st.sampled_from((0.0, 0.5))),
        credit=-draw(debts),
    )
    count, mode = draw(st.integers(1, 3)), draw(st.sampled_from(modes))
    width = draw(st.sampled_from((1.0, 0.2, 3.0))) / count
    other = Guest(qos=draw(st.sampled_from(LADDER)), width=width)

    def expecting(part: float) -> Host:
        low = (10.0 * part - debtor.expected) / count - width / 2
        others = (replace(other, low=low),) * count
        return Host((debtor, *others), capacity=10.0, mode=mode)

    return [expecting(part) for part in PARTS]


def of_the_debtor(hosts: list[Host]) -> tuple[Floats, Floats, Floats]:
    """Return limit and guaranteed part of the debtor on each host, and the pressure there."""
    made = [host.allocated(claims=without_surprise(host)) for host in hosts]
    limit = np.array([one.limit[0] for one in made])
    return (
        limit,
        np.array([one.guarantee.amount[0] for one in made]),
        np.array([one.pressure for one in made]),
    )


@given(crowds())
def test_a_debtor_has_less_the_likelier_a_shortage_is(hosts: list[Host]) -> None:
    limit, guaranteed, pressure = of_the_debtor(hosts)
    assert np.all(np.diff(pressure) >= 0)
    assert np.all(np.diff(limit) <= ROUNDING * 10.0)
    assert np.all(np.diff(guaranteed) <= ROUNDING * 10.0)


@given(crowds(), st.sampled_from((0.05, 0.3, 0.9)))
def test_a_debtor_has_less_the_deeper_it_is_in_debt(hosts: list[Host], more: float) -> None:
    deeper = [host.changed(0, credit=max(host.guests[0].credit - more, -1.0)) for host in hosts]
    before, after = of_the_debtor(hosts), of_the_debtor(deeper)
    assert np.all(after[0] <= before[0] + ROUNDING * 10.0)
    assert np.all(after[1] <= before[1] + ROUNDING * 10.0)


@given(crowds())
def test_a_debtor_is_brought_down_before_the_host_is_full_but_not_on_an_idle_one(
    hosts: list[Host],
) -> None:
    """From four fifths of the capacity on, and the closer to all of it the further."""
    floor = hosts[0].guests[0].floor
    beyond = of_the_debtor(hosts)[1] - floor
    without_debt = of_the_debtor([host.changed(0, credit=0.0) for host in hosts])[1] - floor
    assert beyond[: AT_THRESHOLD + 1] == pytest.approx(without_debt[: AT_THRESHOLD + 1])
    if without_debt[AT_THRESHOLD] > ROUNDING:  # its share is more than its floor
        scarce = slice(AT_THRESHOLD + 1, BEFORE_SATURATION + 1)
        assert np.all(beyond[scarce] < 0.99 * without_debt[scarce])
        assert np.all(np.diff(beyond[AT_THRESHOLD : BEFORE_SATURATION + 1]) < 0)


@given(crowds(modes=(Mode.ELASTIC,)))
def test_elastic_limits_of_a_debtor_close_while_a_shortage_is_only_likely(
    hosts: list[Host],
) -> None:
    limit, _, pressure = of_the_debtor(hosts[: BEFORE_SATURATION + 1])
    ceiling = 4 * 10.0
    assert np.all(limit <= ceiling * (1.0 - 0.25 * pressure) + ROUNDING)
    assert limit[pressure < 1e-9] == pytest.approx(ceiling)


# How much of the way a limit closes where a shortage is certain, by what its tenant has saved up.
CLOSES = {-1.0: 1.0, -0.25: 0.5, 0.0: 1 / 3, 0.25: 1 / 6, 0.5: 0.0, 1.0: 0.0}


@given(rivals, positions, st.sampled_from(tuple(CLOSES)))
def test_elastic_limits_close_as_a_shortage_becomes_likely_to_what_others_do_not_need_for_sure(
    host: Host, position: int, credit: float
) -> None:
    """ceiling - pressure x part x (ceiling - closed): a tenth of the host is left on top.

    What is sure is what those who are not in debt need in 19 of 20 cases; nobody is closed below
    its strict limit, nor below what it cannot give back now.
    """
    position %= len(host.guests)
    host = replace(host.changed(position, credit=credit), mode=Mode.ELASTIC)
    claims = without_surprise(host)
    allocation = host.allocated(claims=claims)
    strict = replace(host, mode=Mode.STRICT).allocated(claims=claims).limit[position]
    ceiling, others = claims.ceiling[position], np.arange(len(host.guests)) != position
    sure = claims.grid[int(np.searchsorted(claims.levels, 0.05))]
    left = 1.1 * host.total - float(sure[others & (claims.credit >= 0)].sum())
    closed = max(strict, min(left, ceiling))
    limit = ceiling - allocation.pressure * CLOSES[credit] * (ceiling - closed)
    limit = max(limit, min(claims.hold[position], ceiling))
    assert allocation.limit[position] == pytest.approx(limit, rel=ROUNDING, abs=1e-9 * host.total)
