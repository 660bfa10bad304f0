"""agent.plan: which values are written in a tick, how far they go, and in which order."""

import numpy as np
import pytest
from samples import INF, column

from agent.plan import (
    Pace,
    Standing,
    enforceable,
    headroom,
    raises,
    reductions,
    stepped,
)
from enforce.columns import Control, DiskControl

CPU, MEMORY = Control.CPU_MAX, Control.MEMORY_HIGH
PACE = Pace(dead_band_fraction=0.02, ramp_down_fraction_per_s=0.25)


def aimed(
    in_force: tuple[float, float],
    wanted: tuple[float, float],
    *,
    elapsed_s: float = 1.0,
    free: float = 0.0,
    **bounds: tuple[float, float],
) -> list[float]:
    """Return what two tenants' limits aim for; both use all that they may unless said."""
    standing = Standing(
        in_force=column(*in_force),
        guaranteed=column(*bounds.get("guaranteed", (0, 0))),
        ceiling=column(*bounds.get("ceiling", (10, 10))),
        in_use=column(*bounds.get("in_use", in_force)),
        is_hit=np.array(bounds.get("hit", (0, 0)), dtype=np.bool_),
        least=column(*bounds.get("least", (0, 0))),
        own=column(*bounds.get("own", in_force)),
    )
    target = stepped(column(*wanted), standing, free=free, elapsed_s=elapsed_s, pace=PACE)
    return [round(float(value), 9) for value in target]


@pytest.mark.parametrize(
    ("found", "target"),
    [
        pytest.param(aimed((1, 1), (3, 1)), [3, 1], id="up at once"),
        pytest.param(aimed((4, 1), (1, 1)), [3, 1], id="down by a quarter a second"),
        pytest.param(aimed((4, 1), (1, 1), elapsed_s=2), [2.25, 1], id="and another"),
        pytest.param(aimed((4, 1), (1, 1), elapsed_s=0), [4, 1], id="not without time"),
        pytest.param(aimed((4, 1), (3.5, 1)), [3.5, 1], id="no further than wanted"),
        pytest.param(aimed((1, 1), (1.015, 0.985)), [1, 1], id="small changes are left out"),
        pytest.param(
            aimed((4, 1), (1, 3), guaranteed=(0, 3)), [2, 3], id="a guarantee does not wait"
        ),
        pytest.param(aimed((4, 1), (1, 1), least=(0, 3)), [2, 3], id="nor what must be in force"),
        pytest.param(
            aimed((4, 100), (1, 100), least=(3.5, 101)),
            [3.5, 101],
            id="whatever was decided, and however little it is",
        ),
        pytest.param(
            aimed((9, 1), (1, 1), own=(4, 1)), [3, 1], id="a limit that was taken off is back"
        ),
        pytest.param(
            aimed((9, 9), (1, 5), own=(4, 2)), [3, 2], id="both are, and none higher than it was"
        ),
        pytest.param(
            aimed((4, 1), (1, 3), guaranteed=(0, 3), free=2), [3, 3], id="but where there is room"
        ),
        pytest.param(
            aimed((4, 1), (1, 3), hit=(0, 1), in_use=(2.5, 1)), [2.5, 3], id="nor who is held"
        ),
        pytest.param(
            aimed((4, 1), (1, 3), hit=(0, 1), in_use=(4, 1)), [3, 3], id="for what is in use"
        ),
        pytest.param(
            aimed((1, 1), (0.99, 1.01), guaranteed=(0, 1.01)), [0.99, 1.01], id="however small"
        ),
        pytest.param(
            aimed((1, 1), (0.99, 1), ceiling=(0.99, 9)), [0.99, 1], id="nor does a lowered ceiling"
        ),
        pytest.param(
            aimed((1, 1), (0.99, 1), free=-0.01), [0.99, 1], id="nor an overcommitted host"
        ),
        pytest.param(
            aimed((1, 1), (0.9995, 1), free=-0.01), [1, 1], id="but for what the kernel rounds"
        ),
        pytest.param(aimed((4, 1), (3.95, 1.05)), [3.95, 1.05], id="nor what a raise waits for"),
        pytest.param(aimed((4, 1), (3.95, 1.05), free=1), [4, 1.05], id="but where there is room"),
        pytest.param(
            aimed((1, 1), (1.01, 1), ceiling=(1.01, 9)), [1.01, 1], id="nor the last step up"
        ),
    ],
)
def test_targets(found: list[float], target: list[float]) -> None:
    assert found == pytest.approx(target)


