"""Laws of rows on a grid: a wrong clock moves nobody but who had it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.grid import NOWHERE, placed
from agent.tenant import Bools, Floats

STEP_S, BEGAN_S = 60.0, 1_700_000_000.0
GAPS = st.lists(st.sampled_from([1, 1, 1, 1, 2, 7, 3000]), min_size=1, max_size=60)
LONG_AGO = st.floats(0.0, BEGAN_S - 1.0)
TO_COME = st.floats(1.0, 8e10).map(lambda later_s: BEGAN_S * 3 + later_s)


def merged(right: Floats, wrong: list[tuple[int, float]]) -> tuple[Floats, Bools]:
    """Return rows, each wrong one before the right row of its number; say which those are."""
    rows = [(at, 1, float(one)) for at, one in enumerate(right)]
    rows += [(at, 0, one) for at, one in wrong]
    rows.sort(key=lambda row: row[:2])
    return np.array([row[2] for row in rows]), np.array([row[1] == 0 for row in rows])


def check(right: Floats, wrong: list[tuple[int, float]]) -> None:
    now_s = float(right[-1]) + 10.0
    alone, alone_s = placed(right, STEP_S, now_s=now_s)
    rows, is_wrong = merged(right, wrong)
    places, last_s = placed(rows, STEP_S, now_s=now_s)
    after = int(is_wrong[::-1].argmin())  # each that came last takes a step of its own
    assert (places[~is_wrong] - after).tolist() == alone.tolist()
    assert last_s == alone_s + after * STEP_S
    taken = places[is_wrong & (places != NOWHERE)].tolist()
    assert len(set(taken)) == len(taken)
    assert not set(taken) & set(places[~is_wrong].tolist())
    kept = places[places != NOWHERE]
    assert (np.diff(kept) <= 0).all(), "rows stay in the order of writing"


@given(data=st.data(), gaps=GAPS)
def test_rows_of_one_wrong_clock_anywhere_move_no_other(
    data: st.DataObject, gaps: list[int]
) -> None:
    """Also where they are many: a clock that starts anew with each boot."""
    right = BEGAN_S + STEP_S * np.cumsum(gaps)
    clock_s = data.draw(LONG_AGO)
    at = data.draw(st.lists(st.integers(0, len(right)), max_size=len(right) - 1))
    check(right, [(one, clock_s) for one in at])


@given(data=st.data(), gaps=GAPS)
def test_rows_of_any_wrong_clocks_move_no_other_while_they_are_fewer(
    data: st.DataObject, gaps: list[int]
) -> None:
    """Fewer than what comes before them: else who is right cannot be told."""
    right = BEGAN_S + STEP_S * np.cumsum(gaps)
    most = (len(right) - 1) // 2
    at = sorted(data.draw(st.lists(st.integers(most, len(right)), max_size=most)))
    check(right, [(one, data.draw(LONG_AGO | TO_COME)) for one in at])


@given(gaps=GAPS, back_s=st.floats(0.0, 1e6))
def test_a_clock_that_is_set_back_hides_no_more_than_its_rows(
    gaps: list[int], back_s: float
) -> None:
    right = BEGAN_S + STEP_S * np.cumsum(gaps)
    places, _ = placed(np.concatenate((right + back_s, right)), STEP_S)
    kept = places[places != NOWHERE]
    assert (np.diff(kept) <= 0).all()
    assert len(kept) >= len(right)
