"""forecast.crowd: what all series learn together of rare windows, and what one of them can move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forecast.crowd import CrowdMixture
from forecast.history import Singles
from forecast.mixture import Mixture
from forecast.profile import BOUNDS
from forecast.scores import pinball
from forecast.target import Target

NEXT = Target(1, BOUNDS)
LEVELS: Singles = BOUNDS[:, None].astype(np.float32)
RAREST = len(BOUNDS) - 1
EXPONENTIAL: Singles = -np.log(1.0 - LEVELS)  # quantiles of a mean of 1


def flat(value: float | Singles, series: int) -> Singles:
    """An expert's bounds: the same at every level."""
    return np.broadcast_to(np.asarray(value, dtype=np.float32), (len(BOUNDS), series)).copy()


def mixed_over(
    mixture: Mixture | CrowdMixture, outcomes: np.ndarray, *experts: Singles
) -> list[Singles]:
    """Return what is mixed of constant experts before each row of `outcomes` (steps, series)."""
    found = []
    for step, row in enumerate(outcomes.astype(np.float32)):
        found.append(mixture.mixed(step, list(experts)))
        mixture.settle(step + 1, row)
    return found


def lost(outcomes: np.ndarray, found: list[Singles]) -> np.ndarray:
    """Return mean losses (levels, series) of what was mixed."""
    came = outcomes.astype(np.float32)
    each = [pinball(row - bounds, LEVELS) for row, bounds in zip(came, found, strict=True)]
    return np.asarray(np.mean(each, axis=0))


def test_the_crowd_knows_a_rare_level_before_any_series_could() -> None:
    """In 60 windows most series miss 99 % once or never: each for itself, who says less wins."""
    n, outcomes = 300, np.random.default_rng(2).exponential(size=(60, 300))
    experts = (np.repeat(EXPONENTIAL, n, axis=1), np.repeat(0.5 * EXPONENTIAL, n, axis=1))
    alone = lost(outcomes, mixed_over(Mixture(2, n, NEXT), outcomes, *experts))
    crowd = lost(outcomes, mixed_over(CrowdMixture(2, n, NEXT), outcomes, *experts))
    right = lost(outcomes, [experts[0]] * len(outcomes))
    assert crowd[RAREST].mean() < 1.05 * right[RAREST].mean()
    assert crowd[RAREST].mean() < 0.95 * alone[RAREST].mean()


def test_where_series_differ_each_ones_own_is_believed() -> None:
    n, steps = 40, 600
    truth = np.where(np.arange(n) % 2, 1.0, 3.0)
    outcomes = truth + np.random.default_rng(4).normal(0.0, 0.01, (steps, n))
    found = mixed_over(CrowdMixture(2, n, NEXT), outcomes, flat(1.0, n), flat(3.0, n))
    np.testing.assert_allclose(found[-1][1], truth, atol=0.1)


def test_over_all_series_it_loses_little_more_than_any_expert() -> None:
    """The law that its weights are made for, in units of each series' own errors."""
    generator, n, steps = np.random.default_rng(8), 50, 800
    outcomes = generator.gamma(2.0, size=(steps, n)) * np.geomspace(1e-3, 1e3, n)
    experts = [np.quantile(outcomes, level, axis=0) for level in (0.5, 0.9, 0.97, 0.995)]
    grids = [flat(one.astype(np.float32), n) for one in experts]
    scale = outcomes.std(axis=0)
    found = (lost(outcomes, mixed_over(CrowdMixture(4, n, NEXT), outcomes, *grids)) / scale).sum(1)
    each = [(lost(outcomes, [grid] * steps) / scale).sum(axis=1) for grid in grids]
    assert (found <= 1.02 * np.min(each, axis=0)).all()


def test_one_series_moves_the_others_but_little() -> None:
    """It knows itself to a hair until, once, an expert is wrong about it by a million times."""
    n, outcomes = 200, np.random.default_rng(3).exponential(size=(300, 200))
    outcomes[:, 0] = 1.0 + 1e-6 * (np.arange(300) % 2)
    experts = [np.repeat(part * EXPONENTIAL, n, axis=1) for part in (0.5, 1.0)]
    experts[0][:, 0] = experts[1][:, 0] = 1.0
    mixture, honest = CrowdMixture(2, n, NEXT), CrowdMixture(2, n, NEXT)
    mixed_over(honest, outcomes, *experts)
    mixed_over(mixture, outcomes[:200], *experts)
    experts[1][:, 0] = 1e6
    mixture.mixed(200, experts)
    mixture.settle(201, outcomes[200].astype(np.float32))
    experts[1][:, 0] = 1.0
    for step in range(201, 300):
        mixture.mixed(step, experts)
        mixture.settle(step + 1, outcomes[step].astype(np.float32))
    found = [one.mixed(300, experts)[:, 1:] for one in (mixture, honest)]
    np.testing.assert_allclose(found[0], found[1], rtol=0.05)


