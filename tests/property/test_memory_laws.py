"""Laws of safety rule 4: what is taken for unreclaimable errs on the side of the tenant."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enforce.memory import STAT_KEYS, unreclaimable_bytes

sizes = st.integers(0, 1 << 40).map(float)
PLACE = {key.decode(): place for place, key in enumerate(STAT_KEYS)}


@st.composite
def stats(draw: st.DrawFn) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """memory.stat of one tenant: anon and shmem lie on the anon lists, or are locked."""
    evictable, locked, locked_cache = draw(sizes), draw(sizes), draw(sizes)
    shmem = draw(st.floats(0.0, 1.0)) * (evictable + locked)
    active = draw(st.floats(0.0, 1.0)) * evictable
    row = [draw(sizes) for _ in STAT_KEYS]
    row[:5] = [
        evictable + locked - shmem,
        shmem,
        evictable - active,
        active,
        locked + locked_cache,
    ]
    return np.array([row])


@given(stats())
def test_without_swap_everything_swap_backed_and_locked_counts_once(
    stat: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    lists = stat[0, PLACE["inactive_anon"]] + stat[0, PLACE["active_anon"]]
    expected = lists + stat[0, PLACE["unevictable"]] + stat[0, 5:].sum()
    np.testing.assert_allclose(unreclaimable_bytes(stat, 0.0)[0], expected, rtol=1e-9)


@given(stats(), sizes, sizes)
def test_more_swap_never_raises_the_floor_and_never_frees_what_is_locked(
    stat: np.ndarray[tuple[int, ...], np.dtype[np.float64]], one: float, other: float
) -> None:
    little, much = sorted((one, other))
    with_much = unreclaimable_bytes(stat, much)[0]
    assert with_much <= unreclaimable_bytes(stat, little)[0]
    assert with_much >= stat[0, PLACE["unevictable"]] + stat[0, 5:].sum()


@given(stats(), st.sampled_from(["anon", "shmem", "sock", "slab_unreclaimable"]), sizes, sizes)
def test_more_held_memory_never_lowers_the_floor(
    stat: np.ndarray[tuple[int, ...], np.dtype[np.float64]], key: str, more: float, swap: float
) -> None:
    grown = stat.copy()
    grown[0, PLACE[key]] += more
    if key in ("anon", "shmem"):
        grown[0, PLACE["active_anon"]] += more
    floor = unreclaimable_bytes(stat, swap)[0]
    assert unreclaimable_bytes(grown, swap)[0] >= floor * (1 - 1e-12)
