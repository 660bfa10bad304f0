"""Capacity is placed at equal marginal need, whatever the shape of demand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.placement import Bids, DemandQuantiles, placed

LEVELS = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.99])


@given(
    rises=st.lists(
        st.lists(st.floats(1e-3, 1e3), min_size=len(LEVELS), max_size=len(LEVELS)),
        min_size=1,
        max_size=6,
    ),
    weights=st.lists(st.sampled_from([1 / 16, 0.5, 1.0, 3.0, 8.0]), min_size=6, max_size=6),
    bounds=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e4)), min_size=6, max_size=6),
    part=st.floats(0.0, 1.0),
)
def test_who_is_within_bounds_is_as_likely_short_as_all_others_by_weight(
    rises: list[list[float]],
    weights: list[float],
    bounds: list[tuple[float, float]],
    part: float,
) -> None:
    grid = np.cumsum(np.array(rises), axis=1).T
    count = grid.shape[1]
    weight = np.array(weights[:count])
    lower = np.array([low for low, _ in bounds[:count]])
    upper = lower + np.array([more for _, more in bounds[:count]])
    quantiles = DemandQuantiles.of(LEVELS, grid)
    at_rest = np.clip(quantiles.values[-1], lower, upper)
    capacity = float(lower.sum() + part * (at_rest - lower).sum())
    found = placed(Bids(quantiles, lower, upper, weight), capacity=capacity)
    assert abs(found.limit.sum() - capacity) <= 1e-9 * max(capacity, 1.0)
    wanted = quantiles.at(np.maximum(1.0 - found.marginal_need / weight, 0.0))
    expected = np.clip(wanted, lower, upper)
    assert np.abs(found.limit - expected).max() <= 1e-6 * max(capacity, 1.0)
