"""A tenant's forecast, and all tenants by how good theirs are, as lines for a terminal.  Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from click import style

from agent.accuracy_text import accuracy_text
from agent.amounts import amount_text, bare_text, unit_of
from agent.answers import (
    CpuStatus,
    ForecastQuality,
    HorizonBounds,
    MemoryStatus,
    RateStatus,
    Status,
    TenantStatus,
)
from agent.forecast_chart import chart_lines
from agent.forecast_view import View
from agent.quoting import quoted
from agent.table import Column, labelled, paragraph, table
from agent.units import seconds_text
from agent.wording import NO_TENANT

_UNKNOWN = "-"
_ORDER = {"replaced": 0, "poor": 1, "good": 2, "unjudged": 3}
_COLOURS = {"replaced": "red", "poor": "magenta", "good": "green", "unjudged": "bright_black"}
_SOURCES = {
    "live": "live: fitted models, calibrated",
    "learning": "learning: a rule on what little there is",
    "fallback": "fallback: a rule on recent values",
}


def view_lines(view: View, *, width: int, has_plot: bool) -> list[str]:
    """Return the plot, the bounds ahead, and where they come from."""
    unit = unit_of(view.resource.kind)
    title = style(f"{view.tenant}: {view.resource} in {unit}", bold=True)
    plot = chart_lines(view, width=width) if has_plot else []
    if plot:
        plot = ["", *plot, *paragraph(_key(view), width=width)]
    bounds = [] if view.forecast is None else ["", *_bound_lines(view, width)]
    return [title, *plot, *bounds, "", *labelled(_told(view), width=width, indent=0)]


def _key(view: View) -> str:
    above = ", red where it was above" if view.is_above.any() else ""
    ahead = "" if view.forecast is None else "; right of the line the same from now on"
    return f"line: demand; dots: from what was expected to the bound at 95 %{above}{ahead}."


def _bound_lines(view: View, width: int) -> list[str]:
    """Return the bounds of each horizon as a table."""
    forecast = view.forecast
    if forecast is None:
        return []
    kind = view.resource.kind

    def bound(name: str) -> Callable[[HorizonBounds], str]:
        def cell(one: HorizonBounds) -> str:
            value = getattr(one, name)
            return _UNKNOWN if value is None else bare_text(kind, value)

        return cell

    columns: list[Column[HorizonBounds]] = [
        Column("WITHIN", lambda one: seconds_text(one.horizon_s), is_left=True),
        *(Column(f"{level}%", bound(f"bound_{level}"), "at most") for level in (80, 95, 99)),
    ]
    heads, rows, _ = table(columns, forecast.horizons, width=width)
    return [*(style(head, bold=True) for head in heads), *rows]


def _told(view: View) -> list[tuple[str, str]]:
    """Return what is to be known of the forecast, and how good it has been."""
    told = []
    forecast = view.forecast
    if forecast is not None:
        amount = "nothing yet" if forecast.expected is None else _amount(view, forecast.expected)
        told.append(("expected", f"{amount} in the next step"))
        told.append(("source", _source(view)))
        if np.isfinite(view.made_at_s):
            made = datetime.fromtimestamp(view.made_at_s).astimezone().strftime("%H:%M:%S")
            told.append(("made", f"at {made}, when the last step ended that it knows"))
        believed = [f"{name} {share} %" for name, share in forecast.experts.items() if share]
        if believed:
            told.append(("experts", ", ".join(believed)))
        if forecast.quality is not None:
            told.append(("accuracy", accuracy_text(forecast.quality)))
    held, windows = view.held()
    if windows:
        told.append(("shown", f"{held} of {windows} bounds at 95 % held"))
    return told


def _amount(view: View, amount: float) -> str:
    return amount_text(view.resource.kind, amount)


def _source(view: View) -> str:
    forecast = view.forecast
    if forecast is None:
        return _UNKNOWN
    said = _SOURCES[forecast.source]
    if forecast.source != "fallback":
        return said
    if view.forecaster != "live":
        return f"{said} (the forecaster is {view.forecaster})"
    is_replaced = forecast.quality is not None and forecast.quality.verdict == "replaced"
    return f"{said} (the model has been poor)" if is_replaced else said


@dataclass(frozen=True, slots=True)
class Ranked:
    """One tenant's figures of one resource."""

    tenant: str
    source: str
    quality: ForecastQuality


