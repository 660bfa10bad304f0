"""A forecaster child that is waited for: what comes back, and what becomes of one that fails."""

import numpy as np
import pytest
from children import MUTE_AFTER_HELLO, QUICK, SILENT, python, values

from agent.backtest.waiting import ForecasterError, WaitingForecaster
from forecast.settings import ForecastSettings

SETTINGS = ForecastSettings(step_s=300.0, horizon_steps=3, are_refits_counted=True)
DIES = python(
    "import sys; from forecast.message import Hello; from forecast.worker import send;"
    "send(1, Hello()); sys.exit(3)"
)


def test_each_step_is_answered_before_the_next() -> None:
    with WaitingForecaster(SETTINGS, command=QUICK) as forecaster:
        forecaster.reset(3, np.empty((0, 3)))
        assert (forecaster.poll(0.0), forecaster.state(0.0)) == (None, "starting")
        for step in range(1, 30):
            forecaster.offer(step, values(3, step), 0.0)
            profile = forecaster.poll(0.0)
            assert profile is not None
            assert profile.step == step
            assert profile.expected.shape == (3,)
        assert forecaster.state(0.0) == "live"
        assert forecaster.recent(2) == pytest.approx(
            np.stack([values(3, 28), values(3, 29)]), rel=1e-6
        )


def test_the_past_is_learned_from() -> None:
    past = np.stack([values(3, step) for step in range(30)])
    with WaitingForecaster(SETTINGS, command=QUICK) as forecaster:
        forecaster.reset(3, past)
        learned = forecaster.answered(1, values(3, 30))
        forecaster.reset(3, np.empty((0, 3)))
        fresh = forecaster.answered(1, values(3, 30))
    assert learned.source.tolist() == [1, 1, 1]
    assert fresh.source.tolist() == [0, 0, 0]


def test_series_can_be_put_in_a_new_order() -> None:
    with WaitingForecaster(SETTINGS, command=QUICK) as forecaster:
        forecaster.reset(2, np.array([[1.0, 5.0]] * 20))
        forecaster.answered(1, np.array([1.0, 5.0]))
        forecaster.rearrange(np.array([1, 0]))
        assert forecaster.answered(2, np.array([5.0, 1.0])).expected == pytest.approx([5.0, 1.0])


def test_steps_and_answers_that_fill_both_pipes_pass_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.child._PIPE_BYTES", 4096)  # of 8 kB a step, 300 kB an answer
    n_series, steps = 2000, range(1, 5)
    with WaitingForecaster(SETTINGS, command=QUICK, patience_s=60.0) as forecaster:
        forecaster.reset(n_series, np.empty((0, n_series)))
        for step in steps:
            forecaster.ask(step, values(n_series, step))
        assert [forecaster.answer(step).step for step in steps] == list(steps)


@pytest.mark.parametrize(
    ("command", "patience_s", "word"),
    [
        (DIES, 60.0, "the forecaster ended|closed its input"),
        (SILENT, 0.5, "did not answer for 0.5 s"),
        (MUTE_AFTER_HELLO, 0.5, "did not answer for 0.5 s"),
        (python("print('x' * 100, flush=True); input()"), 60.0, "made no sense: not of version"),
        (("/no/such/program",), 60.0, "cannot be started"),
    ],
)
def test_a_child_that_fails_is_an_error(
    command: tuple[str, ...], patience_s: float, word: str
) -> None:
    def talk() -> None:
        with WaitingForecaster(SETTINGS, command=command, patience_s=patience_s) as forecaster:
            forecaster.reset(2, np.empty((0, 2)))
            forecaster.offer(1, values(2, 1), 0.0)

    with pytest.raises(ForecasterError, match=word):
        talk()
