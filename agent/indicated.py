"""What applications' metrics make of one tenant's forecast: numbers for JSON, and words.  Pure."""

import math

import numpy as np

from agent.amounts import amount_text, unit_of
from agent.answers import Indicator
from agent.record import IndicatorTick
from agent.tenant import Resource
from forecast.indicators import FEWEST_SCORED

# Losses are forgotten by half after 140 steps: older ones are no part of what is said.
_MOST_STEPS_TOLD = 200


def indicators_of(
    tick: IndicatorTick | None, resource: Resource, position: int
) -> tuple[Indicator, ...]:
    """Return what each metric of the tenant at `position` makes of its forecast of `resource`."""
    if tick is None or resource not in tick.resources:
        return ()
    row = tick.resources.index(resource)
    return tuple(
        _indicator(tick, row, int(place), unit_of(resource.kind))
        for place in np.flatnonzero(tick.tenant == position)
    )


def indicator_text(one: Indicator, resource: Resource) -> str:
    """Return a sentence on one metric."""
    value = "" if one.value is None else f" ({one.value:g})"
    if one.state == "used":
        shift = one.shift or 0.0
        sign, amount = "-" if shift < 0 else "+", amount_text(resource.kind, abs(shift))
        return (
            f"{one.metric}{value} leads by {_steps(one.lead_steps)}: {sign}{amount}, {_gain(one)}."
        )
    why = {
        "unreported": "not reported now, not used.",
        "learning": f"judged on {one.scored_steps} of {FEWEST_SCORED} steps, not used yet.",
        "no gain": "no gain, not used.",
        "paused": f"{_gain(one)}; paused: this tenant's metrics have lost too much together.",
        "second": f"{_gain(one)}, but another metric tells more.",
    }
    return f"{one.metric}{value}: {why[one.state]}"


def _indicator(tick: IndicatorTick, row: int, place: int, unit: str) -> Indicator:
    gain, shift = float(tick.gain[row, place]), float(tick.shift[row, place])
    value = float(tick.value[place])
    return Indicator(
        metric=tick.names[place],
        value=_known(value),
        state=_state(tick, row, place),
        unit=unit,
        shift=_known(shift),
        lead_steps=int(tick.lead_steps[row, place]),
        gain_pct=_known(100 * gain),
        scored_steps=min(int(tick.scored_steps[row, place]), _MOST_STEPS_TOLD),
    )


def _state(tick: IndicatorTick, row: int, place: int) -> str:
    if math.isnan(tick.value[place]):
        return "unreported"
    if tick.is_chosen[row, place]:
        return "used"
    if tick.is_used[row, place]:
        return "paused" if tick.is_paused[row, place] else "second"
    return "learning" if tick.scored_steps[row, place] < FEWEST_SCORED else "no gain"


def _gain(one: Indicator) -> str:
    return f"loss {one.gain_pct or 0.0:.0f} % lower over the last {_steps(one.scored_steps)}"


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
