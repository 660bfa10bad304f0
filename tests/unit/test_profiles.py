"""agent.profiles and what a record keeps of them: singles say what doubles would, bounds end."""

from dataclasses import replace

import numpy as np
import pytest
from records import cpu_tick

from agent.profiles import ResourceProfile
from agent.tenant import BASIC, Entitlement, Resource, Roster, Tenant
from forecast.fallback import fallback_profile
from forecast.message import answer_message, profile_of

from hosts import SILVER

TENANTS = 20


@pytest.mark.parametrize("has_gaps", [False, True])
def test_a_profile_in_singles_is_worth_the_same_as_in_doubles(has_gaps: bool) -> None:
    generator = np.random.default_rng(3)
    past = generator.gamma(0.7, 3.0, (30, TENANTS))
    if has_gaps:
        past[:, ::3] = np.nan
    singles = profile_of(answer_message(0, fallback_profile(past, step=30)), TENANTS)
    assert singles.grid.dtype == singles.maximum.dtype == np.float32
    doubles = replace(singles, grid=singles.grid.astype(np.float64))
    roster = Roster.of(
        Tenant(f"t{at:02}", SILVER, {Resource.CPU: Entitlement(0.1)}) for at in range(TENANTS)
    )
    terms, ceiling = roster.terms[BASIC[0]], generator.gamma(2.0, 2.0, TENANTS)
    found, expected = (
        ResourceProfile.of(one, 0, TENANTS).without_gaps(terms, ceiling)
        for one in (singles, doubles)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float64
        assert one.tobytes() == other.tobytes()


def test_no_bound_that_is_shown_is_above_all_that_there_is() -> None:
    tick = replace(cpu_tick(), total=1.0)
    assert np.nanmax(tick.maximum) > 1.0
    assert np.nanmax(tick.upper) == 1.0
    bounds = [tick.bounds_of(tenant) for tenant in range(len(tick.upper))]
    assert np.nanmax(bounds) == 1.0
