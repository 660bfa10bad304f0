"""Laws of the backtest's comparison, whatever tenants want and whoever decides."""

import numpy as np
import pytest
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.allocation import Mode
from agent.backtest.contest import OURS, PEER_KINDS, POLICIES, Contest, Terms
from agent.backtest.figures import entitled
from agent.backtest.ours import course_of, our_steps
from agent.backtest.protocol import Case
from agent.backtest.rivals import Outcome
from agent.tenant import Floats

_WANTED = (0.0, 1e-6, 0.02, 0.3, 1.0, 1.0, 2.5, 4.0)
_REL = 1e-9
LIMITING = sorted({*PEER_KINDS, OURS})
policies = pytest.mark.parametrize("name", POLICIES)


@st.composite
def hosts(draw: st.DrawFn, *, with_gaps: bool = False) -> tuple[Case, float]:
    """Draw a host of 1 to 5 tenants of any class, over 6 to 30 steps, and its capacity."""
    tenants, steps = draw(st.integers(1, 5)), draw(st.integers(6, 16))
    values = (*_WANTED, float("nan")) if with_gaps else _WANTED
    wanted = st.lists(st.sampled_from(values), min_size=tenants, max_size=tenants)
    demand = np.array(draw(st.lists(wanted, min_size=steps, max_size=steps)))
    classes = draw(st.lists(st.integers(0, 2), min_size=tenants, max_size=tenants))
    host = case(demand, warm_up=4, classes=classes, step_s=3600.0)
    return host, draw(st.sampled_from((0.3, 0.8, 1.1, 3.0))) * max(host.peak, 0.1)


def outcome(
    host: Case, name: str, capacity: float, *, is_closed: bool = False, mode: Mode = Mode.STRICT
) -> Outcome:
    terms = Terms((1.0,), mode, is_closed=is_closed, are_fitted=False)
    return Contest(host, terms, lambda _steps: None).outcome(name, capacity)


def unmet(host: Case, found: Outcome) -> Floats:
    return np.asarray(np.nansum(host.evaluated - found.served, axis=0), dtype=np.float64)


@policies
@given(hosts(with_gaps=True), st.booleans(), st.sampled_from(Mode))
def test_nobody_is_served_more_than_is_wanted_limited_or_there(
    name: str, drawn: tuple[Case, float], is_closed: bool, mode: Mode
) -> None:
    host, capacity = drawn
    found = outcome(host, name, capacity, is_closed=is_closed, mode=mode)
    assert np.array_equal(np.isnan(found.served), np.isnan(host.evaluated))
    most = np.minimum(host.evaluated, found.limit)
    assert not (found.served > most * (1 + _REL) + 1e-12).any()
    assert (np.nansum(found.served, axis=1) <= capacity * (1 + _REL)).all()


@pytest.mark.parametrize("name", LIMITING)
@given(hosts(), st.booleans())
def test_limits_never_sum_to_more_than_the_capacity(
    name: str, drawn: tuple[Case, float], is_closed: bool
) -> None:
    host, capacity = drawn
    found = outcome(host, name, capacity, is_closed=is_closed)
    assert (found.limit.sum(axis=1) <= capacity * (1 + _REL) + _least(name, host)).all()


@pytest.mark.parametrize("name", LIMITING)
@given(hosts(), st.booleans())
def test_strictly_unmet_is_what_is_wanted_above_the_limit(
    name: str, drawn: tuple[Case, float], is_closed: bool
) -> None:
    host, capacity = drawn
    found = outcome(host, name, capacity, is_closed=is_closed)
    above = np.maximum(host.evaluated - found.limit, 0.0)
    assert host.evaluated - found.served == pytest.approx(above, abs=1e-9)


@policies
@given(hosts(with_gaps=True), st.sampled_from(Mode))
def test_nobody_leaves_less_weighted_demand_unmet_than_the_oracle(
    name: str, drawn: tuple[Case, float], mode: Mode
) -> None:
    host, capacity = drawn
    theirs = unmet(host, outcome(host, name, capacity, mode=mode))
    best = unmet(host, outcome(host, "oracle", capacity))
    assert host.weights @ best <= host.weights @ theirs + 1e-9
    assert best.sum() <= theirs.sum() + 1e-9


@given(hosts(with_gaps=True))
def test_weights_leave_nothing_idle_while_anything_is_wanted(drawn: tuple[Case, float]) -> None:
    host, capacity = drawn
    served = np.nansum(outcome(host, "weights", capacity).served, axis=1)
    wanted = np.nansum(host.evaluated, axis=1)
    assert served == pytest.approx(np.minimum(wanted, capacity))


@settings(max_examples=10)
@given(hosts(with_gaps=True), st.booleans(), st.sampled_from(Mode))
def test_the_same_contest_ends_the_same(
    drawn: tuple[Case, float], is_closed: bool, mode: Mode
) -> None:
    host, _ = drawn
    policies = (OURS, "n-sigma", "weights", "oracle")
    terms = Terms((0.8,), mode, policies, is_closed=is_closed, are_fitted=False)
    first, again = (repr(Contest(host, terms, lambda _: None).result()) for _ in range(2))
    assert first == again


@given(hosts(with_gaps=True), st.integers(1, 3))
def test_entitled_is_who_kept_within_its_share_for_an_hour(
    drawn: tuple[Case, float], steps_per_hour: int
) -> None:
    """Against the definition, tenant by tenant and step by step."""
    host, capacity = drawn
    host = case(
        host.demand, warm_up=4, classes=host.class_of.tolist(), step_s=3600.0 / steps_per_hour
    )
    found = entitled(host, capacity)
    for (row, tenant), is_entitled in np.ndenumerate(found):
        past = host.demand[row + 4 - steps_per_hour : row + 4]
        assert is_entitled == (
            not np.isnan(host.evaluated[row, tenant])
            and all(_is_within(step, tenant, host, capacity) for step in past)
        )


@settings(max_examples=20)
@given(hosts())
def test_a_course_is_what_was_decided_before_each_step(drawn: tuple[Case, float]) -> None:
    host, capacity = drawn
    course = course_of(host, our_steps(host, capacity, Mode.STRICT, None), capacity, lambda _: None)
    assert (course.guaranteed.sum(axis=1) <= capacity * (1 + _REL)).all()
    assert (course.guaranteed <= host.ceiling + 1e-9).all()
    assert np.isfinite(course.balance).all()


def _is_within(row: Floats, tenant: int, host: Case, capacity: float) -> bool:
    there = ~np.isnan(row)
    if not there[tenant]:
        return True
    fair = capacity * host.weights[tenant] / host.weights[there].sum()
    return bool(row[tenant] <= fair)


def _least(name: str, host: Case) -> float:
    """Return what the kernel's smallest limits add to a host that is smaller than their sum."""
    return 0.01 * len(host.tenants) if name == OURS else 0.0