@pytest.mark.parametrize("gap", [0, 2000])
def test_a_gap_of_all_series_is_not_forgetting(gap: int) -> None:
    n, outcomes = 20, np.random.default_rng(1).exponential(size=(220, 20))
    outcomes[200:] = 9.0
    experts = [np.repeat(part * EXPONENTIAL, n, axis=1) for part in (1.0, 4.0)]
    mixture, unbroken = CrowdMixture(2, n, NEXT), CrowdMixture(2, n, NEXT)
    mixed_over(unbroken, outcomes, *experts)
    mixed_over(mixture, outcomes[:200], *experts)
    for step in range(201, 201 + gap):
        mixture.settle(step, np.full(n, np.nan, dtype=np.float32))
    for step, row in enumerate(outcomes[200:].astype(np.float32), start=200 + gap):
        mixture.mixed(step, experts)
        mixture.settle(step + 1, row)
    found = [one.mixed(300 + gap, experts) for one in (mixture, unbroken)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_who_cannot_tell_sleeps_and_a_series_of_whom_none_tells_has_no_bound() -> None:
    mixture, first, second = CrowdMixture(2, 3, NEXT), flat(1.0, 3), flat(3.0, 3)
    second[:, 1:], first[:, 2] = np.nan, np.nan
    mixed = mixture.mixed(0, [first, second])
    assert mixed[0].tolist()[:2] == [2.0, 1.0]
    assert np.isnan(mixed[:, 2]).all()


@given(st.permutations(range(6)), st.integers(0, 2**32 - 1))
def test_the_order_of_series_decides_nothing(order: list[int], seed: int) -> None:
    outcomes = np.random.default_rng(seed).exponential(size=(40, 6))
    experts = [np.repeat(part * EXPONENTIAL, 6, axis=1) * np.arange(1, 7) for part in (0.5, 1.0)]
    grids = [expert.astype(np.float32) for expert in experts]
    found = mixed_over(CrowdMixture(2, 6, NEXT), outcomes, *grids)[-1]
    turned = [grid[:, order] for grid in grids]
    again = mixed_over(CrowdMixture(2, 6, NEXT), outcomes[:, order], *turned)[-1]
    np.testing.assert_allclose(again, found[:, order], rtol=1e-4)


@given(
    hnp.arrays(np.float32, (12, 3), elements=st.floats(0, 1e6, width=32)),
    hnp.arrays(np.float32, (3, len(BOUNDS), 3), elements=st.floats(0, 1e6, width=32)),
)
def test_what_is_mixed_rises_and_lies_within_what_is_said(outcomes: Singles, said: Singles) -> None:
    """So nobody's lie takes another's bound beyond what its own experts say.

    Numbers that a float32 holds in full only: what is smaller may be lost.
    """
    tiny = np.finfo(np.float32).tiny
    said.sort(axis=1)
    for mixed in mixed_over(CrowdMixture(3, 3, NEXT), outcomes, *said):
        assert (np.diff(mixed, axis=0) >= 0).all()
        assert (mixed >= said.min(axis=0) * (1 - 1e-5) - tiny).all()
        assert (mixed <= said.max(axis=0) * (1 + 1e-5)).all()


def test_a_newcomer_is_told_what_the_crowd_believes() -> None:
    n, outcomes = 50, np.random.default_rng(6).exponential(size=(200, 50))
    experts = [np.repeat(EXPONENTIAL, n, axis=1), np.repeat(9 * EXPONENTIAL, n, axis=1)]
    mixture = CrowdMixture(2, n, NEXT)
    mixed_over(mixture, outcomes, *experts)
    mixture.rearrange(np.array([0, 1, -1]), [0, 1])
    mixed = mixture.mixed(200, [expert[:, :3] for expert in experts])
    np.testing.assert_allclose(mixed[RAREST, 2], EXPONENTIAL[RAREST, 0], rtol=0.25)


def test_an_expert_that_comes_later_is_believed_once_it_would_have_been_better() -> None:
    n, outcomes = 50, np.random.default_rng(7).exponential(size=(300, 50))
    wide, right = np.repeat(4 * EXPONENTIAL, n, axis=1), np.repeat(EXPONENTIAL, n, axis=1)
    mixture = CrowdMixture(1, n, NEXT)
    mixed_over(mixture, outcomes[:100], wide)
    mixture.rearrange(np.arange(n), [0, -1])
    mixed = wide
    for step, row in enumerate(outcomes[100:].astype(np.float32), start=100):
        mixed = mixture.mixed(step, [wide, right])
        mixture.settle(step + 1, row)
    np.testing.assert_allclose(mixed[RAREST].mean(), EXPONENTIAL[RAREST, 0], rtol=0.1)
