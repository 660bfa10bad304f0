import numpy as np
import pytest

from forecast.windows import OpenWindows


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_window_completes_exactly_when_its_last_step_is_seen(steps: int) -> None:
    values = np.random.default_rng(3).random(40).astype(np.float32)
    windows = OpenWindows(1, 1, steps)
    for now in range(len(values)):
        complete = windows.close(values[now : now + 1])
        if now < steps:
            assert np.isnan(complete.maximum[0] - complete.center[0])
        else:
            assert complete.maximum[0] == values[now - steps + 1 : now + 1].max()
            assert complete.center[0] == now - steps  # what was expected before its first step
            assert complete.bounds[0, 0] == 2 * (now - steps)
        windows.open(np.array([float(now)]), np.array([[2.0 * now]]))


def test_a_window_with_a_gap_is_never_complete() -> None:
    windows = OpenWindows(1, 1, 3)
    known = []
    for now in range(12):
        complete = windows.close(np.array([np.nan if now == 6 else 1.0]))
        known.append(bool(np.isfinite(complete.maximum[0] - complete.center[0])))
        windows.open(np.array([0.0]), np.array([[0.0]]))
    assert known == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
