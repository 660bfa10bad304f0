"""A change of roster moves every number with its tenant, forgets the gone, and invents nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.cycle import CoreState
from agent.emergency import Grants
from agent.steps import series_positions
from agent.tenant import Resource, Roster, Tenant, carried_over
from agent.tokens import Ledger

from hosts import SILVER
from scenes import Scene, played, scenes

names = st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=30)


def roster(of: list[str]) -> Roster:
    """Return a roster of tenants of these names, otherwise alike."""
    return Roster.of([Tenant(name, SILVER, {}) for name in of])


def numbered(of: Roster) -> np.ndarray:
    """Return a column in which each tenant has a number made of its name."""
    return np.array([float(int.from_bytes(name.encode())) for name in of.names])


@given(names, names)
def test_columns_follow_their_tenants(before: list[str], after: list[str]) -> None:
    old, new = roster(before), roster(after)
    moved = carried_over(numbered(old), new.positions_in(old))
    is_new = np.array([name not in before for name in new.names], dtype=np.bool_)
    assert np.array_equal(moved[~is_new], numbered(new)[~is_new])
    assert np.all(np.isnan(moved[is_new]))


@given(names, names)
def test_ledgers_grants_and_series_follow_their_tenants(
    before: list[str], after: list[str]
) -> None:
    old, new = roster(before), roster(after)
    positions, column = new.positions_in(old), numbered(old)
    expected = carried_over(column, positions, 0.0)
    ledger = Ledger(column, column, column, column, column).rearranged(positions)
    assert np.array_equal(ledger.balance, expected)
    assert np.array_equal(ledger.expired, expected)
    assert np.array_equal(ledger.left_fraction, expected)
    grants = Grants(*[column] * 4).rearranged(positions)
    assert np.array_equal(grants.grant_left_s, expected)
    assert np.array_equal(grants.lent, expected)
    assert np.array_equal(grants.held, expected)
    series = series_positions(positions, [1, -1, 0], tenants_before=len(old))
    moved = carried_over(np.concatenate([column, 2 * column]), series)
    first, nothing = carried_over(column, positions), np.full(len(new), np.nan)
    expected = np.concatenate([2 * first, nothing, first])
    assert np.array_equal(moved, expected, equal_nan=True)


@given(names)
def test_an_unchanged_roster_changes_nothing(of: list[str]) -> None:
    same = roster(of)
    column = numbered(same)
    assert np.array_equal(carried_over(column, same.positions_in(same)), column)


@given(scenes())
def test_a_state_moved_to_an_equal_roster_is_the_same_state(scene: Scene) -> None:
    positions = scene.roster.positions_in(scene.roster)
    for tick in played(scene):
        state = tick.decision.state
        moved = state.rearranged(positions, scene.policy)
        assert facts(moved) == facts(state)


def facts(state: CoreState) -> list[bytes]:
    """Return every number of a state, as bytes."""
    assert state.sample is not None
    cpu, memory = Resource.CPU, Resource.MEMORY
    columns = [
        state.learning_left_s,
        state.ledgers[cpu].issued,
        state.grants[memory].grant_left_s,
        state.ledgers[cpu].balance,
        state.adopted[memory],
        state.sample.cgroup_id,
        state.sample.cpu_usage_us,
        state.sample.in_force.memory_high_bytes,
    ]
    return [column.tobytes() for column in columns]
