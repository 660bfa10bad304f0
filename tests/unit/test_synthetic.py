"""agent.backtest.synthetic: each kind of tenant does what its name says."""

import numpy as np
import pytest

from agent.backtest.kinds import MEANING_OF, Kind
from agent.backtest.synthetic import Recipe, tenants_made
from agent.tenant import Floats

STEPS_A_DAY = 288
DAYS = 14


def busy(kind: Kind, *, n_tenants: int = 40, step_s: float = 300.0, days: int = DAYS) -> Floats:
    """Return the fraction of its limit that each tenant uses: (steps, tenants)."""
    recipe = Recipe(n_tenants, round(days * 86400 / step_s), step_s, (kind,), seed=7)
    made = [rows.values for rows in tenants_made(recipe)]
    return np.stack([values["cpu_cores"] / values["cpu_limit_cores"] for values in made], axis=1)


def by_day(values: Floats) -> Floats:
    """Return (days, steps of a day, tenants)."""
    return values.reshape(DAYS, STEPS_A_DAY, -1)


def test_diurnal_tenants_are_busiest_in_the_afternoon() -> None:
    hours = by_day(busy(Kind.DIURNAL)).mean(axis=0).argmax(axis=0) / 12
    assert np.median(hours) == pytest.approx(14, abs=1.5)


def test_weekday_tenants_rest_at_weekends_and_at_night() -> None:
    days = by_day(busy(Kind.WEEKDAY))
    weekend = np.isin(np.arange(DAYS) % 7, [5, 6])
    noon, night = slice(11 * 12, 15 * 12), slice(0, 5 * 12)
    assert (days[~weekend, noon].mean((0, 1)) > 2 * days[weekend, noon].mean((0, 1))).all()
    assert (days[~weekend, noon].mean((0, 1)) > 3 * days[~weekend, night].mean((0, 1))).all()


def test_bursty_tenants_are_low_but_for_bursts_that_any_step_shows_in_full() -> None:
    fine, coarse = busy(Kind.BURSTY, step_s=10.0, days=2), busy(Kind.BURSTY, step_s=600.0, days=2)
    assert np.median(fine) < 0.1
    assert (fine > 0.5).mean() > 0.002
    assert coarse.max() < fine.max() + 1e-9
    # Heights above the limit are cut in fine steps only.
    assert coarse.mean() == pytest.approx(fine.mean(), rel=0.2)


def test_batch_tenants_are_near_their_limit_or_do_nothing() -> None:
    values = busy(Kind.BATCH)
    assert ((values < 0.05) | (values > 0.5)).mean() > 0.9
    assert (values.max(axis=0) > 0.4).all()


def test_flash_crowds_rise_far_above_what_was_before() -> None:
    values = busy(Kind.FLASH)
    assert (values.max(axis=0) > 3 * np.median(values, axis=0)).all()


def test_ramps_end_far_from_where_they_began_and_most_grow() -> None:
    values = busy(Kind.RAMP)
    first, last = values[:STEPS_A_DAY].mean(axis=0), values[-STEPS_A_DAY:].mean(axis=0)
    assert (np.maximum(first, last) > 2 * np.minimum(first, last)).all()
    assert 0.5 < (last > first).mean() < 1.0


def test_regimes_keep_their_level_for_a_day_and_leave_it_in_a_step() -> None:
    values = busy(Kind.REGIME)
    step_change = np.abs(np.diff(np.log(np.maximum(values, 1e-4)), axis=0))
    assert np.median(step_change) < 0.1
    assert (step_change.max(axis=0) > 0.3).mean() > 0.8


def test_idle_tenants_do_next_to_nothing() -> None:
    assert busy(Kind.IDLE).mean() < 0.01


def test_a_mix_has_every_kind_most_of_all_idle_ones() -> None:
    made = tenants_made(Recipe(400, 2, 300.0))
    kinds = [rows.tenant.split("-")[0] for rows in made]
    assert set(kinds) == {kind.value for kind in Kind} - {"mix"}
    assert 100 < kinds.count("idle") < 180


def test_several_kinds_are_taken_in_turn() -> None:
    made = tenants_made(Recipe(3, 2, 300.0, (Kind.RAMP, Kind.IDLE)))
    assert [rows.tenant for rows in made] == ["ramp-00000", "idle-00001", "ramp-00002"]


def test_memory_is_held_when_the_work_is_done_and_let_go_slowly() -> None:
    values = next(tenants_made(Recipe(1, 288, 300.0, (Kind.BATCH,), seed=3))).values
    cpu, held = values["cpu_cores"], values["mem_bytes"]
    assert np.abs(np.diff(held)).max() / held.max() < np.abs(np.diff(cpu)).max() / cpu.max()
    assert held.min() > 0.02 * held.max()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(1, 2, 0.5),
        Recipe(1, 0, 1.0),
        Recipe(1, 2, float("nan")),
        Recipe(-1, 2, 1.0),
        Recipe(1, 2, 1.0, ()),
        Recipe(1, 2, 1.0, seed=-1),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="expected"):
        list(tenants_made(recipe))


def test_every_kind_has_a_meaning_in_words() -> None:
    assert set(MEANING_OF) == set(Kind)
