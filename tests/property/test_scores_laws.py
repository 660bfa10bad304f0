"""Laws of forecast.scores: what the figures tend to, and what never changes them."""

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.history import Singles
from forecast.profile import BOUNDS, EXPERT_LEVELS
from forecast.quality import Quality
from forecast.scores import Losses, Scores, pinball
from forecast.target import Complete

HORIZON_STEPS = 3
NO_SHARES = np.zeros((0, 0), dtype=np.uint8)
seeds = st.integers(0, 2**32 - 1)


def singles(*values: float) -> Singles:
    return np.array(values, dtype=np.float32)


def settled(scores: Scores, values: Singles, **given: Singles) -> None:
    """Enter one step; what is not given is as good as it can be."""
    nothing, bounds = np.zeros_like(values), np.tile(values, (len(BOUNDS), 1))
    scores.settle(
        values,
        given.get("expected", values),
        Losses(given.get("mixed", nothing), given.get("each", nothing[None])),
        Complete(given.get("maximum", values), given.get("bounds", bounds)),
        np.ones(len(values), dtype=np.bool_),
    )


def found(scores: Scores, experts: tuple[str, ...] = ("one",)) -> Quality:
    series = len(scores.quality(experts, NO_SHARES).windows)
    return scores.quality(experts, np.zeros((len(experts), series), dtype=np.uint8))


def assert_same(one: Quality, other: Quality) -> None:
    for field in fields(Quality)[2:]:
        left, right = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_allclose(left, right, rtol=1e-5, err_msg=field.name)


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_bounds_at_the_true_quantiles_are_held_as_often_as_they_say(seed: int) -> None:
    random, series = np.random.default_rng(seed), 400
    scores = Scores(1, series, HORIZON_STEPS)
    bounds = np.repeat(-np.log(1 - BOUNDS)[:, None], series, axis=1).astype(np.float32)
    for _ in range(400):
        came = random.exponential(1.0, series).astype(np.float32)
        settled(scores, came, bounds=bounds)
    np.testing.assert_allclose(found(scores).coverage.mean(axis=1), BOUNDS, atol=0.008)


@given(seeds, st.floats(0.05, 20.0))
@settings(max_examples=25, deadline=None)
def test_no_other_bound_has_a_lower_pinball_loss_than_the_true_quantile(
    seed: int, factor: float
) -> None:
    came = np.random.default_rng(seed).exponential(1.0, 20_000).astype(np.float32)
    levels = BOUNDS[:, None].astype(np.float32)
    truth = (-np.log(1 - levels)).astype(np.float32)
    best = pinball(came - truth, levels).mean(axis=1)
    assert (best <= pinball(came - np.float32(factor) * truth, levels).mean(axis=1) + 0.01).all()


