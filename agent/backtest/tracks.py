"""Which tenants of a host are shown step by step, and their part of tidegate's run.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.backtest.ours import Course
from agent.backtest.protocol import Case
from agent.tenant import Floats, Ints

_LEAST = 1e-12
_WORST = "had the most demand unmet"


@dataclass(frozen=True, slots=True)
class Track:
    """One tenant's way through the steps that count, shape (steps,); `why` it is shown."""

    tenant: str
    qos: str
    why: str
    demand: Floats
    served: Floats
    limit: Floats
    guaranteed: Floats
    expected: Floats
    upper: Floats
    balance: Floats

    @property
    def unmet(self) -> Floats:
        """Return what was not served; 0 while the tenant was absent."""
        return np.nan_to_num(np.maximum(self.demand - self.served, 0.0))

    @property
    def unmet_fraction(self) -> float:
        """Return what was not served of all that it wanted."""
        wanted = float(np.nansum(self.demand))
        return float(self.unmet.sum()) / wanted if wanted > 0 else 0.0


def tracks_of(case: Case, course: Course, names: Sequence[str] = ()) -> tuple[Track, ...]:
    """Return the tenants that are named, or three that tell most: worst, spiky, and a median one.

    Worst is who had most left unmet; spiky is whose demand moves most from step to step, median who
    stands in the middle by the part of its demand that was unmet, both of the half that wants most.
    """
    if names:
        return tuple(_track(case, course, case.tenants.index(name), "chosen") for name in names)
    wanted = np.nansum(case.evaluated, axis=0)
    missing = np.nansum(case.evaluated - course.served, axis=0)
    busy = np.flatnonzero(wanted >= np.median(wanted))
    part = missing[busy] / np.maximum(wanted[busy], _LEAST)
    moves = np.nansum(np.abs(np.diff(case.evaluated[:, busy], axis=0)), axis=0)
    restless = moves / np.maximum(wanted[busy], _LEAST)
    ranked = {
        _WORST if missing.any() else "nobody had any demand unmet; it wanted most": np.lexsort(
            (-wanted, -missing)
        ),
        "its demand moves most from step to step": busy[_downwards(restless)],
        "in the middle by the part of its demand that was unmet": busy[_from_middle(part)],
    }
    chosen: dict[int, str] = {}
    for why, order in ranked.items():
        place = next((place for place in order.tolist() if place not in chosen), None)
        if place is not None:
            chosen[place] = why
    return tuple(_track(case, course, place, why) for place, why in chosen.items())


def _downwards(column: Floats) -> Ints:
    return np.argsort(-column, kind="stable")


def _from_middle(column: Floats) -> Ints:
    return np.roll(np.argsort(column, kind="stable"), -(len(column) // 2))


def _track(case: Case, course: Course, place: int, why: str) -> Track:
    return Track(
        tenant=case.tenants[place],
        qos=case.classes[case.class_of[place]].name,
        why=why,
        demand=case.evaluated[:, place],
        served=course.served[:, place],
        limit=course.limit[:, place],
        guaranteed=course.guaranteed[:, place],
        expected=course.expected[:, place],
        upper=course.upper[:, place],
        balance=course.balance[:, place],
    )
