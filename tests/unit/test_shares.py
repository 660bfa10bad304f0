"""agent.shares: weights by hand, and which small changes are worth a write."""

import numpy as np
import pytest
from samples import INF, MIB, NAN, column

from agent.shares import kernel_weights, lacking_fraction, moved_lows, moved_maxima, moved_weights
from enforce.columns import Control

ALL = np.ones(4, dtype=np.bool_)


@pytest.mark.parametrize("silvers", [1, 100, 1000, 3000, 10_000])
def test_a_platinum_floor_of_30_of_64_cores_stands_beside_thousands(silvers: int) -> None:
    share = np.append(np.full(silvers, 33.9 / silvers), 30.0)
    guaranteed = np.append(np.zeros(silvers), 30.0)
    weight = kernel_weights(share, guaranteed, 63.9)
    assert weight[-1] / weight.sum() * 63.9 >= 30.0 * 0.999
    assert lacking_fraction(weight, guaranteed, 63.9).max() <= 0.001


def test_what_weights_cannot_express_is_told() -> None:
    """Nine tenths of a host beside 10,000 tenants of at least weight 1 each."""
    guaranteed = np.append(np.zeros(10_000), 0.9)
    share = np.append(np.full(10_000, 1e-5), 0.9)
    lacking = lacking_fraction(kernel_weights(share, guaranteed, 1.0), guaranteed, 1.0)
    assert lacking[-1] == pytest.approx(1 - 0.5 / 0.9)


@pytest.mark.parametrize(
    ("share", "weight"), [(5.0, 5000), (1.234, 1234), (0.0014, 1), (0.0, 1), (10.0, 10000)]
)
def test_few_tenants_weights_are_ten_thousandths_of_the_capacity(share: float, weight: int) -> None:
    assert kernel_weights(column(share, 10 - share), column(0, 0), 10.0)[0] == weight


def test_without_capacity_all_weights_are_the_kernels_default() -> None:
    assert kernel_weights(column(0, 0), column(0, 0), 0.0).tolist() == [100, 100]


@pytest.mark.parametrize(
    ("in_force", "guaranteed", "moved"),
    [
        pytest.param((100, 104, 120, NAN), (0, 0, 0, 0), [2], id="only what leaves the band"),
        pytest.param((95, 100, 100, 100), (0.25, 0, 0, 0), [0], id="or a guarantee needs"),
        pytest.param((100, 104, 106, 95), (0.25, 0, 0, 0), [1, 2], id="from who is above"),
        pytest.param((95, 100, 100, 100), (0.2, 0, 0, 0), [], id="but not what it does not"),
    ],
)
def test_weights_move(
    in_force: tuple[float, ...], guaranteed: tuple[float, ...], moved: list[int]
) -> None:
    """All four are to be 100: a quarter of one core each."""
    changes = moved_weights(
        np.full(4, 100.0), column(*in_force), ALL, guaranteed=column(*guaranteed), capacity=1.0
    )
    assert sorted(changes.tenant.tolist()) == moved


def test_protection_rises_at_once_and_falls_outside_a_tenth() -> None:
    in_force = column(99, 99.95, 105, 125)
    changes = moved_lows(np.full(4, 100.0), in_force, ALL)
    assert sorted(changes.tenant.tolist()) == [0, 3]


def test_memory_max_is_written_only_where_it_is_configured_and_differs() -> None:
    wanted, in_force = column(INF, MIB, MIB, MIB, MIB), column(5.0, INF, MIB + 4096, NAN, 9 * MIB)
    may_write = np.array([True, True, True, True, False])
    found = moved_maxima(wanted, in_force, may_write)
    assert found.control is Control.MEMORY_MAX
    assert found.tenant.tolist() == [1]
    assert found.after.tolist() == [MIB]