def test_reductions_come_largest_drop_first() -> None:
    target, in_force = column(1, 5, 2, 1), column(2, 4, 5, 9)
    may_write = np.array([True, True, True, False])
    changes = reductions(CPU, target, in_force, may_write)
    assert changes.tenant.tolist() == [2, 0]
    assert changes.before.tolist() == [5, 2]
    assert changes.after.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("room", "tenants", "after"),
    [
        pytest.param(3.0, [1, 0], [2.0, 3.0], id="all fits"),
        pytest.param(1.0, [0, 1], [1.4, 1.6], id="the guarantee first, the rest in proportion"),
        pytest.param(0.5, [1], [1.5], id="only the guarantee"),
        pytest.param(0.0, [], [], id="no room"),
        pytest.param(-1.0, [], [], id="less than none"),
    ],
)
def test_raises_wait_for_room(room: float, tenants: list[int], after: list[float]) -> None:
    """Both would rise, from 1 to 3 and to 2; half of the second's rise is guaranteed."""
    changes = raises(
        CPU,
        column(3, 2),
        column(1, 1),
        guaranteed=column(0, 1.5),
        least=column(0, 0),
        headroom=room,
    )
    assert changes.tenant.tolist() == tenants
    assert changes.after == pytest.approx(after)


@pytest.mark.parametrize(
    ("least", "after"),
    [
        pytest.param((0, 2), [1.5, 2.0], id="what it must have first, then the guarantee"),
        pytest.param((2, 2), [2.0, 2.0], id="both must, though there is not so much room"),
        pytest.param((9, 0), [3.0], id="no further than aimed at"),
    ],
)
def test_no_room_is_needed_for_what_must_be_in_force(
    least: tuple[float, float], after: list[float]
) -> None:
    """Both would rise by 2 and 1, the first by 1 for a guarantee, and there is room for 1.5."""
    changes = raises(
        CPU,
        column(3, 2),
        column(1, 1),
        guaranteed=column(2, 0),
        least=column(*least),
        headroom=1.5,
    )
    order = np.argsort(changes.tenant)
    assert changes.after[order] == pytest.approx(after)


@pytest.mark.parametrize(
    ("before", "now", "least", "room"),
    [
        pytest.param((3, 3), (3, 3), 0, 4.0, id="up to what is allowed"),
        pytest.param((8, 6), (7, 6), 0, 0.0, id="overcommitted: not for what nobody guaranteed"),
        pytest.param((9, 4), (5, 4), 0, 1.0, id="what reductions have freed of it"),
        pytest.param((9, 2), (7, 2), 0, 2.0, id="for a guarantee, to where the sum was"),
        pytest.param((14, 1), (10, 1), 0, 3.0, id="overcommitted: for a guarantee, what was freed"),
        pytest.param((14, 1), (10, 1), 5, 4.0, id="and for what must be in force at once"),
        pytest.param((14, 1), (14, 1), 5, 0.0, id="and nothing that was not"),
    ],
)
def test_headroom(
    before: tuple[float, float], now: tuple[float, float], least: float, room: float
) -> None:
    """Ten are allowed; 4 of the second's target of 5 are guaranteed."""
    found = headroom(
        column(0, 5),
        column(*before),
        column(*now),
        guaranteed=column(0, 4),
        least=column(0, least),
        allowed=10.0,
    )
    assert found == pytest.approx(room)


def test_limits_are_at_least_what_the_kernel_takes() -> None:
    assert enforceable(CPU, column(0, 0.5, INF)).tolist() == [0.01, 0.5, INF]
    assert enforceable(MEMORY, column(0, 2.0**21)).tolist() == [2.0**20, 2.0**21]


def test_limits_of_a_disk_are_whole_and_leave_room_for_a_large_request() -> None:
    ops, rate = DiskControl("sda", "riops"), DiskControl("sda", "wbps")
    assert enforceable(ops, column(209.7, 3.0, 16.2)).tolist() == [209, 16, 16]
    assert enforceable(rate, column(1e6 + 0.5, 0.0)).tolist() == [1e6, 1 << 18]


def test_a_part_of_an_operation_that_is_guaranteed_is_not_written_for_ever() -> None:
    wanted = enforceable(DiskControl("sda", "riops"), column(209.7, 50.0))
    assert aimed((209, 50), (wanted[0], wanted[1]), guaranteed=(209.7, 50), ceiling=(9e9, 9e9)) == [
        209,
        50,
    ]
