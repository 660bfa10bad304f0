"""agent.steps: ticks gathered into steps."""

import numpy as np
import pytest
from samples import NAN, column

from agent.steps import Step, series_positions


def test_a_steps_value_is_the_mean_of_the_ticks_that_knew_it() -> None:
    step = Step.begun(3)
    for values in (column(1, 5, NAN), column(3, NAN, NAN)):
        step = step.with_tick(values, elapsed_s=1.5)
    assert step.elapsed_s == 3.0
    assert step.mean() == pytest.approx([2, 5, NAN], nan_ok=True)


def test_a_step_without_ticks_knows_nothing() -> None:
    assert np.isnan(Step.begun(2).mean()).all()


def test_series_follow_their_tenants_resource_by_resource() -> None:
    positions = series_positions(np.array([1, -1]), [0, 1], tenants_before=3)
    assert positions.tolist() == [1, -1, 4, -1]
