"""enforce.memory: what of a tenant cannot be reclaimed."""

import numpy as np
import pytest

from enforce.memory import STAT_KEYS, unreclaimable_bytes


def unreclaimable(swap_room: float = 0.0, **stat: float) -> float:
    row = [stat.get(key.decode(), 0.0) for key in STAT_KEYS]
    return float(unreclaimable_bytes(np.array([row]), swap_room)[0])


@pytest.mark.parametrize(
    ("stat", "swap_room", "expected"),
    [
        ({"anon": 60, "inactive_anon": 60}, 0, 60),
        ({"anon": 60, "inactive_anon": 60}, 20, 40),  # free swap takes its part
        ({"anon": 60, "inactive_anon": 60}, 500, 0),
        ({"shmem": 60, "active_anon": 60}, 0, 60),  # tmpfs: it counts as `file`
        ({"file": 60, "inactive_file": 60}, 0, 0),  # cache goes when it is asked to
        ({"anon": 60, "unevictable": 60}, 0, 60),  # locked: in both, counted once
        ({"anon": 60, "unevictable": 60}, 500, 60),  # ... and never swapped
        ({"anon": 60, "active_anon": 40, "unevictable": 20}, 500, 20),
        ({"file": 30, "unevictable": 30}, 0, 30),  # locked cache
        ({"anon": 10, "active_anon": 10, "slab_unreclaimable": 3, "kernel_stack": 4}, 0, 17),
        ({"pagetables": 5, "sock": 6, "percpu": 7, "vmalloc": 8}, 500, 26),
        ({"sec_pagetables": 9, "zswap": 1}, 500, 10),
    ],
)
def test_what_cannot_be_given_back(
    stat: dict[str, float], swap_room: float, expected: float
) -> None:
    assert unreclaimable(swap_room, **stat) == expected


def test_keys_that_an_older_kernel_lacks_count_as_nothing() -> None:
    row = np.array([[5.0, 6.0, 0.0, 11.0, 0.0] + [np.nan] * (len(STAT_KEYS) - 5)])
    assert unreclaimable_bytes(row, 0.0).tolist() == [11.0]


def test_without_memory_stat_it_is_unknowable() -> None:
    rows = np.full((1, len(STAT_KEYS)), np.nan)
    assert np.isnan(unreclaimable_bytes(rows, 0.0)).all()
