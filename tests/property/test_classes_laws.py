"""Laws of what is done about classes: it leads to what is wanted, and lowers before it raises."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enforce.links.classes import FIRST_TENANT, Classes, Update, difference, minors_for

minors = st.lists(st.integers(1, 60), unique=True, max_size=20)
rates = st.integers(125, 10_000_000_000)


@st.composite
def updates(draw: st.DrawFn) -> Update:
    chosen = [FIRST_TENANT + minor for minor in draw(minors)]
    columns = [[draw(rates) for _ in chosen] for _ in range(2)]
    return Update(np.array(chosen, dtype=np.int64), *map(floats, columns))


def floats(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


def classes(update: Update) -> Classes:
    nothing = np.zeros(len(update))
    rest = dict.fromkeys(("bytes", "packets", "drops", "overlimits", "backlog_bytes"), nothing)
    ids = update.minor
    return Classes(minor=ids, leaf=ids, rate=update.rate, ceil=update.ceil, **rest)


@given(wanted=updates(), found=updates())
def test_what_is_done_leads_to_what_is_wanted_and_no_further(wanted: Update, found: Update) -> None:
    step = difference(wanted, classes(found))
    state = dict(zip(found.minor.tolist(), zip(found.rate, found.ceil, strict=True), strict=True))
    for minor in step.removed.tolist():
        del state[minor]
    for update in (step.changed, step.created):
        for minor, rate, ceil in zip(update.minor, update.rate, update.ceil, strict=True):
            assert state.get(minor) != (rate, ceil)
            state[int(minor)] = (rate, ceil)
    aim = dict(zip(wanted.minor.tolist(), zip(wanted.rate, wanted.ceil, strict=True), strict=True))
    assert state == aim
    again = difference(wanted, classes(wanted))
    assert len(again.changed) + len(again.created) + len(again.removed) == 0
    assert set(step.without_leaf.tolist()) == set(step.created.minor.tolist())


@given(wanted=updates(), found=updates())
def test_ceils_fall_before_others_rise(wanted: Update, found: Update) -> None:
    there = classes(found)
    changed = difference(wanted, there).changed
    rise = changed.ceil - there.of(changed.minor).ceil
    assert (np.diff(rise) >= 0).all()


@given(st.lists(st.none() | st.integers(0, 70_000), max_size=60))
def test_no_two_tenants_share_a_class(known: list[int | None]) -> None:
    given_ = minors_for(known)
    assert len(set(given_)) == len(known)
    assert all(FIRST_TENANT <= minor <= 0xFFFF for minor in given_)
    assert minors_for(list(given_)) == given_


@given(
    known=st.lists(st.none() | st.integers(0, 70_000), max_size=60),
    others=st.sets(st.integers(FIRST_TENANT, FIRST_TENANT + 80), max_size=60),
)
def test_a_newcomer_gets_no_class_that_is_set_for_another(
    known: list[int | None], others: set[int]
) -> None:
    for before, minor in zip(known, minors_for(known, others), strict=True):
        assert minor == before or minor not in others
