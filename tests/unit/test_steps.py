"""agent.steps: ticks gathered into steps."""

import numpy as np
import pytest
from samples import NAN, column

from agent.steps import Step, series_positions


def test_a_step_comes_to_the_means_of_the_ticks_that_knew_and_the_peak_of_demand() -> None:
    step = Step.begun(3)
    step = step.with_tick(column(1, 5, NAN), column(1, 4, NAN), column(2, 4, 8), elapsed_s=1.5)
    step = step.with_tick(column(3, NAN, NAN), column(2, NAN, 0), column(2, 6, 8), elapsed_s=1.5)
    closed = step.closed()
    assert step.elapsed_s == 3.0
    assert closed.demand == pytest.approx([2, 5, NAN], nan_ok=True)
    assert closed.peak == pytest.approx([3, 5, NAN], nan_ok=True)
    assert closed.usage == pytest.approx([1.5, 4, 0])
    assert closed.limit == pytest.approx([2, 5, 8])


def test_a_step_in_the_making_follows_its_tenants() -> None:
    step = Step.begun(2).with_tick(column(1, 5), column(1, 5), column(9, 9), elapsed_s=1.0)
    closed = step.rearranged(np.array([1, -1])).closed()
    assert closed.demand == pytest.approx([5, NAN], nan_ok=True)
    assert closed.peak == pytest.approx([5, NAN], nan_ok=True)


def test_a_step_without_ticks_knows_nothing() -> None:
    closed = Step.begun(2).closed()
    for column_ in (closed.demand, closed.peak, closed.usage, closed.limit):
        assert np.isnan(column_).all()


def test_series_follow_their_tenants_resource_by_resource() -> None:
    positions = series_positions(np.array([1, -1]), [0, 1], tenants_before=3)
    assert positions.tolist() == [1, -1, 4, -1]
