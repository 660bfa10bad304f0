"""Laws of agent.demand: waiting, truly or not, moves the estimate of who waits, within bounds."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from samples import column, usage

from agent.demand import Demand, cpu_demand
from agent.usage import Usage


class Seen(NamedTuple):
    """What one tenant shows in a tick."""

    cores: float
    throttled_cores: float
    waited_fraction: float
    stalled_fraction: float
    ceiling_cores: float


cores = st.floats(0.0, 64.0)
# A tenant that divides a cgroup of its own may throttle itself, and claim any pressure.
fractions = st.sampled_from((0.0, 1.0, float("nan"))) | st.floats(0.0, 1.0)
shown = st.builds(Seen, cores, st.just(0.0) | cores, fractions, fractions, st.just(1e3) | cores)
tenants = st.lists(shown, min_size=1, max_size=4)


def seen_of(those: list[Seen], idle_fraction: float) -> Usage:
    return replace(
        usage(cores=[one.cores for one in those]),
        cpu_throttled_cores=column(*(one.throttled_cores for one in those)),
        cpu_waited_fraction=column(*(one.waited_fraction for one in those)),
        cpu_stalled_fraction=column(*(one.stalled_fraction for one in those)),
        host_idle_fraction=idle_fraction,
    )


def demanded(those: list[Seen], idle_fraction: float, capacity: float = 8.0) -> Demand:
    ceiling = column(*(one.ceiling_cores for one in those))
    fair = np.full(len(those), capacity / len(those))
    return cpu_demand(seen_of(those, idle_fraction), ceiling=ceiling, fair=fair, capacity=capacity)


@given(tenants, fractions)
def test_no_pressure_makes_demand_more_than_the_ceiling_or_four_times_what_was_used(
    those: list[Seen], idle_fraction: float
) -> None:
    found = demanded(those, idle_fraction).value
    for one, value in zip(those, found, strict=True):
        most = one.cores + max(one.throttled_cores, 3.0 * one.cores)
        assert one.cores <= value <= min(most, max(one.ceiling_cores, one.cores)) * (1 + 1e-12)


@given(tenants, st.floats(0.04, 1.0))
def test_while_a_cpu_is_idle_and_tenants_use_less_than_there_is_pressure_tells_nothing(
    those: list[Seen], idle_fraction: float
) -> None:
    capacity = 1.0 + 2.0 * sum(one.cores for one in those)
    honest = [one._replace(waited_fraction=0.0, stalled_fraction=0.0) for one in those]
    found = demanded(those, idle_fraction, capacity), demanded(honest, idle_fraction, capacity)
    np.testing.assert_array_equal(found[0].value, found[1].value)
    assert (found[0].is_censored == [one.throttled_cores > 0 for one in those]).all()


@given(tenants, fractions, fractions, fractions)
def test_what_one_claims_to_have_waited_changes_no_other(
    those: list[Seen], idle_fraction: float, waited: float, stalled: float
) -> None:
    assume(len(those) > 1)
    liar = those[0]._replace(waited_fraction=waited, stalled_fraction=stalled)
    honest, other = demanded(those, idle_fraction), demanded([liar, *those[1:]], idle_fraction)
    np.testing.assert_array_equal(honest.value[1:], other.value[1:])