@given(seeds, st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_figures_of_a_series_do_not_depend_on_its_neighbours_nor_on_its_place(
    seed: int, steps: int
) -> None:
    random = np.random.default_rng(seed)
    order = random.permutation(5)
    together, moved, alone = Scores(2, 5, 3), Scores(2, 5, 3), Scores(2, 1, 3)
    for step in range(steps):
        came = random.exponential(1.0, 5).astype(np.float32)
        came[random.random(5) < 0.1] = np.nan
        numbers = {
            "expected": random.random(5).astype(np.float32),
            "mixed": random.random(5).astype(np.float32),
            "each": random.random((2, 5)).astype(np.float32),
            "maximum": random.exponential(1.0, 5).astype(np.float32),
            "bounds": np.sort(random.exponential(1.0, (3, 5)), axis=0).astype(np.float32),
        }
        settled(together, came, **numbers)
        settled(alone, came[order[:1]], **{k: v[..., order[:1]] for k, v in numbers.items()})
        place = order if step >= steps // 2 else np.arange(5)
        if step == steps // 2:
            moved.rearrange(order, [0, 1])
        settled(moved, came[place], **{k: v[..., place] for k, v in numbers.items()})
    both = ("one", "two")
    whole = found(together, both).rearranged(order)
    assert_same(found(moved, both), whole)
    assert_same(found(alone, both), whole.cut(slice(0, 1)))


@given(seeds, st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_a_gap_changes_no_figure_then_or_later(seed: int, gaps: int) -> None:
    random = np.random.default_rng(seed)
    whole, gapped = Scores(1, 3, HORIZON_STEPS), Scores(1, 3, HORIZON_STEPS)
    for step in range(40):
        came, mixed = random.random((2, 3)).astype(np.float32)
        for scores in (whole, gapped):
            settled(scores, came, mixed=mixed)
        if step == 20:
            for _ in range(gaps):
                settled(gapped, np.full(3, np.nan, dtype=np.float32))
            assert_same(found(gapped), found(whole))
    assert_same(found(gapped), found(whole))


@given(st.floats(0.001, 1e12), seeds)
@settings(max_examples=25, deadline=None)
def test_figures_do_not_depend_on_the_unit(unit: float, seed: int) -> None:
    random, plain, scaled = np.random.default_rng(seed), Scores(1, 4, 3), Scores(1, 4, 3)
    for _ in range(30):
        numbers = [random.random(4).astype(np.float32) for _ in range(4)]
        bounds = np.sort(random.random((3, 4)), axis=0).astype(np.float32)
        for scores, by in ((plain, 1.0), (scaled, unit)):
            came, expected, mixed, each = (np.float32(by) * one for one in numbers)
            settled(
                scores,
                came,
                expected=expected,
                mixed=mixed,
                each=each[None],
                bounds=np.float32(by) * bounds,
            )
    one, other = found(plain), found(scaled)
    for name in ("coverage", "pinball", "sharpness", "bias", "skill", "skill_best"):
        np.testing.assert_allclose(
            getattr(other, name), getattr(one, name), rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_half_of_a_score_is_forgotten_after_96_horizons() -> None:
    scores = Scores(1, 1, HORIZON_STEPS)
    for held in (0.0, 2.0):
        for _ in range(96 * HORIZON_STEPS):
            settled(scores, singles(1), bounds=np.full((3, 1), held, dtype=np.float32))
    assert found(scores).coverage[1, 0] == pytest.approx(2 / 3, abs=0.01)  # 1 of 1 + 1/2


def test_windows_that_end_seldom_are_forgotten_as_fast_as_those_that_end_often() -> None:
    often, seldom = Scores(1, 1, HORIZON_STEPS), Scores(1, 1, HORIZON_STEPS, 3)
    held, broken = (np.full((3, 1), bound, dtype=np.float32) for bound in (2.0, 0.0))
    for step in range(600):
        bounds = broken if step < 450 else held
        settled(often, singles(1), bounds=bounds)
        settled(seldom, singles(1), bounds=bounds if step % 3 == 0 else np.full_like(held, np.nan))
    assert found(seldom).coverage[1, 0] == pytest.approx(found(often).coverage[1, 0], abs=0.005)
    assert found(seldom).windows[0] == pytest.approx(found(often).windows[0] / 3, rel=0.01)


def test_nothing_is_known_before_the_first_score() -> None:
    none = found(Scores(1, 2, HORIZON_STEPS))
    assert none.windows.tolist() == [0, 0]
    for name in ("coverage", "pinball", "sharpness", "bias", "skill", "skill_best"):
        assert np.isnan(getattr(none, name)).all()


def test_what_is_exact_has_no_skill_over_a_naive_forecast_that_is_exact_too() -> None:
    scores = Scores(1, 1, HORIZON_STEPS)
    for _ in range(50):
        settled(scores, singles(8), mixed=singles(0.004), each=singles(0.004)[None])
    assert found(scores).skill.tolist() == [0.0]


def test_skill_is_what_is_saved_of_the_naive_loss() -> None:
    scores, random = Scores(1, 1, HORIZON_STEPS), np.random.default_rng(1)
    came = random.exponential(1.0, 3000).astype(np.float32)
    levels, naive = EXPERT_LEVELS[:, None].astype(np.float32), []
    for before, now in pairwise(came.tolist()):
        # The mean change of independent values is 1: the naive forecast's own scale.
        change = np.where(levels < 0.5, np.log(2 * levels), -np.log(2 * (1 - levels)))
        grid = np.maximum(before + change, 0).astype(np.float32)
        naive.append(pinball(now - grid, levels).mean())
    for value in came:
        settled(scores, np.array([value]), mixed=singles(0.1))
    # The last of them counts most: half is forgotten after 288 steps.
    weight = 0.5 ** (np.arange(len(naive))[::-1] / 288)
    expected = 1 - 0.1 / np.average(naive, weights=weight)
    assert found(scores).skill[0] == pytest.approx(expected, abs=0.02)


def test_the_best_expert_is_the_one_that_lost_least_and_who_cannot_tell_leaves_the_naive_one() -> (
    None
):
    scores, asleep = Scores(3, 1, HORIZON_STEPS), float("nan")
    for value in range(40):
        each = singles(0.4, 0.1, asleep)[:, None]
        settled(scores, singles(value % 2), mixed=singles(0.2), each=each)
    assert found(scores).skill_best[0] == pytest.approx(1 - 0.2 / 0.1, abs=1e-5)
    naive_loss = 0.2 / (1 - found(scores).skill[0])
    assert 0.1 < naive_loss < 0.4
    scores.rearrange(np.array([0]), [0, 2])  # the better one is gone
    assert found(scores).skill_best[0] == pytest.approx(1 - 0.2 / naive_loss, abs=1e-4)
    scores.rearrange(np.array([0]), [0, -1])  # another has come
    assert found(scores).skill_best[0] == pytest.approx(1 - 0.2 / naive_loss, abs=1e-4)
