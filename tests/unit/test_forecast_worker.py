"""forecast.worker: the child process, its refits and its end."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from children import QUICK, process_state, python, values, wait_until

from agent.forecaster import COMMAND
from forecast.core import ForecastCore
from forecast.message import (
    Answer,
    Begin,
    Frames,
    Hello,
    Learned,
    Message,
    answer_message,
    encoded,
    profile_of,
    rearrange_message,
    step_message,
)
from forecast.models import DailyFits, LevelFits, Models, TrendFits
from forecast.profile import LEVELS, Profile, Source
from forecast.quality import Verdict
from forecast.settings import ForecastSettings
from forecast.worker import Refits

SETTINGS = ForecastSettings(step_s=1.0, refit_s=10.0, horizon_steps=2, history_steps=20)
BEGIN = Begin(1, SETTINGS, 3)
ONE = np.ones(1)
ANSWER = answer_message(1, Profile(1, ONE / 2, ONE[None], ONE, ONE, ONE.astype(np.uint8)))


def spoken_to(*messages: Message | bytes) -> tuple[list[Message], int, str]:
    """Return what the worker answered, how it ended and what it logged."""
    sent = [one if isinstance(one, bytes) else encoded(one) for one in messages]
    done = subprocess.run(QUICK, input=b"".join(sent), capture_output=True, timeout=60, check=False)
    return list(Frames().fed(done.stdout)), done.returncode, done.stderr.decode()


def test_past_steps_are_learned_and_new_ones_answered_until_the_input_ends() -> None:
    steps = [step_message(n, values(3, n), is_past=n < 3) for n in range(1, 5)]
    answers, status, log = spoken_to(BEGIN, *steps)
    assert answers[:3] == [Hello(), Learned(1, 1), Learned(1, 2)]
    assert [(a.generation, a.step) for a in answers[3:] if isinstance(a, Answer)] == [
        (1, 3),
        (1, 4),
    ]
    assert (status, log) == (0, "")


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], "not of version"),
        ([step_message(1, values(3, 1), is_past=False)], "told how to begin"),
        ([BEGIN, step_message(1, values(4, 1), is_past=False)], "bytes"),
        ([BEGIN, rearrange_message(2, np.array([7]))], "position"),
        ([BEGIN, Hello()], "for the agent"),
        ([ANSWER], "for the agent"),
    ],
)
def test_what_is_not_meant_for_it_ends_the_worker_with_a_reason(
    messages: list[Message | bytes], why: str
) -> None:
    answers, status, log = spoken_to(*messages)
    assert answers == [Hello()]
    assert status == 1
    assert log.startswith("forecaster: ")
    assert why in log


def test_the_real_worker_says_hello_before_it_loads_its_library() -> None:
    """Which it does at once: who is held up by then may find it loaded, but not each time."""

    def has_loaded_by_its_hello() -> bool:
        child = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        with child.stdin, child.stdout:
            assert list(Frames().fed(os.read(child.stdout.fileno(), 1 << 16))) == [Hello()]
            has_loaded = "pandas" in Path(f"/proc/{child.pid}/maps").read_text()
        assert child.wait(60) == 0  # its input has ended
        return has_loaded

    assert any(not has_loaded_by_its_hello() for _ in range(4))


def test_a_worker_dies_with_its_agent_even_while_it_is_stopped() -> None:
    agent = subprocess.Popen(
        python(
            "import subprocess, sys, time\n"
            f"child = subprocess.Popen({QUICK!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "child.stdout.read(14)\n"  # the hello: it has settled down
            "print(child.pid, flush=True); time.sleep(600)"
        ),
        stdout=subprocess.PIPE,
    )
    assert agent.stdout is not None
    with agent.stdout:
        worker = int(agent.stdout.readline())
    os.kill(worker, signal.SIGSTOP)
    agent.kill()
    agent.wait()
    wait_until(lambda: process_state(worker) in {"", "Z"}, "the worker is gone")


def test_signals_that_are_meant_for_the_agent_do_not_end_the_worker() -> None:
    child = subprocess.Popen(QUICK, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        os.read(child.stdout.fileno(), 1 << 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            child.send_signal(number)
        child.stdin.write(encoded(BEGIN) + encoded(step_message(1, values(3, 1), is_past=True)))
        child.stdin.flush()
        assert list(Frames().fed(os.read(child.stdout.fileno(), 1 << 16))) == [Learned(1, 1)]
    assert child.wait(60) == 0


def test_the_client_loads_no_forecasting_library() -> None:
    unwanted = {"pandas", "scipy", "statsforecast"}
    script = f"import sys, agent.forecaster; sys.exit(str({unwanted} & {{*sys.modules}} or ''))"
    done = subprocess.run(python(script), capture_output=True, timeout=60, check=False)
    assert done.stderr.decode().strip() == ""


def fitted_in_turn(settings: ForecastSettings, *, cost_s: float, steps: int) -> list[int]:
    """Refit 100 series, at `cost_s` each, over some steps; return how many fits each step had."""
    n_series, now_s, fits = 100, 0.0, []
    core = ForecastCore(n_series, settings, QUICK_MODELS)
    for step in range(settings.min_points):
        core.observe(step, values(n_series, step))
    refits = Refits(settings, n_series, now_s)
    for _ in range(steps):
        refits.grant(core, now_s)
        done = 0
        while len(series := refits.next(now_s)):
            core.refit(series)
            now_s += cost_s * len(series)
            done += len(series)
        fits.append(done)
        core.observe(0, values(n_series, 0))
    assert core.never_fitted() == max(0, n_series - sum(fits))  # each in its turn, none left out
    return fits


def _levels(history: np.ndarray) -> LevelFits:
    ones = np.ones(history.shape[1])
    return LevelFits(alpha=ones / 2, smoothed=ones, sigma=ones)


def _trends(history: np.ndarray) -> TrendFits:
    return TrendFits(*np.full((5, history.shape[1]), np.nan))


def _days(hours: np.ndarray) -> DailyFits:
    raise AssertionError(f"{len(hours)} steps are no three days")


QUICK_MODELS = Models(level=_levels, trend=_trends, daily=_days)


def test_all_series_are_fitted_at_once_and_then_again_in_their_turn() -> None:
    fits = fitted_in_turn(SETTINGS, cost_s=0.0, steps=21)
    assert fits == [100] + [10] * 20


def test_a_series_whose_forecast_is_found_poor_does_not_wait_its_turn() -> None:
    settings = replace(SETTINGS, refit_s=1e9, horizon_steps=3, experts=("level_of_late",))
    core, refits = ForecastCore(2, settings, QUICK_MODELS), Refits(settings, 2, 0.0)
    random = np.random.default_rng(1)
    levels = random.uniform(0, 100, 7)
    fitted: list[list[int]] = []
    for step in range(80):
        profile = core.observe(step, np.array([5 + random.random(), levels[step // 12]]))
        assert profile.quality is not None
        refits.grant(core, 0.0)
        series = refits.next(0.0)
        core.refit(series)
        fitted.append(series.tolist())
        if profile.quality.verdict[1] == Verdict.POOR:
            break
    assert fitted[-1] == [1]
    assert [series for series in fitted if series] == [[0, 1], [1]]


def test_refits_come_later_rather_than_cost_more_than_their_share() -> None:
    steps = 200
    fits = fitted_in_turn(SETTINGS, cost_s=0.008, steps=steps)
    share = sum(fits) * 0.008 / (steps * SETTINGS.step_s)
    assert share == pytest.approx(SETTINGS.refit_share, rel=0.05)
    assert max(fits) <= 16  # what is under way is finished


def test_counted_refits_are_made_whatever_they_cost() -> None:
    counted = replace(SETTINGS, are_refits_counted=True)
    assert fitted_in_turn(counted, cost_s=60.0, steps=21) == [100] + [10] * 20


def test_a_worker_that_counts_refits_makes_them_before_it_reads_on() -> None:
    settings = replace(SETTINGS, are_refits_counted=True)
    steps = [step_message(n, values(3, n), is_past=False) for n in range(1, 30)]
    answers, _, _ = spoken_to(Begin(1, settings, 3), *steps)  # all of them wait in the pipe
    sources = [profile_of(a, 3).source for a in answers if isinstance(a, Answer)]
    assert (sources[-1] == Source.LIVE).all()


def test_the_share_counts_everything_that_the_process_spends() -> None:
    core = ForecastCore(4, SETTINGS, QUICK_MODELS)
    for step in range(SETTINGS.min_points):
        core.observe(step, values(4, step))
    refits = Refits(SETTINGS, 4, spent_s=0.0)
    refits.grant(core, spent_s=0.06)  # the step alone cost more than 5 % of a second
    assert len(refits.next(0.06)) == 0
    refits.grant(core, spent_s=0.06)
    assert len(refits.next(0.06)) == 4


def test_levels_of_an_answer_are_those_of_the_profile() -> None:
    answers, _, _ = spoken_to(BEGIN, step_message(1, values(3, 1), is_past=False))
    assert isinstance(answers[-1], Answer)
    np.testing.assert_array_equal(np.frombuffer(answers[-1].levels), LEVELS)
