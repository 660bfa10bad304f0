"""What becomes of demand under peers and references, worked out by hand."""

import numpy as np
import pytest
from cases import case

from agent.backtest.peers import PEERS
from agent.backtest.rivals import (
    capped,
    oracle_outcome,
    peer_outcome,
    peer_outcome_closed,
    recommended,
    shared_out,
    weights_outcome,
)

NAN = float("nan")
KIND = {kind.name: kind for kind in PEERS}


@pytest.mark.parametrize(
    ("wanted", "ceiling", "capacity", "limits"),
    [
        # Capped at the ceiling, then scaled: 4 and 2 share 3 in proportion.
        ([9.0, 2.0], [4.0, 4.0], 3.0, [2.0, 1.0]),
        # 1 and 1 leave 3, spread by ceiling 1 to 2.
        ([1.0, 1.0], [2.5, 5.0], 5.0, [2.0, 3.0]),
        # The first is full after 0.5 of it; the rest goes to the other, up to its ceiling.
        ([1.0, 1.0], [1.5, 9.0], 6.0, [1.5, 4.5]),
        ([1.0, 1.0], [1.5, 2.0], 6.0, [1.5, 2.0]),
        ([0.0, 0.0], [0.0, 1.0], 6.0, [0.0, 1.0]),
    ],
)
def test_recommendations_are_fitted_to_the_capacity(
    wanted: list[float], ceiling: list[float], capacity: float, limits: list[float]
) -> None:
    found = shared_out(np.array(wanted), ceiling=np.array(ceiling), capacity=capacity)
    assert found == pytest.approx(limits)


def test_a_peer_that_sees_everything_is_a_step_behind() -> None:
    """`last` recommends 1.2 times the last demand: 1.2 and 2.4 of 3.6 are all that there is."""
    host = case([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    rows = recommended(host, KIND["last"])
    assert rows == pytest.approx(np.array([[1.2, 2.4], [2.4, 1.2]]))
    found = peer_outcome(host, rows, 3.6)
    assert found.limit == pytest.approx(rows)
    assert found.served == pytest.approx(np.array([[1.2, 1.0], [1.0, 1.2]]))


def test_a_peer_in_closed_loop_sees_only_what_it_served() -> None:
    """Held at 1.2 it sees 1.2, so it grows by a fifth a step; 1 core is somebody else's."""
    demand = np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 1.0]])
    host = case(demand, warm_up=1)
    open_rows = recommended(host, KIND["last"])
    assert open_rows[:, 0] == pytest.approx([1.2, 4.8])
    found = peer_outcome_closed(host, KIND["last"], 2.4)
    assert found.limit == pytest.approx(np.array([[1.2, 1.2], [1.44 * 12 / 13.2, 1.2 * 12 / 13.2]]))
    assert found.served == pytest.approx(np.minimum(found.limit, demand[1:]))


def test_who_was_away_keeps_what_is_recommended_and_takes_from_nobody() -> None:
    host = case([[1.0, 1.0], [1.0, NAN], [1.0, 3.0]])
    found = peer_outcome(host, recommended(host, KIND["last"]), 2.0)
    # Both get 1.2 of 2 at first; then the first has all, and the other still 1.2 on its return.
    assert found.limit == pytest.approx(np.array([[1.0, 1.0], [2.0, 1.2]]))
    assert np.isnan(found.served[0, 1])
    # Of 1 and 1.2, two cores: the larger is cut.
    assert found.served[1] == pytest.approx([1.0, 1.0])


def test_limits_of_returning_tenants_cannot_serve_more_than_there_is() -> None:
    host = case([[1.0, 1.0, 1.0]] * 2)
    assert capped(host, np.array([[1.0, 1.0, 1.0]]), 1.5) == pytest.approx(np.full((1, 3), 0.5))


def test_weights_serve_by_class_whatever_is_wanted() -> None:
    """Platinum weighs 8 and silver 1: of 4.5 cores they get 4 and 0.5."""
    host = case([[4.0, 4.0], [4.0, 4.0], [NAN, 4.0]], classes=[0, 2])
    found = weights_outcome(host, 4.5)
    assert found.served[0] == pytest.approx([4.0, 0.5])
    assert found.served[1, 1] == pytest.approx(4.0)
    assert np.isnan(found.served[1, 0])
    assert np.isinf(found.limit).all()


def test_the_oracle_serves_the_better_class_first_and_then_the_smaller_demand() -> None:
    host = case([[1.0] * 4, [3.0, 1.0, 2.0, 2.5]], classes=[0, 2, 2, 1])
    served = oracle_outcome(host, 7.0).served
    # Platinum 3, gold 2.5, then silver: 1 of 1, and 0.5 of 2.
    assert served == pytest.approx(np.array([[3.0, 1.0, 0.5, 2.5]]))