def ranked(answer: Status, resource: str) -> list[Ranked]:
    """Return tenants by how good their forecasts are, the worst first.

    Raises:
        ValueError: There is no such resource, or nothing has kept score yet.

    """
    found = [one for tenant in answer.tenants if (one := _of(tenant, resource)) is not None]
    if answer.tenants and not found:
        raise ValueError("nothing has kept score yet: the forecaster has not answered")
    return sorted(found, key=lambda one: (_ORDER[one.quality.verdict], -badness(one), one.tenant))


def badness(one: Ranked) -> float:
    """Return how far a forecast is on the way to be called poor; less than 0 is not known."""
    coverage, skill = one.quality.coverage_95_pct, one.quality.skill_naive_pct
    known = []
    if coverage is not None:
        known.append((95.0 - coverage) / 10.0)
    if skill is not None:
        known.append(skill / -10.0)
    return max(known, default=-np.inf)


def _of(tenant: TenantStatus, resource: str) -> Ranked | None:
    parts: dict[str, CpuStatus | MemoryStatus | RateStatus] = {
        "cpu": tenant.cpu,
        "memory": tenant.memory,
        **{rate.resource: rate for rate in tenant.rates},
    }
    if resource not in parts:
        raise ValueError(f"no forecast of {quoted(resource)} (there are: {', '.join(parts)})")
    part = parts[resource]
    quality = part.forecast_quality
    return None if quality is None else Ranked(tenant.name, part.forecast_source, quality)


def quality_lines(rows: Sequence[Ranked], resource: str, *, width: int) -> list[str]:
    """Return the table of tenants, in the order that they come in."""
    if not rows:
        return paragraph(NO_TENANT, width=width)
    heads, body, hidden = table(_COLUMNS, rows, width=width)
    title = style(f"{resource}: forecasts, the worst first", bold=True)
    lines = [title, "", *(style(head, bold=True) for head in heads), *body]
    if hidden:
        note = f"Not shown at this width: {', '.join(hidden)} (try --json)."
        lines += ["", *(style(line, dim=True) for line in paragraph(note, width=width))]
    return lines


def _percent(name: str, *, digits: int = 0, is_signed: bool = False) -> Callable[[Ranked], str]:
    sign = "+" if is_signed else ""

    def cell(row: Ranked) -> str:
        value: float | None = getattr(row.quality, name)
        return _UNKNOWN if value is None else f"{value:{sign}z.{digits}f}%"

    return cell


def _painted(text: str, row: Ranked) -> str:
    return style(text, fg=_COLOURS[row.quality.verdict])


_COLUMNS: Sequence[Column[Ranked]] = (
    Column("TENANT", lambda row: row.tenant, is_left=True, shortest=16),
    Column("80%", _percent("coverage_80_pct", digits=1), "bounds held", rank=3),
    Column("95%", _percent("coverage_95_pct", digits=1), "bounds held"),
    Column("99%", _percent("coverage_99_pct", digits=1), "bounds held", rank=2),
    Column("NAIVE", _percent("skill_naive_pct", is_signed=True), "loss saved of"),
    Column("BEST", _percent("skill_best_expert_pct", is_signed=True), "loss saved of"),
    Column("LOSS95", _percent("pinball_95_pct", digits=1), "of the mean demand", rank=5),
    Column("SPARE95", _percent("sharpness_pct"), "of the mean demand", rank=4),
    Column("BIAS", _percent("bias_pct", digits=1, is_signed=True), "of the mean demand", rank=1),
    Column("HORIZONS", lambda row: f"{row.quality.windows:.0f}"),
    Column("SOURCE", lambda row: row.source, is_left=True),
    Column("VERDICT", lambda row: row.quality.verdict, is_left=True, paint=_painted),
)
