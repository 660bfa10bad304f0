"""How many tenants fit while each class is served as promised."""

import numpy as np
import pytest
from cases import case, drawn

from agent.allocation import Mode
from agent.backtest.contest import OURS, Terms
from agent.backtest.density import SLO, Promises, Queue, density_of, queue_of
from agent.backtest.figures import figures_of
from agent.backtest.ours import course_of, our_steps
from agent.backtest.protocol import Case


def terms(*policies: str, mode: Mode = Mode.STRICT) -> Terms:
    return Terms((1.0,), mode, policies, are_fitted=False)


def queue(demand: np.ndarray, capacity: float, warm_up: int = 1) -> Queue:
    whole = case(demand, warm_up=warm_up)
    return queue_of(whole, capacity=capacity, most=demand.shape[1])


def test_weights_hold_as_many_as_the_capacity_serves() -> None:
    """Each wants 0.5 of 4.2 cores all the time: eight fit, the ninth is one too many."""
    steady = np.full((30, 12), 0.5)
    found = density_of(queue(steady, 4.2), terms("weights", "oracle", "static"), lambda _: None)
    # static: the ceilings of 4 cores are scaled to 4.2 / n, and 4.2 / 8 is just enough.
    assert found.tenants == {"weights": 8, "oracle": 8, "static": 8}
    assert (found.most, found.capacity) == (12, 4.2)


def test_all_that_are_tried_may_fit_and_none() -> None:
    steady = np.full((30, 12), 0.5)
    for capacity, count in ((100.0, 12), (0.4, 0)):
        found = density_of(queue(steady, capacity), terms("weights"), lambda _: None)
        assert found.tenants == {"weights": count}


def test_a_promise_is_broken_by_one_step_more_than_it_allows() -> None:
    """Gold is served in 99.5 % of 1,000 steps: five may be missed, pooled over two tenants."""
    demand = np.ones((501, 2))
    host = case(demand, classes=[1, 1])
    served = host.evaluated.copy()
    served[:3, 0] = served[:2, 1] = 0.5
    assert Promises(host).are_kept(host.evaluated, served)
    served[2, 1] = 0.5
    assert not Promises(host).are_kept(host.evaluated, served)
    promises = Promises(host)
    assert promises.are_kept(host.evaluated[:2], served[:2])
    assert not promises.are_kept(host.evaluated[2:], served[2:])


def test_a_class_without_tenants_is_promised_nothing() -> None:
    host = case(np.ones((50, 1)), classes=[2])
    assert Promises(host).are_kept(host.evaluated, host.evaluated)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_trial_that_ends_early_says_what_the_whole_replay_would(mode: Mode) -> None:
    line = queue(np.minimum(drawn(80, 14), 0.6), 3.5, warm_up=30)
    found = density_of(line, terms(OURS, mode=mode), lambda _: None).tenants[OURS]

    def fits(count: int) -> bool:
        host: Case = line.first(count)
        course = course_of(host, our_steps(host, 3.5, mode, None), 3.5, lambda _: None)
        nobody = np.zeros(host.evaluated.shape, dtype=np.bool_)
        by_class = figures_of(host, course, 3.5, nobody).by_class
        return all(
            by_class[name].tenants == 0 or by_class[name].attainment_fraction >= slo - 1e-12
            for name, slo in SLO.items()
        )

    assert 1 < found < 14
    assert fits(found)
    assert not fits(found + 1)


def test_every_beginning_of_the_queue_has_the_shares_of_the_protocol() -> None:
    line = queue(drawn(10, 60), 1.0)
    for count in (10, 30, 60):
        assert np.bincount(line.first(count).class_of).tolist() == [
            count // 5,
            3 * count // 10,
            count // 2,
        ]


def test_the_order_is_drawn_by_seed() -> None:
    whole = case(drawn(10, 60))
    lines = [queue_of(whole, capacity=1.0, most=40).case.tenants for _ in range(2)]
    assert lines[0] == lines[1] != whole.tenants[:40]
    assert len(set(lines[0])) == 40
