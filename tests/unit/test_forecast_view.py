"""Bounds that held are counted over time, and not over the steps that happen to be recorded."""

import numpy as np
import pytest

from agent.answers import HorizonBounds, ResourceForecast
from agent.forecast_view import View
from agent.tenant import Floats, Resource

STEP_S, HORIZON_STEPS = 60.0, 5


def seen(ended_at_s: Floats, demand: Floats) -> View:
    """Return what was recorded, each step with a bound of one core before it."""
    bounds = HorizonBounds(HORIZON_STEPS * STEP_S, 1.0, 1.0, 1.0)
    return View(
        tenant="web",
        resource=Resource.CPU,
        step_s=STEP_S,
        ended_at_s=1.8e9 + ended_at_s,
        demand=demand,
        expected=demand,
        bound=np.ones(len(demand)),
        made_at_s=float("nan"),
        forecaster="live",
        forecast=ResourceForecast("cpu", "cores", "live", 0.5, (bounds,), {}, None),
        is_fine=True,
    )


@pytest.mark.parametrize("pause_s", [2 * STEP_S, 3 * 3600.0])
def test_what_came_after_a_pause_was_not_within_the_horizon(pause_s: float) -> None:
    ended_at_s = STEP_S * np.arange(20.0)
    ended_at_s[10:] += pause_s
    demand = np.full(20, 0.5)
    demand[10] = 2.0  # hours after the bounds before the pause
    windows = 2 * (10 - HORIZON_STEPS + 1)
    assert seen(ended_at_s, demand).held() == (windows - 1, windows)


def test_steps_that_end_a_little_late_are_steps() -> None:
    late_s = np.random.default_rng(3).uniform(0.0, 2.0, 20)
    view = seen(STEP_S * np.arange(20.0) + late_s, np.full(20, 0.5))
    assert view.held() == (16, 16)
