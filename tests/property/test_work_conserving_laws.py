"""Law 4, work-conserving: capacity is idle only when everyone has all that it may have."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.fairness import filled, levelled

from hosts import ROUNDING, Host, hosts


@given(hosts(min_guests=1), st.booleans(), st.booleans())
def test_capacity_is_unplaced_only_when_every_ceiling_is_met(
    host: Host, is_spent: bool, is_withheld: bool
) -> None:
    """The unspent emergency pool aside where the host needs it, or would get it back late."""
    claims = replace(host.claims(), is_spent=is_spent)
    allocation = host.allocated(claims=claims, is_pool_withheld=is_withheld)
    unspent = allocation.guarantee.emergency_pool - allocation.emergency.sum()
    unspent = 0.0 if is_spent and not is_withheld else unspent
    is_full = allocation.limit.sum() + unspent >= host.total * (1 - ROUNDING)
    assert is_full or np.allclose(allocation.limit, claims.ceiling, rtol=ROUNDING, atol=0)


amounts = st.lists(st.sampled_from((0.0, 1.0, 1 / 3, 0.1, 1e-6, 1e6, 7.3)), max_size=30)


@given(room=amounts, weight=amounts, data=st.data())
def test_filling_leaves_nothing_while_there_is_room(
    room: list[float], weight: list[float], data: st.DataObject
) -> None:
    size = min(len(room), len(weight))
    rooms, weights = np.array(room[:size]), np.array(weight[:size])
    most = float(rooms[weights > 0].sum())
    ulp_below = most * (1 - 2**-53)
    amount = data.draw(st.sampled_from((0.0, most, ulp_below, most / 3)) | st.floats(1e-9, 1e7))
    grant = filled(amount, room=rooms, weight=weights)
    assert np.all((grant >= 0) & (grant <= rooms))
    assert np.isclose(grant.sum(), min(amount, most), rtol=ROUNDING, atol=0)


@given(room=amounts, weight=amounts, amount=st.floats(1e-9, 1e7))
def test_filling_stops_only_at_ones_own_room_or_at_the_common_level(
    room: list[float], weight: list[float], amount: float
) -> None:
    size = min(len(room), len(weight))
    rooms, weights = np.array(room[:size]), np.array(weight[:size])
    grant = filled(amount, room=rooms, weight=weights)
    is_short = (weights > 0) & (grant < rooms * (1 - ROUNDING))
    if is_short.any():
        level = grant[weights > 0] / weights[weights > 0]
        assert np.all(grant[is_short] >= level.max() * weights[is_short] * (1 - ROUNDING))


@given(least=amounts, weight=amounts, more=st.sampled_from((0.0, 1e-9, 0.5, 7.0, 1e7)))
def test_levelling_hands_out_all_and_lifts_nobody_above_who_has_less_for_its_weight(
    least: list[float], weight: list[float], more: float
) -> None:
    size = min(len(least), len(weight))
    leasts, weights = np.array(least[:size]), np.array(weight[:size])
    amount = float(leasts.sum()) + more
    found = levelled(amount, least=leasts, weight=weights)
    assert np.all(found >= leasts)
    if more > 0 and np.any(weights > 0):
        assert np.isclose(found.sum(), amount, rtol=ROUNDING, atol=0)
        level = np.divide(found, weights, out=np.full(size, np.inf), where=weights > 0)
        is_lifted = found > leasts * (1 + ROUNDING) + ROUNDING
        assert np.all(level[is_lifted] <= level.min() * (1 + ROUNDING))
