"""Emergency grants reach the kernel: in a running loop, what is granted is in the weights."""

from dataclasses import replace

import numpy as np
import pytest
from loops import Scenario
from samples import column

from agent.allocation import Mode
from agent.audit import grant_events
from agent.emergency import EmergencySettings
from agent.plan import KERNEL_ROUNDING
from agent.promised import rate_changes
from agent.tenant import BASIC, Entitlement, Kind, Resource, Roster, Tenant
from enforce.columns import NetColumns

from hosts import GIB, GOLD, PLATINUM, Guest
from scenes import Moment, Scene, played, policy_of

CPU = Resource.CPU
PROMISES = {CPU: Entitlement(0.1), Resource.MEMORY: Entitlement(GIB / 8)}


def two_of_whom_gold_is_surprised() -> Scenario:
    names = {"first": PLATINUM, "second": GOLD}
    roster = Roster.of((Tenant(name, qos, PROMISES) for name, qos in names.items()), BASIC)
    scenario = Scenario(roster, mode=Mode.ELASTIC, step_s=60.0)
    scenario.policy = replace(scenario.policy, emergency=EmergencySettings(fraction=0.02))
    scenario.changed_to(roster)
    scenario.host.wants_cores[:] = (2.2, 1.1)
    assert not scenario.tick(90).resources[CPU].emergency.any()
    scenario.host.wants_cores[1] = 4.0
    scenario.tick()
    return scenario


def test_a_grant_below_the_dead_band_is_in_the_weights_after_one_tick() -> None:
    """Gold has its third of 3.6 cores, by weight, and suddenly wants 4; 0.07 are kept back.

    The other is content, so all of that is gold's: 6 % more than it has.
    """
    scenario = two_of_whom_gold_is_surprised()
    before, after = scenario.tick(), scenario.tick()
    granted, guaranteed = before.resources[CPU].emergency[1], before.resources[CPU].guaranteed[1]
    weight = after.sample.in_force.cpu_weight
    kept = weight[1] / weight.sum() * scenario.policy.capacity[CPU]
    assert granted > 0
    assert kept >= (guaranteed + granted) * (1 - KERNEL_ROUNDING)


def test_in_a_running_loop_a_better_rank_ends_a_grant_which_shrinks_and_says_for_whom() -> None:
    scenario = two_of_whom_gold_is_surprised()
    before = scenario.tick()
    scenario.host.wants_cores[0] = 4.0
    told, had = [], [before.resources[CPU].emergency]
    for _ in range(20):
        after = scenario.tick()
        told += [(one.event, one.tenant) for one in grant_events(before, after)]
        had.append(after.resources[CPU].emergency)
        before = after
    assert told == [("emergency grant pre-empted", "second"), ("emergency grant", "first")]
    fallen = -np.diff([amount[1] for amount in had])
    pool = before.resources[CPU].emergency_pool
    assert had[0] == pytest.approx([0.0, pool])
    assert 0 <= fallen.min() <= fallen.max() <= pool / 60 * 1.001
    assert sum(had[-1]) == pytest.approx(pool)


def test_a_grant_is_in_the_rate_that_a_class_of_an_uplink_has_at_any_time() -> None:
    """The uplink is divided here as the cpu of two tenants would be, in MB/s."""
    policy = policy_of(4.0, 8 * GIB, modes=dict.fromkeys(BASIC, Mode.ELASTIC))
    story = ((Moment(), Moment()),) * 2
    *_, last = played(Scene(((Guest(), Guest()),) * 2, policy, (1.0, 1.0), story))
    part = last.decision.resources[CPU]
    guaranteed, granted = column(1e6, 2e6), column(0.0, 3e5)
    allocation = replace(
        part.allocation,
        guarantee=replace(part.allocation.guarantee, amount=guaranteed),
        emergency=granted,
    )
    uplink = Resource(Kind.NET_OUT, "up0")
    part = replace(part, allocation=allocation)
    network = NetColumns.unknown(("up0",), 2).mapped(np.zeros_like)
    (changes,) = rate_changes(
        replace(last.decision, resources={uplink: part}),
        replace(last.seen, sample=replace(last.seen.sample, network=network)),
        np.ones(2, dtype=np.bool_),
        capacity={uplink: 4e6},
    )
    assert changes.after == pytest.approx([1e6, 2.3e6])
