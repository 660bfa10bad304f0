"""forecast.judge: who is found poor, what becomes of them, and how they come back."""

import numpy as np
import pytest

from forecast.history import History
from forecast.judge import Judge, least_windows, rule
from forecast.profile import EXPERT_LEVELS
from forecast.quality import Quality, Verdict
from forecast.scores import Losses, pinball
from forecast.target import Complete

from qualities import quality

HORIZON_STEPS = 3
ENOUGH = least_windows(HORIZON_STEPS)
TRIAL_STEPS = 4 * HORIZON_STEPS
POOR = quality(1, coverage_95=0.8)
FINE = quality(1)


def step_of(judge: Judge, found: Quality, *, model_loss: float, steps: int = 1) -> int:
    """Let the model lose so much a step beside a rule that is right, and return the verdict."""
    past = History(1, 60)
    one = np.ones(1, dtype=np.float32)
    for _ in range(60):
        past.append(one)
    bounds = np.full((3, 1), 1.1, dtype=np.float32)
    for _ in range(steps):
        losses = Losses(np.full(1, model_loss, dtype=np.float32), one[None])
        judge.settle(one, losses, Complete(one, bounds), past)
        judge.judged(found)
    return int(judge.verdict[0])


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (quality(1), Verdict.GOOD),
        (quality(1, windows=ENOUGH - 1, coverage_95=0.5), Verdict.UNJUDGED),
        (quality(1, windows=ENOUGH, coverage_95=0.84), Verdict.POOR),
        (quality(1, coverage_95=0.86), Verdict.GOOD),
        (quality(1, skill=-0.11), Verdict.POOR),
        (quality(1, skill=-0.09), Verdict.GOOD),
        (quality(1, coverage_95=float("nan"), skill=float("nan")), Verdict.GOOD),
    ],
)
def test_figures_are_judged_once_they_rest_on_enough(found: Quality, verdict: Verdict) -> None:
    assert Judge(1, HORIZON_STEPS).judged(found).verdict.tolist() == [verdict]


def test_a_poor_forecast_is_refitted_early_and_once() -> None:
    judge = Judge(2, HORIZON_STEPS)
    judge.judged(quality(2, coverage_95=0.8))
    assert judge.wanting_fit.tolist() == [0, 1]
    judge.fitted(np.array([1]))
    judge.judged(quality(2, coverage_95=0.8))
    assert judge.wanting_fit.tolist() == [0]


def test_one_that_stays_poor_and_worse_than_the_rule_is_replaced_after_an_hour() -> None:
    judge = Judge(1, HORIZON_STEPS)
    judge.judged(POOR)
    assert step_of(judge, POOR, model_loss=1.0, steps=TRIAL_STEPS - 1) == Verdict.POOR
    assert step_of(judge, POOR, model_loss=1.0) == Verdict.REPLACED
    assert judge.replaced.tolist() == [0]


def test_one_that_stays_poor_but_better_than_the_rule_stays() -> None:
    judge = Judge(1, HORIZON_STEPS)
    judge.judged(POOR)
    assert step_of(judge, POOR, model_loss=0.0, steps=5 * TRIAL_STEPS) == Verdict.POOR


def test_the_model_returns_when_it_has_lost_less_than_the_rule_in_the_shadow() -> None:
    judge = Judge(1, HORIZON_STEPS)
    judge.judged(POOR)
    step_of(judge, POOR, model_loss=1.0, steps=TRIAL_STEPS)
    assert step_of(judge, FINE, model_loss=1.0, steps=3 * TRIAL_STEPS) == Verdict.REPLACED
    for _ in range(20 * TRIAL_STEPS):
        if step_of(judge, POOR, model_loss=0.0) == Verdict.POOR:
            break
    else:
        pytest.fail("it never came back")
    assert step_of(judge, FINE, model_loss=0.0) == Verdict.GOOD


def test_a_change_is_followed_by_a_whole_trial_however_the_losses_turn() -> None:
    judge, past = Judge(1, HORIZON_STEPS), np.ones((24, 1), dtype=np.float32)
    judge.judged(POOR)
    rule_loss = pinball(1 - rule(past, past)[0], EXPERT_LEVELS[:, None].astype(np.float32)).mean()
    step_of(judge, POOR, model_loss=1.5 * rule_loss, steps=TRIAL_STEPS)
    assert judge.replaced.tolist() == [0]
    assert step_of(judge, POOR, model_loss=0.0, steps=TRIAL_STEPS - 1) == Verdict.REPLACED
    assert step_of(judge, POOR, model_loss=0.0) == Verdict.POOR


def test_good_figures_end_a_trial_and_only_beyond_where_it_began() -> None:
    judge = Judge(1, HORIZON_STEPS)
    judge.judged(POOR)
    assert judge.judged(quality(1, coverage_95=0.87)).verdict[0] == Verdict.POOR
    assert judge.judged(quality(1, coverage_95=0.89)).verdict[0] == Verdict.GOOD


def test_a_newcomer_is_unjudged_and_who_moves_keeps_verdict_and_trial() -> None:
    judge = Judge(1, HORIZON_STEPS)
    judge.judged(POOR)
    step_of(judge, POOR, model_loss=1.0, steps=TRIAL_STEPS)
    judge.rearrange(np.array([-1, 0]))
    assert judge.verdict.tolist() == [Verdict.UNJUDGED, Verdict.REPLACED]
    assert judge.wanting_fit.tolist() == [1]
    verdict = judge.judged(quality(2, coverage_95=0.8)).verdict
    assert verdict.tolist() == [Verdict.POOR, Verdict.REPLACED]


def test_a_verdict_that_was_told_does_not_change_later() -> None:
    judge = Judge(1, HORIZON_STEPS)
    told = judge.judged(FINE)
    judge.judged(POOR)
    assert told.verdict.tolist() == [Verdict.GOOD]


def test_a_bound_that_is_judged_seldom_weighs_as_much_as_one_that_is_judged_often() -> None:
    """The model is a little better at the next step, and its bound on the maximum much worse."""
    one, past = np.ones(1, dtype=np.float32), History(1, 60)
    for _ in range(60):
        past.append(one)
    bounds = np.full((3, 1), 1.3, dtype=np.float32)
    none = np.full((3, 1), np.nan, dtype=np.float32)
    found = []
    for every in (1, 3):
        judge = Judge(1, HORIZON_STEPS, every)
        judge.judged(quality(1, coverage_95=0.8))
        for step in range(TRIAL_STEPS):
            told = bounds if step % every == 0 else none
            losses = Losses(np.zeros(1, dtype=np.float32), one[None])
            judge.settle(one, losses, Complete(one, told), past)
        model, by_rule = judge._lost[:, 0]
        found.append(model / by_rule)
    assert found[1] == pytest.approx(found[0], rel=0.15)


def test_of_very_many_poor_forecasts_each_has_its_trial() -> None:
    series = 5000
    judge, past = Judge(series, HORIZON_STEPS), History(series, 60)
    judge.judged(quality(series, coverage_95=0.8))
    one, bounds = np.ones(series, dtype=np.float32), np.ones((3, series), dtype=np.float32)
    for _ in range(30):
        past.append(one)
    for _ in range(6 * TRIAL_STEPS):
        judge.settle(one, Losses(one, one[None]), Complete(one, bounds), past)
    judge.judged(quality(series, coverage_95=0.8))
    assert (judge.verdict == Verdict.REPLACED).all()
