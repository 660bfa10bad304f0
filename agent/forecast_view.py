"""What `tidegate forecast` shows of one tenant: its history, and what is forecast now.  Pure.

The past was recorded, the forecast comes from the running agent; either may be missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np

from agent.amounts import unit_of
from agent.answers import ResourceForecast, TenantForecast
from agent.history import Past
from agent.tenant import Bools, Floats, Resource

_SHOWN_LEVELS = ("bound_80", "bound_95", "bound_99")


class Point(msgspec.Struct, frozen=True):
    """One step: what was wanted in it, and what had been forecast of it; null is unknown.

    `bound_95` is of the maximum over the longest horizon, of which this step is the first.
    """

    ended_at: str
    demand: float | None
    expected: float | None
    bound_95: float | None


class Answer(msgspec.Struct, frozen=True):
    """What `--json` prints; of `windows` shown, horizons that ended, the bound of `held` held."""

    tenant: str
    resource: str
    unit: str
    step_s: float | None
    made_at: str | None
    forecaster: str | None
    forecast: ResourceForecast | None
    windows: int
    held: int
    history: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One tenant's resource in time; columns (steps,), NaN where nothing is known."""

    tenant: str
    resource: Resource
    step_s: float
    ended_at_s: Floats  # UNIX time
    demand: Floats
    expected: Floats
    bound: Floats
    made_at_s: float  # when the last step ended that the forecast knows; NaN without one
    forecaster: str | None
    forecast: ResourceForecast | None
    is_fine: bool  # a step is a step: not the mean of many, of which no bound was told

    @property
    def horizon_steps(self) -> int:
        """Return how many steps the longest horizon has; 0 where that is not known."""
        if self.forecast is None or not self.forecast.horizons or not self.step_s > 0:
            return 0
        return round(self.forecast.horizons[-1].horizon_s / self.step_s)

    @property
    def is_above(self) -> Bools:
        """Say which steps wanted more than the bound that stood before them."""
        return np.asarray(self.demand > self.bound)

    def held(self) -> tuple[int, int]:
        """Return how many bounds held, and how many horizons have been seen to their end.

        Where no agent ran there are no steps: what came after such a pause was not in the horizon.
        """
        steps = self.horizon_steps
        if not self.is_fine or steps < 1 or len(self.demand) < steps:
            return 0, 0
        ahead = np.lib.stride_tricks.sliding_window_view(self.demand, steps).max(axis=1)
        bound = self.bound[: len(ahead)]
        lasted_s = self.ended_at_s[steps - 1 :] - self.ended_at_s[: len(ahead)]
        is_whole = np.abs(lasted_s - (steps - 1) * self.step_s) <= self.step_s / 2
        is_known = is_whole & np.isfinite(ahead) & np.isfinite(bound)
        return int((ahead <= bound)[is_known].sum()), int(is_known.sum())

    def ahead(self) -> tuple[Floats, Floats]:
        """Return when each horizon ends (horizons,), and its bounds (levels, horizons)."""
        if self.forecast is None or not np.isfinite(self.made_at_s):
            return np.empty(0), np.empty((len(_SHOWN_LEVELS), 0))
        horizons = self.forecast.horizons
        ends: Floats = self.made_at_s + np.array([one.horizon_s for one in horizons], dtype=float)
        bounds = [[_float(getattr(one, name)) for one in horizons] for name in _SHOWN_LEVELS]
        return ends, np.array(bounds, dtype=np.float64).reshape(len(_SHOWN_LEVELS), -1)


def view_of(
    tenant: str,
    resource: Resource,
    past: Past | None,
    said: TenantForecast | None,
    *,
    now_s: float,
    is_fine: bool,
) -> View:
    """Put together what was recorded and what is forecast; `now_s` is UNIX time."""
    forecast = None if said is None else _of(resource, said.resources)
    made_s_ago = None if said is None or forecast is None else said.made_s_ago
    demand, expected, bound = _columns(past, tenant, resource)
    return View(
        tenant=tenant,
        resource=resource,
        step_s=np.nan if past is None else past.step_s,
        ended_at_s=np.empty(0) if past is None else past.ended_at_s,
        demand=demand,
        expected=expected,
        bound=bound,
        made_at_s=np.nan if made_s_ago is None else now_s - made_s_ago,
        forecaster=None if said is None else said.forecaster,
        forecast=forecast,
        is_fine=is_fine,
    )


def answer_of(view: View) -> Answer:
    """Return what `--json` prints."""
    held, windows = view.held()
    rows = zip(
        view.ended_at_s.tolist(),
        *(map(_told, column.tolist()) for column in (view.demand, view.expected, view.bound)),
        strict=True,
    )
    return Answer(
        tenant=view.tenant,
        resource=str(view.resource),
        unit=unit_of(view.resource.kind),
        step_s=_told(view.step_s),
        made_at=_time_text(view.made_at_s) if np.isfinite(view.made_at_s) else None,
        forecaster=view.forecaster,
        forecast=view.forecast,
        windows=windows,
        held=held,
        history=tuple(Point(_time_text(ended_at_s), *row) for ended_at_s, *row in rows),
    )


def _of(resource: Resource, among: Sequence[ResourceForecast]) -> ResourceForecast | None:
    return next((one for one in among if one.resource == str(resource)), None)


def _columns(past: Past | None, tenant: str, resource: Resource) -> tuple[Floats, Floats, Floats]:
    if past is None:
        return np.empty(0), np.empty(0), np.empty(0)
    place = past.tenants.index(tenant)
    columns = (past.demand[resource], past.expected[resource], past.bound[resource])
    demand, expected, bound = (column[:, place] for column in columns)
    return demand, expected, bound


def _time_text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().isoformat(timespec="seconds")


def _told(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _float(value: float | None) -> float:
    return float("nan") if value is None else value
