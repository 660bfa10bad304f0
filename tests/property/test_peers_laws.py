"""Laws of the rules that the backtest compares with, whatever tenants want."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backtest.peers import PEERS, PeerKind
from agent.tenant import Floats, Resource

# Long steps, so that a few of them pass a warm-up, a day and several half-lives.
STEP_S = 6 * 3600.0
_WANTED = (0.0, 1e-9, 0.01, 0.3, 1.0, 1.0, 7.5, 64.0, 1e9, 1e18, float("nan"))
# VPA and koordlet have buckets in cores and bytes, so what they say is not in proportion.
IN_PROPORTION = [kind for kind in PEERS if kind.name not in {"vpa", "koordinator"}]
kinds = pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
resources = st.sampled_from((Resource.CPU, Resource.MEMORY))


@st.composite
def pasts(draw: st.DrawFn) -> Floats:
    """Draw what 1 to 5 tenants wanted in 1 to 30 steps."""
    tenants, steps = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    wanted = st.lists(st.sampled_from(_WANTED), min_size=tenants, max_size=tenants)
    return np.array(draw(st.lists(wanted, min_size=steps, max_size=steps)))


def ceilings(demand: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(demand, axis=0, initial=0.0), dtype=np.float64)


def limits(
    kind: PeerKind, demand: Floats, ceiling: Floats, resource: Resource = Resource.CPU
) -> Floats:
    """Return what is recommended after each step, (steps, tenants)."""
    peer = kind.build(ceiling, STEP_S, resource)
    return np.array([peer.observe(row) for row in demand])


@kinds
@given(pasts(), resources)
def test_recommendations_are_finite_and_not_negative(
    kind: PeerKind, demand: Floats, resource: Resource
) -> None:
    made = limits(kind, demand, ceilings(demand), resource)
    assert np.isfinite(made).all()
    assert (made >= 0).all()


@kinds
@given(pasts(), resources, st.permutations(range(5)))
def test_a_tenant_is_sized_by_its_own_past_alone(
    kind: PeerKind, demand: Floats, resource: Resource, shuffled_five: list[int]
) -> None:
    """Permuting tenants permutes limits, and each gets what it would alone, bit for bit."""
    order = [tenant for tenant in shuffled_five if tenant < demand.shape[1]]
    ceiling = ceilings(demand)
    made = limits(kind, demand, ceiling, resource)
    shuffled = limits(kind, demand[:, order], ceiling[order], resource)
    np.testing.assert_array_equal(shuffled, made[:, order])
    alone = limits(kind, demand[:, :1], ceiling[:1], resource)
    np.testing.assert_array_equal(alone, made[:, :1])


@kinds
@given(pasts())
def test_what_is_handed_in_or_out_is_not_kept(kind: PeerKind, demand: Floats) -> None:
    ceiling = ceilings(demand)
    expected = limits(kind, demand, ceiling)
    peer = kind.build(ceiling, STEP_S)
    for row, limit in zip(demand, expected, strict=True):
        handed_in = row.copy()
        handed_out = peer.observe(handed_in)
        np.testing.assert_array_equal(handed_out, limit)
        handed_in.fill(5.0)
        handed_out.fill(5.0)


@kinds
@given(pasts())
def test_a_step_without_demand_known_changes_no_limit(kind: PeerKind, demand: Floats) -> None:
    made = limits(kind, demand, ceilings(demand))
    before = np.vstack((ceilings(demand), made[:-1]))
    is_gap = np.isnan(demand)
    np.testing.assert_array_equal(made[is_gap], before[is_gap])


@pytest.mark.parametrize("kind", IN_PROPORTION, ids=lambda kind: kind.name)
@given(pasts(), st.integers(-20, 20))
def test_twice_the_demand_gets_twice_the_limit(
    kind: PeerKind, demand: Floats, doublings: int
) -> None:
    scale = 2.0**doublings
    ceiling = ceilings(demand)
    made = limits(kind, demand, ceiling)
    np.testing.assert_array_equal(limits(kind, demand * scale, ceiling * scale), made * scale)
