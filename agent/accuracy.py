"""How good forecasts have been and what they say, from columns to answers.  Pure.

Nothing here scores: the forecaster does, and sends its figures with every forecast.
"""

from collections.abc import Sequence

import numpy as np

from agent.amounts import unit_of
from agent.answers import ForecastQuality, HorizonBounds, ResourceForecast, TenantForecast
from agent.record import ResourceTick, TickRecord
from agent.tenant import Floats, Ints, Resource
from forecast.profile import Source
from forecast.quality import Quality, Verdict

_DECIMALS = 6
_PCT_DECIMALS = 2
_VERDICT_NAMES = {verdict.value: verdict.name.lower() for verdict in Verdict}
SOURCE_NAMES = {source.value: source.name.lower() for source in Source}


def quality_rows(quality: Quality | None, at: Ints) -> Sequence[ForecastQuality | None]:
    """Return the figures of the tenants at `at`; None where nothing has kept score."""
    if quality is None:
        return [None] * len(at)
    percents = (
        *quality.coverage[:, at],
        *quality.pinball[:, at],
        *(column[at] for column in (quality.sharpness, quality.bias)),
        *(column[at] for column in (quality.skill, quality.skill_best)),
    )
    columns = (
        [_VERDICT_NAMES[verdict] for verdict in quality.verdict[at].tolist()],
        np.round(quality.windows[at].astype(np.float64), 1).tolist(),
        *(_percents(column) for column in percents),
    )
    return [ForecastQuality(*row) for row in zip(*columns, strict=True)]


def forecast_answer(
    record: TickRecord, name: str, *, horizons_s: Sequence[float], now_s: float
) -> TenantForecast | None:
    """Return what is forecast of the tenant `name`, None if there is no such tenant.

    `now_s` is CLOCK_MONOTONIC.
    """
    if name not in record.roster.names:
        return None
    position = record.roster.names.index(name)
    age_s = max(now_s - record.taken_at_s, 0.0)
    return TenantForecast(
        tick=record.number,
        age_s=round(age_s, 3),
        tenant=name,
        qos=record.roster.qos_names[position],
        forecaster=record.forecaster,
        made_s_ago=_number(record.forecast_age_s + age_s),
        resources=tuple(
            _resource_forecast(resource, tick, position, horizons_s)
            for resource, tick in record.resources.items()
        ),
    )


def _resource_forecast(
    resource: Resource, tick: ResourceTick, position: int, horizons_s: Sequence[float]
) -> ResourceForecast:
    bounds = tick.bounds_of(position).tolist()
    return ResourceForecast(
        resource=str(resource),
        unit=unit_of(resource.kind),
        source=SOURCE_NAMES[int(tick.source[position])],
        expected=_number(float(tick.expected[position])),
        horizons=tuple(
            HorizonBounds(horizon_s, *(_number(bound) for bound in row))
            for horizon_s, row in zip(horizons_s, bounds, strict=True)
        ),
        experts=_experts(tick.quality, position),
        quality=quality_rows(tick.quality, np.array([position]))[0],
    )


def _experts(quality: Quality | None, position: int) -> dict[str, int]:
    """Return who is believed, the most believed first."""
    if quality is None:
        return {}
    shares = dict(zip(quality.experts, quality.shares[:, position].tolist(), strict=True))
    return dict(sorted(shares.items(), key=lambda one: -one[1]))


def _percents(column: Floats) -> list[float | None]:
    numbers = np.round(100.0 * column.astype(np.float64), _PCT_DECIMALS)
    return [value if np.isfinite(value) else None for value in numbers.tolist()]


def _number(value: float) -> float | None:
    return round(value, _DECIMALS) if np.isfinite(value) else None
