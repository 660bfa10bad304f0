"""Laws of traces: what is written is read back, and what is made depends on its seed alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.backtest.archive import write_rows
from agent.backtest.columns import NUMBER_COLUMNS, QUANTITIES, QUANTITY_OF, TenantRows
from agent.backtest.kinds import Kind
from agent.backtest.synthetic import Recipe, tenants_made
from agent.backtest.trace import Trace, read_trace
from agent.tenant import BASIC, Floats, Resource
from forecast.history import LARGEST_VALUE

SUFFIXES = st.sampled_from([".csv", ".parquet"])
NAN = float("nan")

amounts = st.floats(0, LARGEST_VALUE) | st.just(NAN)
steps_s = st.sampled_from([1.0, 7.5, 60.0, 300.0])
names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1).filter(
    str.isprintable
)
recipes = st.builds(
    Recipe,
    n_tenants=st.integers(1, 4),
    n_steps=st.integers(2, 300),
    step_s=st.floats(1.0, 7200.0),
    kinds=st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**64),
)


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[str], Floats]:
    """Draw names in order and what they wanted (steps, tenants)."""
    tenants = sorted(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    shape = (draw(st.integers(2, 12)), len(tenants))
    values = draw(hnp.arrays(np.float64, shape, elements=amounts))
    assume(not np.isnan(values).all())
    return tenants, values


def round_trip(rows: Sequence[TenantRows], suffix: str, resource: Resource) -> Trace:
    """Return what is read of the rows after they were written."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        write_rows(path, rows)
        return read_trace(path, resource)


@given(grids(), SUFFIXES, steps_s, st.sampled_from(BASIC), st.floats(0, 1e9))
def test_what_is_written_is_read_back(
    grid: tuple[list[str], Floats], suffix: str, step_s: float, resource: Resource, start_s: float
) -> None:
    tenants, values = grid
    at_s = np.rint(start_s) + np.arange(len(values)) * step_s
    quantity = QUANTITY_OF[resource]
    limit = np.fmax.reduce(values, axis=0)
    rows = [
        TenantRows(name, at_s, {quantity.demand: column, quantity.limit: column})
        for name, column in zip(tenants, values.T, strict=True)
    ]
    trace = round_trip(rows, suffix, resource)
    assert trace.tenants == tuple(tenants)
    assert trace.step_s == step_s
    np.testing.assert_array_equal(trace.demand, values)
    np.testing.assert_array_equal(trace.ceiling, np.where(limit > 0, limit, np.inf))


@given(grids(), SUFFIXES, st.integers(0, 2**32))
def test_the_order_of_rows_decides_nothing(
    grid: tuple[list[str], Floats], suffix: str, seed: int
) -> None:
    tenants, values = grid
    at_s = np.arange(0.0, 60.0 * len(values), 60.0)
    single = [
        TenantRows(name, at_s[[step]], {"cpu_cores": values[[step], position]})
        for position, name in enumerate(tenants)
        for step in range(len(values))
    ]
    twice = [*single, *single[::2]]
    shuffled = [twice[at] for at in np.random.default_rng(seed).permutation(len(twice))]
    np.testing.assert_array_equal(round_trip(shuffled, suffix, Resource.CPU).demand, values)


@given(recipes)
def test_what_is_made_is_finite_not_negative_and_within_the_tenants_limit(recipe: Recipe) -> None:
    made = list(tenants_made(recipe))
    assert len(made) == recipe.n_tenants
    for rows in made:
        assert set(rows.values) == set(NUMBER_COLUMNS)
        for quantity in QUANTITIES:
            limit = rows.values[quantity.limit] if quantity.limit else LARGEST_VALUE
            assert rows.values[quantity.demand].shape == rows.at_s.shape == (recipe.n_steps,)
            assert (rows.values[quantity.demand] >= 0).all()
            assert (rows.values[quantity.demand] <= limit).all()


def assert_same(some: Sequence[TenantRows], others: Sequence[TenantRows]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.tenant == other.tenant
        for name in NUMBER_COLUMNS:
            np.testing.assert_array_equal(one.values[name], other.values[name])


@given(recipes, st.integers(0, 20))
def test_a_tenant_is_the_same_each_time_and_among_however_many_others(
    recipe: Recipe, more: int
) -> None:
    many = replace(recipe, n_tenants=recipe.n_tenants + more)
    made = list(tenants_made(many))
    assert_same(list(tenants_made(recipe)), made[: recipe.n_tenants])
    assert [rows.tenant.split("-")[1] for rows in made] == [f"{at:05d}" for at in range(len(made))]


@given(recipes)
def test_another_seed_makes_other_tenants(recipe: Recipe) -> None:
    other = replace(recipe, seed=recipe.seed + 1)
    pairs = zip(tenants_made(recipe), tenants_made(other), strict=True)
    assert all((one.values["mem_bytes"] != two.values["mem_bytes"]).any() for one, two in pairs)


@given(recipes, SUFFIXES, st.sampled_from(BASIC))
def test_a_made_trace_is_read_back_exactly(recipe: Recipe, suffix: str, resource: Resource) -> None:
    made = sorted(tenants_made(recipe), key=lambda rows: rows.tenant)
    trace = round_trip(made, suffix, resource)
    wanted = np.stack([rows.values[QUANTITY_OF[resource].demand] for rows in made], axis=1)
    np.testing.assert_array_equal(trace.demand, wanted)
    assert (trace.demand <= trace.ceiling).all()
