"""enforce.closeness: of whom it is read how long they wait for a disk."""

import numpy as np
import pytest

from enforce.closeness import close_to_limits
from enforce.columns import Floats

MIB, INF, NAN = float(1 << 20), float("inf"), float("nan")


def bytes_written(*values: float) -> Floats:
    """Return one disk's columns in which only bytes written say anything."""
    columns = np.full((1, 4, len(values)), NAN)
    columns[0, 1] = values
    return columns


def test_who_uses_half_of_a_limit_is_close_and_so_is_who_has_a_small_one() -> None:
    before = bytes_written(0, 0, 0, 0, 0, NAN)
    counted = bytes_written(9 * MIB, 8 * MIB, 90 * MIB, 0, 0, 9 * MIB)
    limited = bytes_written(9 * MIB, 9 * MIB, INF, 1 * MIB, 9 * MIB, 9 * MIB)
    found = close_to_limits(counted, before, limited, elapsed_s=2.0, most=9, tick=0)
    assert found.tolist() == [0, 3]
    nobody = close_to_limits(counted, before, limited, elapsed_s=NAN, most=9, tick=0)
    assert nobody.tolist() == [3]


@pytest.mark.parametrize("turn", range(5))
def test_where_these_are_many_each_has_its_turn(turn: int) -> None:
    limited = bytes_written(*[MIB] * 10)
    found = close_to_limits(limited * 0, limited * 0, limited, elapsed_s=1.0, most=4, tick=2 * turn)
    assert len(found) == 4
    assert found[0] == (4 * turn) % 10


def test_without_disks_nobody_is_close() -> None:
    nothing = np.empty((0, 4, 3))
    found = close_to_limits(nothing, nothing, nothing, elapsed_s=1.0, most=4, tick=0)
    assert found.tolist() == []
