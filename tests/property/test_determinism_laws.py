"""Law 7, deterministic: same inputs, same allocation, bit for bit, in whatever order they came."""

from dataclasses import replace
from itertools import zip_longest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.tenant import Roster, Terms

from hosts import ROUNDING, Host, hosts
from scenes import Played, Scene, played, scenes


def columns(tick: Played) -> list[bytes]:
    """Return every number that was decided, as bytes."""
    found = [ledger.balance.tobytes() for ledger in tick.decision.state.ledgers.values()]
    for part in tick.decision.resources.values():
        a = part.allocation
        decided = (a.guarantee.amount, a.opportunistic, a.emergency, a.limit, a.share, part.target)
        found += [column.tobytes() for column in decided]
    return found


@given(scenes())
def test_the_same_story_is_decided_the_same_bit_for_bit(scene: Scene) -> None:
    """No clock, no chance, no memory but the state: and no input is changed in place."""
    for first, second in zip_longest(list(played(scene)), played(scene)):
        assert columns(first) == columns(second)


@given(scenes(), st.data())
def test_the_order_of_tenants_given_decides_nothing(scene: Scene, data: st.DataObject) -> None:
    given_order = data.draw(st.permutations(scene.tenants))
    shuffled, sorted_roster = Roster.of(given_order, scene.policy.resources), scene.roster
    assert shuffled.names == sorted_roster.names
    assert shuffled.qos_names == sorted_roster.qos_names
    assert np.array_equal(shuffled.is_observed_only, sorted_roster.is_observed_only)
    for resource in scene.policy.resources:
        ours, theirs = shuffled.terms[resource], sorted_roster.terms[resource]
        for name in Terms.__dataclass_fields__:
            assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()


@given(hosts(min_guests=2), st.integers(1, 29))
def test_a_tenants_place_among_the_others_decides_nothing(host: Host, turn: int) -> None:
    """Renamed tenants get the same, up to how sums of floats round."""
    turn %= len(host.guests)
    turned = replace(host, guests=(*host.guests[turn:], *host.guests[:turn]))
    limit = np.roll(turned.allocated().limit, turn)
    assert np.allclose(limit, host.allocated().limit, rtol=1e-6, atol=ROUNDING * host.total)
