"""What holds of every calendar: profiles are raised, by no more than is to come, and only once."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.absorbed import Absorbed, Absorption, absorbed_after, borne_out, usual_after
from agent.coming import Coming, concerned
from agent.event import EventSource, Occurrence
from agent.event_sections import event_sources
from agent.keys import Faults
from agent.learned import LEAST_RATIO, MOST_RATIO, Learned
from agent.tenant import BASIC, Entitlement, Floats, Kind, QosClass, Roster, Tenant
from agent.uplift import Lift, Windows, ahead_of
from forecast.fallback import fallback_profile
from forecast.profile import BOUNDS, LEVELS, Numbers, Profile, Source
from forecast.settings import HORIZONS

QOS = QosClass("gold", 1.0, 0.5, 0, 60.0)
NAMES = ("a", "b", "c")
SERIES = len(NAMES) * len(BASIC)
WINDOWS = Windows.of(lead_s=300.0, step_s=60.0, horizons_s=(300.0, 600.0, 900.0))
NOW_S = 10_000.0

multipliers = st.sampled_from([0.05, 0.5, 1.0, 1.5, 3.0, 100.0])
sources = st.builds(
    EventSource,
    place=st.just("x"),
    name=st.sampled_from(["sale", "job"]),
    tenant=st.sampled_from(["", "", *NAMES, "gone"]),
    regions=st.sampled_from([(), ("eu",), ("us", "eu")]),
    multiplier=st.dictionaries(st.sampled_from([Kind.CPU, Kind.MEMORY]), multipliers, min_size=1),
)
spans = st.tuples(st.integers(-20, 20), st.integers(1, 40)).map(
    lambda found: (NOW_S + 60.0 * found[0], NOW_S + 60.0 * (found[0] + found[1]))
)
events = st.lists(st.tuples(sources, spans), max_size=6)
absorbeds = st.lists(multipliers, min_size=SERIES, max_size=SERIES).map(np.array)
Events = Sequence[tuple[EventSource, tuple[float, float]]]


def roster() -> Roster:
    entitled = {resource: Entitlement() for resource in BASIC}
    return Roster.of(Tenant(name, QOS, entitled) for name in NAMES)


def coming_of(found: Events) -> Coming:
    """Return the entries of events, what is not configured as usual."""
    occurrences = sorted(
        Occurrence(*span, source.name, at) for at, (source, span) in enumerate(found)
    )
    whom = concerned([source for source, _ in found], roster(), BASIC, {"a": ("eu",), "b": ("us",)})
    coming = Coming.of(occurrences, whom, SERIES)
    return coming.with_multiplier(np.nan_to_num(coming.multiplier, nan=1.0))


def lift_of(coming: Coming, absorbed: Floats, now_s: float = NOW_S) -> Lift:
    """Return the lift of profiles that have absorbed so much in all parts."""
    return Lift.of(ahead_of(coming, now_s, WINDOWS), Absorbed.alike(absorbed))


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    grid = np.cumsum(generator.exponential(1.0, (len(LEVELS), SERIES)), axis=0)
    rises = generator.exponential(1.0, (HORIZONS, len(BOUNDS), SERIES))
    rises[1:] *= 0.01  # horizons that hardly differ show what is raised out of order
    maximum = np.cumsum(np.cumsum(rises, axis=0), axis=1)
    unknown = generator.random(SERIES) < 0.2
    grid[:, unknown], maximum[..., unknown] = np.nan, np.nan
    return Profile(3, LEVELS, grid, grid[6], maximum, np.zeros(SERIES, dtype=np.uint8))


def columns(profile: Profile) -> tuple[Numbers, ...]:
    return profile.grid, profile.expected, profile.maximum


@given(events, absorbeds, profiles())
def test_a_profile_is_never_lowered_and_stays_in_order(
    found: Events, absorbed: Floats, profile: Profile
) -> None:
    raised = lift_of(coming_of(found), absorbed).applied(profile)
    for before, after in zip(columns(profile), columns(raised), strict=True):
        assert not (after < before).any()
        assert (np.isnan(after) == np.isnan(before)).all()
    assert not (np.diff(raised.grid, axis=0) < 0).any()
    assert not (np.diff(raised.maximum, axis=0) < 0).any()
    assert not (np.diff(raised.maximum, axis=1) < 0).any()


@given(absorbeds, profiles())
def test_without_events_the_profile_is_the_very_same(absorbed: Floats, profile: Profile) -> None:
    lift = lift_of(coming_of([]), np.ones(SERIES))
    assert lift.applied(profile) is profile
    over = lift_of(coming_of([]), np.maximum(absorbed, 1.0))
    assert over.applied(profile) is profile


@given(events, absorbeds)
def test_with_what_is_absorbed_a_lift_is_what_is_to_come_and_no_more(
    found: Events, absorbed: Floats
) -> None:
    coming = coming_of(found)
    lift = lift_of(coming, absorbed)
    for one, length_s in zip((lift.next, *lift.maximum), WINDOWS.all_s, strict=True):
        ahead = coming.largest(NOW_S, NOW_S + length_s)
        np.testing.assert_allclose(one * absorbed, np.maximum(ahead, absorbed))


@given(st.integers(0, 30), multipliers, profiles())
def test_in_a_long_event_the_multiplier_is_not_applied_again(
    gap_every: int, multiplier: float, profile: Profile
) -> None:
    source = EventSource("x", "sale", multiplier={Kind.CPU: multiplier, Kind.MEMORY: multiplier})
    coming = coming_of([(source, (NOW_S, NOW_S + 1e6))])
    absorbed = np.ones(SERIES)
    lift = lift_of(coming, absorbed)
    assert lift.next.max() == max(multiplier, 1.0)
    values = np.ones(SERIES)
    for step in range(80):
        now_s = NOW_S + 60.0 * step
        seen = np.where(gap_every and step % (gap_every + 1) == 0, np.nan, values)
        absorbed = absorbed_after(absorbed, coming.largest(now_s, now_s), seen)
        following = lift_of(coming, absorbed, now_s)
        assert (following.next <= lift.next).all()
        lift = following
    assert lift.applied(profile) is profile


@given(st.integers(1, 60), multipliers)
def test_a_start_amid_an_event_counts_the_steps_that_were_seen(
    steps: int, multiplier: float
) -> None:
    source = EventSource("x", "sale", multiplier={Kind.CPU: multiplier, Kind.MEMORY: multiplier})
    coming = coming_of([(source, (NOW_S - 60.0 * steps, NOW_S + 1e6))])
    rolled = np.ones(SERIES)
    for _ in range(steps):
        rolled = absorbed_after(rolled, np.full(SERIES, max(multiplier, 1.0)), rolled)
    np.testing.assert_allclose(
        Absorption.seen(coming, NOW_S, step_s=60.0, step=0).smoothed[0], rolled, rtol=0.1
    )


@given(st.sampled_from([0.05, 0.2, 0.5, 0.9]), st.floats(0.0, 3.0), st.integers(1, 60))
def test_a_quiet_event_never_raises_above_what_was_usual_before_it(
    multiplier: float, quiet: float, steps: int
) -> None:
    ones = np.ones(SERIES)
    absorbed, usual, level = ones, ones * np.nan, ones
    demands = [*[(1.0, 1.0)] * 30, *[(multiplier, quiet)] * steps]
    for on, value in demands:
        seen = ones * value
        usual = usual_after(usual, np.full(SERIES, on != 1.0), seen)
        absorbed = absorbed_after(absorbed, borne_out(ones * on, usual, seen), seen)
        level = absorbed_after(level, seen, seen)
    lift = np.maximum(1.0 / np.maximum(absorbed, 1e-3), 1.0)
    assert (lift * level <= np.maximum(level, 1.0) * (1 + 1e-2)).all()


@given(st.floats(1.1, 20.0), st.floats(0.0, 30.0), st.floats(0.01, 1e9))
def test_a_lift_waits_for_demand_and_adds_nothing_to_what_has_come(
    multiplier: float, came: float, size: float
) -> None:
    ones = np.ones(SERIES)
    absorbed, usual, level = ones, ones * np.nan, ones * size
    for times, is_on in [*[(1.0, False)] * 30, *[(came, True)] * 60]:
        seen = ones * times * size
        usual = usual_after(usual, np.full(SERIES, is_on), seen)
        on = ones * (multiplier if is_on else 1.0)
        absorbed = absorbed_after(absorbed, borne_out(on, usual, seen), seen)
        level = absorbed_after(level, seen, seen)
    told = np.maximum(multiplier / absorbed, 1.0) * level
    wanted = size * (multiplier if came > 1 else multiplier * came)
    np.testing.assert_allclose(told, max(wanted, came * size), rtol=1e-2, atol=1e-2 * size)


factors = st.sampled_from([1.0, 1.0, 1.5, 3.0, 10.0])


@given(st.lists(st.tuples(factors, st.booleans()), min_size=9, max_size=60), st.booleans())
def test_of_a_profile_that_is_behind_what_it_has_absorbed_counts(
    steps: list[tuple[float, bool]], is_ruled: bool
) -> None:
    ones, coming = np.ones(SERIES), coming_of([])
    absorption = Absorption.seen(coming, NOW_S, step_s=60.0, step=0)
    known = []
    source = np.full(SERIES, Source.FALLBACK if is_ruled else Source.LIVE)
    for step, (on, is_gap) in enumerate(steps, start=1):
        absorption = absorption.after_step(step, on * ones, np.nan * ones if is_gap else ones)
        profile = Profile(step, LEVELS, ones, ones, ones, source)
        known.append((profile, absorption.of(profile)))
    for profile, then in known[-8:]:
        now = absorption.of(profile)
        for before, after in zip(parts(then), parts(now), strict=True):
            np.testing.assert_array_equal(before, after)


def parts(absorbed: Absorbed) -> tuple[Floats, ...]:
    return absorbed.expected, absorbed.grid, absorbed.maximum


@given(st.lists(factors, min_size=24, max_size=60), factors)
def test_the_rule_that_stands_in_is_raised_to_what_is_to_come_and_no_further(
    ons: list[float], following: float
) -> None:
    ones = np.ones(SERIES)
    absorption = Absorption.seen(coming_of([]), NOW_S, step_s=60.0, step=0)
    for step, on in enumerate(ons, start=1):
        absorption = absorption.after_step(step, on * ones, on * ones)
    demand = np.array(ons)[:, None] * ones  # what the calendar says, and nothing else
    ruled = fallback_profile(demand, step=len(ons))
    ahead = np.full((1 + HORIZONS, SERIES), following)
    raised = Lift.of(ahead, absorption.of(ruled)).applied(ruled)
    most, prior = max(following, *ons[-24:]), 0.1 * max(ons[-24:])
    np.testing.assert_allclose(raised.expected, max(following, ons[-1]))
    np.testing.assert_allclose(raised.maximum, 1.1 * most)
    lift = max(following / max(ons[-12:]), 1.0)
    assert (raised.grid[-1] >= max(following, *ons[-12:]) * (1 - 1e-9)).all()
    assert (raised.grid[-1] <= lift * (max(ons[-12:]) + prior) * (1 + 1e-9)).all()


@given(events, absorbeds, st.randoms())
def test_the_order_in_which_events_are_configured_decides_nothing(
    found: Events, absorbed: Floats, shuffler: object
) -> None:
    other = list(found)
    shuffler.shuffle(other)  # type: ignore[attr-defined]
    lifts = [lift_of(coming_of(some), absorbed) for some in (found, other)]
    np.testing.assert_array_equal(lifts[0].next, lifts[1].next)
    np.testing.assert_array_equal(lifts[0].maximum, lifts[1].maximum)


@given(events, st.floats(0.0, 1.0))
def test_between_two_changes_nothing_changes(found: Events, part: float) -> None:
    coming = coming_of(found)
    until_s = min(coming.next_change_s(NOW_S, WINDOWS.all_s), NOW_S + 1e5)
    then_s = NOW_S + part * (until_s - NOW_S) * (1 - 1e-9)
    for length_s in (0.0, *WINDOWS.all_s):
        now = coming.largest(NOW_S, NOW_S + length_s)
        np.testing.assert_array_equal(now, coming.largest(then_s, then_s + length_s))


@given(events)
def test_whom_an_event_concerns_is_what_its_source_says(found: Events) -> None:
    regions = {"a": ("eu",), "b": ("us",)}
    whom = concerned([source for source, _ in found], roster(), BASIC, regions)
    for (source, _), one in zip(found, whom, strict=True):
        names = [NAMES[series % len(NAMES)] for series in one.series.tolist()]
        expected = [name for name in NAMES if source.concerns(name, regions.get(name, ()))]
        assert names == expected * len(BASIC)
        for series, multiplier in zip(one.series.tolist(), one.multiplier.tolist(), strict=True):
            kind = BASIC[series // len(NAMES)].kind
            assert np.array_equal(multiplier, source.multiplier.get(kind, np.nan), equal_nan=True)


zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
# Local times, many of them near where clocks change.
days = st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25"])
starts = st.builds(
    lambda day, after_s: datetime.fromisoformat(day) + timedelta(seconds=after_s),
    days,
    st.sampled_from([7800, 8100, 9000, 9900, 10_800]) | st.integers(-86_400, 86_400),
)


def span_of(zone: str, start: datetime, **end: object) -> tuple[float, float]:
    """Return when an event takes place that a file tells of."""
    faults = Faults()
    document = {"events": [{"name": "x", "start": start, "timezone": zone, **end}]}
    (source,) = event_sources(document, faults, read=lambda _: b"")
    assert source.span_s is not None
    return source.span_s


@given(zones, starts, st.integers(1, 30 * 86_400))
def test_a_length_in_seconds_is_exact_wherever_clocks_change(
    zone: str, start: datetime, lasts_s: int
) -> None:
    start_s, end_s = span_of(zone, start, duration_s=float(lasts_s))
    assert end_s - start_s == lasts_s


@given(zones, starts, st.integers(1, 120).map(lambda minutes: 60 * minutes))
def test_an_end_that_clocks_show_is_after_the_start_and_an_hour_off_at_most(
    zone: str, start: datetime, shown_s: int
) -> None:
    start_s, end_s = span_of(zone, start, end=start + timedelta(seconds=shown_s))
    assert end_s > start_s
    assert abs(end_s - start_s - shown_s) <= 3600.0


ratios = st.floats(0.001, 1000.0)


def taught(found: Sequence[float]) -> float:
    learned = Learned.nothing(4)
    one = np.array([2])
    for ratio in found:
        learned = learned.settled(one, one, np.array([ratio]))
    return float(learned.multiplier(one, one)[0])


@given(st.lists(ratios, min_size=1, max_size=20))
def test_what_is_learned_is_between_none_and_the_most_that_was_seen(found: list[float]) -> None:
    seen = np.clip([1.0, *found], LEAST_RATIO, MOST_RATIO)
    assert seen.min() * (1 - 1e-9) <= taught(found) <= seen.max() * (1 + 1e-9)


@given(st.lists(st.floats(1.1, 20.0), min_size=1, max_size=20))
def test_an_occurrence_that_did_not_happen_lowers_what_is_learned(found: list[float]) -> None:
    assert 1.0 < taught([*found, 1.0]) < taught(found)


@given(st.floats(1.1, 20.0), st.integers(1, 20))
def test_the_oftener_the_same_is_seen_the_closer_to_it_is_what_is_learned(
    ratio: float, count: int
) -> None:
    assert taught([ratio] * count) < taught([ratio] * (count + 1)) < ratio


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), ratios), max_size=12))
def test_pairs_learn_apart_from_each_other(found: list[tuple[int, int, float]]) -> None:
    learned = Learned.nothing(4)
    for event, series, ratio in found:
        learned = learned.settled(np.array([event]), np.array([series]), np.array([ratio]))
    for event in range(4):
        for series in range(4):
            own = [ratio for e, s, ratio in found if (e, s) == (event, series)]
            pair = np.array([event]), np.array([series])
            assert learned.occurrences(*pair).tolist() == [len(own)]
            np.testing.assert_allclose(learned.multiplier(*pair), taught(own), rtol=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), ratios), max_size=12),
    st.permutations([-1, 0, 1, 2, 3]),
)
def test_what_is_learned_follows_the_series(
    found: list[tuple[int, int, float]], order: list[int]
) -> None:
    learned = Learned.nothing(4)
    for event, series, ratio in found:
        learned = learned.settled(np.array([event]), np.array([series]), np.array([ratio]))
    positions = np.array(order[:3])
    moved = learned.rearranged(positions)
    for event in range(4):
        for place, series in enumerate(positions.tolist()):
            now = moved.multiplier(np.array([event]), np.array([place]))
            before = learned.multiplier(np.array([event]), np.array([max(series, 0)]))
            assert now == (before if series >= 0 else 1.0)
