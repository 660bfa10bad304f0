"""agent.fairness: filling by weight, in numbers that can be checked by hand."""

import numpy as np
import pytest
from samples import column

from agent.fairness import filled


@pytest.mark.parametrize(
    ("amount", "room", "weight", "expected"),
    [
        pytest.param(6, (1, 4, 9), (1, 1, 1), (1, 2.5, 2.5), id="the full one leaves its rest"),
        pytest.param(6, (9, 9, 9), (1, 2, 3), (1, 2, 3), id="by weight"),
        pytest.param(6, (9, 1, 9), (1, 2, 3), (1.25, 1, 3.75), id="the rest by weight again"),
        pytest.param(99, (1, 4, 9), (1, 1, 1), (1, 4, 9), id="never more than there is room"),
        pytest.param(6, (9, 9, 9), (0, 1, 1), (0, 3, 3), id="weight 0 takes no part"),
        pytest.param(0, (1, 4, 9), (1, 1, 1), (0, 0, 0), id="nothing to divide"),
        pytest.param(-1, (1, 4, 9), (1, 1, 1), (0, 0, 0), id="a debt divides nothing"),
        pytest.param(6, (0, 0, 0), (1, 1, 1), (0, 0, 0), id="no room"),
        pytest.param(6, (9, 9), (0, 0), (0, 0), id="no weight"),
        pytest.param(6, (), (), (), id="nobody"),
    ],
)
def test_filling(
    amount: float, room: tuple[float], weight: tuple[float], expected: tuple[float]
) -> None:
    grant = filled(amount, room=column(*room), weight=column(*weight))
    assert grant == pytest.approx(column(*expected))


def test_an_amount_just_below_the_sum_of_rooms_fills_them() -> None:
    room, weight = np.tile([1e6, 0.1, 7.3], 10), np.tile([1e3, 1e-3, 1.0], 10)
    amount = float(np.nextafter(room.sum(), 0))
    assert filled(amount, room=room, weight=weight).sum() == pytest.approx(amount, rel=1e-12)


@pytest.mark.parametrize(
    ("room", "weight"), [((-1.0,), (1.0,)), ((np.inf,), (1.0,)), ((np.nan,), (1.0,)), ((1,), (-1,))]
)
def test_room_without_bounds_or_a_negative_weight_is_refused(
    room: tuple[float], weight: tuple[float]
) -> None:
    with pytest.raises(ValueError, match="room must be finite"):
        filled(1.0, room=column(*room), weight=column(*weight))
