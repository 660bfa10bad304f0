"""forecast.target: when a window opens and closes, and what was expected of it."""

import numpy as np
import pytest

from forecast.profile import BOUNDS
from forecast.settings import ForecastSettings
from forecast.target import Outcomes, Pending, Target, targets_of


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (2, 1), (5, 1), (10, 3), (15, 5), (4, 3)])
def test_a_window_closes_when_its_last_step_is_seen(steps: int, every: int) -> None:
    values = np.random.default_rng(3).random(60).astype(np.float32)
    target = Target(steps, BOUNDS, every)
    outcomes, pending, closed = Outcomes(1, (target,)), Pending(1, target, ()), 0
    for now in range(1, len(values)):
        (maximum,) = outcomes.closed(now, values[now : now + 1])
        if maximum is not None:
            opened = now - steps
            assert opened % every == 0
            if opened > 0:
                assert maximum[0] == values[opened + 1 : now + 1].max()
                assert pending.closing(now)[0] == opened  # what was expected before its first step
                closed += 1
        pending.opening(now)[:] = now
    assert closed == pytest.approx((len(values) - steps) / every, abs=1)


def test_a_window_with_a_gap_is_never_complete() -> None:
    outcomes = Outcomes(1, (Target(3, BOUNDS),))
    known = []
    for now in range(1, 13):
        value = np.array([np.nan if now == 7 else 1.0], dtype=np.float32)
        (maximum,) = outcomes.closed(now, value)
        known.append(maximum is not None and bool(np.isfinite(maximum[0])))
    assert known == [False] * 2 + [True] * 4 + [False] * 3 + [True] * 3


def test_a_newcomers_windows_are_not_complete() -> None:
    target = Target(2, BOUNDS)
    outcomes, pending = Outcomes(1, (target,)), Pending(1, target, (2,))
    for now in range(1, 5):
        outcomes.closed(now, np.ones(1, dtype=np.float32))
        pending.opening(now)[:] = now
    for one in (outcomes, pending):
        one.rearrange(np.array([-1, 0]))
    (maximum,) = outcomes.closed(5, np.ones(2, dtype=np.float32))
    assert maximum is not None
    assert np.isnan(maximum).tolist() == [True, False]
    assert np.isnan(pending.closing(5)).tolist() == [[True, False]] * 2
    assert pending.closing(5)[:, 1].tolist() == [3, 3]


def test_the_horizons_are_thirds_and_their_windows_overlap_by_two() -> None:
    targets = targets_of(ForecastSettings(horizon_steps=15))
    assert [(target.steps, target.every) for target in targets] == [
        (1, 1),
        (5, 1),
        (10, 3),
        (15, 5),
    ]
    assert [target.open_windows for target in targets] == [1, 5, 4, 3]


@pytest.mark.parametrize(("horizon_steps", "steps"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_a_horizon_of_one_step_is_the_next_step(horizon_steps: int, steps: list[int]) -> None:
    found = targets_of(ForecastSettings(horizon_steps=horizon_steps))
    assert [target.steps for target in found] == steps
