"""agent.placement: equal marginal need, where demand is uniform and a person can check it."""

import numpy as np
import pytest
from samples import column

from agent.placement import Bids, DemandQuantiles, Placement, placed

LEVELS = column(0.25, 0.5, 0.75, 1.0)


def uniform(*most: float) -> DemandQuantiles:
    """Return demand that is anything from 0 to `most` with the same probability."""
    return DemandQuantiles.of(LEVELS, LEVELS[:, None] * column(*most))


def on(
    capacity: float,
    weight: tuple[float, ...] = (1, 1),
    lower: tuple[float, ...] = (0, 0),
    upper: tuple[float, ...] = (10, 10),
) -> Placement:
    """Place capacity for two tenants whose demand is uniform up to 4 and up to 8."""
    bids = Bids(uniform(4, 8), column(*lower), column(*upper), column(*weight))
    return placed(bids, capacity=capacity)


@pytest.mark.parametrize(
    ("placement", "limit", "need"),
    [
        pytest.param(on(6), (2, 4), 0.5, id="equal weights: both likely short one time in two"),
        pytest.param(on(6, weight=(2, 1)), (2.8, 3.2), 0.6, id="2 * (1 - 0.7) = 1 - 0.4"),
        pytest.param(on(6, lower=(0, 4.5)), (1.5, 4.5), 0.625, id="a guarantee is kept"),
        pytest.param(on(6, upper=(1, 10)), (1, 5), 0.375, id="a ceiling is not passed"),
        pytest.param(on(12), (4, 8), 0.0, id="just enough for every demand"),
        pytest.param(on(16), (7, 9), 0.0, id="what nobody demands fills half of each room"),
        pytest.param(on(15.5, weight=(2, 1)), (7, 8.5), 0.0, id="half and a quarter, by weight"),
        pytest.param(on(99), (10, 10), 0.0, id="up to the ceilings"),
    ],
)
def test_placement(placement: Placement, limit: tuple[float, ...], need: float) -> None:
    assert placement.limit == pytest.approx(column(*limit))
    assert placement.marginal_need == pytest.approx(need)


def test_full_debt_counts_a_sixteenth() -> None:
    """(1 - a/8) = (1 - b/8) / 16 and a + b = 8: a = 128/17."""
    bids = Bids(uniform(8, 8), column(0, 0), column(8, 8), column(1, 1 / 16))
    placement = placed(bids, capacity=8.0)
    assert placement.limit == pytest.approx([128 / 17, 8 / 17])


def test_certain_demand_is_met_before_doubtful_demand() -> None:
    """The same expectation, 3: one is certain, the other is uniform up to 6."""
    grid = np.stack((np.full(4, 3.0), LEVELS * 6), axis=1)
    quantiles = DemandQuantiles.of(LEVELS, grid)
    placement = placed(Bids(quantiles, column(0, 0), column(10, 10), column(1, 1)), capacity=5.0)
    assert placement.limit == pytest.approx([3, 2])


def test_nobody_gets_nothing() -> None:
    nothing = column()
    placement = placed(Bids(uniform(), nothing, nothing, nothing), capacity=5.0)
    assert placement.limit.size == 0


@pytest.mark.parametrize(
    ("probability", "demand"), [(0.0, 0), (0.125, 1), (0.25, 2), (0.6, 4.8), (0.75, 6), (1.0, 8)]
)
def test_quantiles_are_linear_between_the_points_of_the_grid(
    probability: float, demand: float
) -> None:
    assert uniform(8).at(column(probability)) == pytest.approx([demand])


def test_a_quantile_is_never_negative_and_never_falls() -> None:
    quantiles = DemandQuantiles.of(LEVELS, column(-1, 2, 2, 2)[:, None])
    found = [quantiles.at(column(p))[0] for p in np.linspace(0, 1, 21)]
    assert found == sorted(found)
    assert found[0] == 0
