"""agent.holds: memory that limits must leave to its tenant, in numbers."""

import numpy as np
import pytest
from samples import INF, NAN, column, usage

from agent.holds import stuck_bytes, unyielding_bytes
from agent.tenant import Floats

MIB = float(1 << 20)


@pytest.mark.parametrize(
    ("held_mib", "stuck_mib"),
    [
        pytest.param(100, 116, id="with its margin"),
        pytest.param(0, 16, id="at least the margin"),
        pytest.param(1020, 1024, id="at most what the machine has"),
        pytest.param(NAN, 16, id="unknown is nothing"),
    ],
)
def test_what_cannot_be_taken_back(held_mib: float, stuck_mib: float) -> None:
    seen = usage(cores=[0.0], memory_unreclaimable_bytes=[held_mib * MIB])
    stuck = stuck_bytes(seen, margin_bytes=16 * MIB, machine_bytes=1024 * MIB)
    assert stuck.tolist() == [stuck_mib * MIB]


def test_what_reclaim_has_not_brought_to_its_limit_is_left_with_the_margin() -> None:
    """Up to a quarter of the margin beyond it is no more than the kernel's own slack."""
    held: Floats = np.array([100, 100, 100, 100, NAN]) * MIB
    high = column(80, 97, 100, INF, 80) * MIB
    seen = usage(cores=[0.0] * 5, memory_bytes=held.tolist())
    found = unyielding_bytes(seen, high, margin_bytes=16 * MIB)
    assert (found / MIB).tolist() == [116, 0, 0, 0, 0]
