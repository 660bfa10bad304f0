"""How good forecasts were, as data for --json and as tables for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.amounts import bare_text, unit_of
from agent.backtest.accuracy import (
    FEWEST_JUDGED,
    BoundFigures,
    Group,
    Tally,
    figures_of,
    loss_ratios,
)
from agent.backtest.contestants import AUTOETS, MIX, NAIVE, RULE, Result
from agent.table import Column, table
from agent.tenant import Kind, Resource
from agent.units import seconds_text, three_digits
from forecast.profile import BOUNDS

_SHOWN_PCT = (95, 99)
_US = 1e6
_LEAST_DIGITS = 1e-4


@dataclass(frozen=True, slots=True)
class Setup:
    """What was forecast, and how."""

    trace: str
    resource: str
    step_s: float
    tenants: int
    seed: int
    warm_up_steps: int
    scored_steps: int
    history_steps: int  # that models are fitted on
    refit_s: float


@dataclass(frozen=True, slots=True)
class ForecasterResult:
    """One forecaster: figures of the bounds at each level in per cent, by horizon in seconds."""

    forecaster: str
    is_reference: bool  # knows what no forecaster can know
    cpu_s_per_series_step: float  # refits included
    stood_in_fraction: float  # of the windows: it had no model, and the fallback rule stood in
    horizons: Mapping[str, Mapping[int, BoundFigures]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mix beside the best expert alone and beside AutoETS, at the longest horizon.

    Ratios are of losses, the mix's by the other's; None where there is no other.
    """

    level_pct: int
    best_expert: str | None
    loss_to_best_expert: float | None
    best_expert_relative: str | None
    relative_loss_to_best_expert: float | None
    loss_to_autoets: float | None
    relative_loss_to_autoets: float | None
    median_tenant_loss_to_best_expert: float | None  # of each tenant's own ratio
    median_tenant_loss_to_autoets: float | None


@dataclass(frozen=True, slots=True)
class GroupResult:
    """All forecasters on the same tenants, and the same windows of the longest horizon."""

    tenants: int
    judged_tenants: int  # with enough windows to be judged alone
    steady_tenants: int  # of these, more than half of their steps as the one before
    windows: int
    horizons_s: tuple[float, ...]
    forecasters: tuple[ForecasterResult, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole evaluation; `sampled` are the tenants that AutoETS was asked about, and only them."""

    setup: Setup
    everyone: GroupResult
    sampled: GroupResult | None
    elapsed_s: float


def group_result(
    results: Mapping[str, Result], group: Group, horizons_s: tuple[float, ...]
) -> GroupResult:
    """Return the figures of all forecasters, of which the naive one must be one."""
    naive = results[NAIVE].tally
    rows = tuple(
        _forecaster_result(name, result, group, naive, horizons_s)
        for name, result in results.items()
    )
    windows = naive.windows[-1]
    is_judged = windows >= FEWEST_JUDGED
    return GroupResult(
        tenants=len(group.tenants),
        judged_tenants=int(is_judged.sum()),
        steady_tenants=int((is_judged & group.is_steady).sum()),
        windows=int(windows.sum()),
        horizons_s=horizons_s,
        forecasters=rows,
        comparisons=tuple(_comparison(rows, results, pct) for pct in _SHOWN_PCT),
    )


def report_lines(report: Report, *, width: int) -> list[str]:
    """Return a report for a terminal."""
    lines = _setup_lines(report.setup, report.everyone)
    lines += ["", *_group_lines(report.everyone, report.setup, "all tenants", width)]
    if report.sampled is not None:
        who = f"AutoETS's {report.sampled.tenants} tenants"
        lines += ["", *_group_lines(report.sampled, report.setup, who, width)]
    return [*lines, "", *_legend_lines(report.setup)]


def _forecaster_result(
    name: str, result: Result, group: Group, naive: Tally, horizons_s: tuple[float, ...]
) -> ForecasterResult:
    horizons = {
        seconds_text(horizon_s): {
            round(100 * level): figures_of(result.tally, group, naive, place, row)
            for row, level in enumerate(BOUNDS.tolist())
        }
        for place, horizon_s in enumerate(horizons_s)
    }
    windows = int(result.tally.windows[-1].sum())
    return ForecasterResult(
        forecaster=name,
        is_reference=name == NAIVE,
        cpu_s_per_series_step=result.cpu_s / max(result.series_steps, 1),
        stood_in_fraction=float(result.stood_in_windows.sum()) / max(windows, 1),
        horizons=horizons,
    )


def _comparison(
    rows: Sequence[ForecasterResult], results: Mapping[str, Result], pct: int
) -> Comparison:
    losses = {row.forecaster: _longest(row, pct).pinball_loss for row in rows}
    relative = {row.forecaster: _longest(row, pct).relative_pinball_loss for row in rows}
    experts = [name for name in losses if name not in (MIX, NAIVE, RULE, AUTOETS)]
    best = min(experts, key=lambda name: losses[name], default=None)
    best_relative = min(experts, key=lambda name: relative[name], default=None)
    return Comparison(
        level_pct=pct,
        best_expert=best,
        loss_to_best_expert=_ratio(losses, best),
        best_expert_relative=best_relative,
        relative_loss_to_best_expert=_ratio(relative, best_relative),
        loss_to_autoets=_ratio(losses, AUTOETS),
        relative_loss_to_autoets=_ratio(relative, AUTOETS),
        median_tenant_loss_to_best_expert=_median_ratio(results, best, pct),
        median_tenant_loss_to_autoets=_median_ratio(results, AUTOETS, pct),
    )


def _median_ratio(results: Mapping[str, Result], other: str | None, pct: int) -> float | None:
    """Return the median over tenants of the mix's loss by another's, of those that it is known of.

    A mean is decided by the few tenants for whom a forecaster explodes; this is not.
    """
    if other is None or other not in results:
        return None
    level = [round(100 * one) for one in BOUNDS.tolist()].index(pct)
    ratio = loss_ratios(results[MIX].tally, results[other].tally, level)
    return float(np.median(ratio)) if len(ratio) else None


def _ratio(losses: Mapping[str, float], other: str | None) -> float | None:
    """Return the mix's loss by another's, None where there is no other or it loses nothing."""
    if other is None or other not in losses or MIX not in losses or not losses[other] > 0:
        return None
    return losses[MIX] / losses[other]


def _longest(row: ForecasterResult, pct: int) -> BoundFigures:
    return list(row.horizons.values())[-1][pct]


def _setup_lines(setup: Setup, everyone: GroupResult) -> list[str]:
    counted = seconds_text(setup.scored_steps * setup.step_s)
    warm_up = seconds_text(setup.warm_up_steps * setup.step_s)
    horizon = seconds_text(everyone.horizons_s[-1])
    return [
        f"{setup.trace}: bounds on the maximum of {setup.resource} over the next {horizon}, "
        "said after each step",
        f"{setup.tenants} tenants, {counted} after {warm_up} of warm-up, steps of "
        f"{seconds_text(setup.step_s)}",
    ]


def _group_lines(group: GroupResult, setup: Setup, who: str, width: int) -> list[str]:
    judged = (
        f"{who}: {group.windows:,} windows; {group.judged_tenants} tenants judged alone, "
        f"{group.steady_tenants} of them steady"
    )
    lines = [judged]
    for columns in (_coverage_columns(), _loss_columns(setup)):
        heads, body, _ = table(columns, group.forecasters, width=width)
        lines += [*heads, *body]
    for found in group.comparisons:
        lines += _verdict_lines(found)
    return [*lines, *_stood_in_lines(group), _cost_line(group)]


def _verdict_lines(found: Comparison) -> list[str]:
    """Say how the mix compares, in base units and relative to each tenant's demand."""
    lines = []
    if found.best_expert is not None:
        lines.append(
            f"{MIX} by best alone, {found.level_pct} %: {_times(found.loss_to_best_expert)} "
            f"({found.best_expert}), relative {_times(found.relative_loss_to_best_expert)} "
            f"({found.best_expert_relative}), "
            f"median tenant {_times(found.median_tenant_loss_to_best_expert)}"
        )
    if found.loss_to_autoets is not None:
        lines.append(
            f"{MIX} by {AUTOETS}, {found.level_pct} %: {_times(found.loss_to_autoets)}, "
            f"relative {_times(found.relative_loss_to_autoets)}, "
            f"median tenant {_times(found.median_tenant_loss_to_autoets)}"
        )
    return lines


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"


def _stood_in_lines(group: GroupResult) -> list[str]:
    return [
        f"{row.forecaster}: the rule stood in for it in {100 * row.stood_in_fraction:.2f} % of "
        "windows"
        for row in group.forecasters
        if row.stood_in_fraction > 0
    ]


def _cost_line(group: GroupResult) -> str:
    costs = [
        f"{row.forecaster} {three_digits(_US * row.cpu_s_per_series_step)}"
        for row in group.forecasters
        if np.isfinite(row.cpu_s_per_series_step)
    ]
    return f"cost, us a series and step: {', '.join(costs)}"


def _name_column() -> Column[ForecasterResult]:
    return Column("FORECASTER", lambda row: row.forecaster + "*" * row.is_reference, is_left=True)


def _coverage_columns() -> list[Column[ForecasterResult]]:
    columns = [_name_column()]
    for level in BOUNDS.tolist():
        pct = round(100 * level)
        columns.append(_pct(f"{pct}%", pct, lambda one: one.coverage_fraction, "held"))
    for pct in _SHOWN_PCT:
        group = f"within 3 points, {pct}%"
        columns += [
            _pct("ALL", pct, lambda one: one.tenants_within_fraction, group),
            _pct("MOVING", pct, lambda one: one.moving_tenants_within_fraction, group),
            _pct("EXCUSED", pct, lambda one: one.tenants_within_or_steady_over_fraction, group),
        ]
    columns += [
        _pct(f"{pct}%", pct, lambda one: one.worst_coverage_fraction, "worst") for pct in _SHOWN_PCT
    ]
    return columns


def _loss_columns(setup: Setup) -> list[Column[ForecasterResult]]:
    kind = Resource.parsed(setup.resource).kind

    def amount(value: float) -> str:
        return bare_text(kind, value) if kind is not Kind.CPU else _digits(value)

    columns = [_name_column()]
    for title, figure, text in (
        (f"loss, {unit_of(kind)}", "pinball_loss", amount),
        ("loss / mean", "relative_pinball_loss", _digits),
        ("skill", "skill", _digits),
        ("rel. skill", "relative_skill", _digits),
        ("bound - outcome", "mean_margin", amount),
    ):
        columns += [_figure(f"{pct}%", pct, figure, text, title) for pct in _SHOWN_PCT]
    return columns


def _pct(
    title: str, pct: int, fraction: Callable[[BoundFigures], float], group: str
) -> Column[ForecasterResult]:
    def cell(row: ForecasterResult) -> str:
        value = fraction(_longest(row, pct))
        return f"{100 * value:.1f}" if np.isfinite(value) else "-"

    return Column(title, cell, group=group)


def _figure(
    title: str, pct: int, figure: str, text: Callable[[float], str], group: str
) -> Column[ForecasterResult]:
    def cell(row: ForecasterResult) -> str:
        value = float(getattr(_longest(row, pct), figure))
        return text(value) if np.isfinite(value) else "-"

    return Column(title, cell, group=group)


def _digits(value: float) -> str:
    """Return a number to about three digits, also where it is small."""
    return f"{value:#.3g}" if _LEAST_DIGITS <= abs(value) < 1 else three_digits(value)


def _legend_lines(setup: Setup) -> list[str]:
    """Return what the tables' columns mean."""
    return [
        "held      outcomes that were at most the bound, in % of all windows; nominal is the title",
        "within    tenants whose own share is at most 3 points from nominal, in %: all; those that",
        "          move; all, where a steady one (most steps as the one before) may cover more",
        "worst     share held of the tenant furthest from nominal",
        "loss      pinball loss; / mean: each tenant's by its own mean demand, mean over tenants,",
        "          so that large tenants do not decide alone",
        "skill     1 - loss / the naive forecast's",
        f"{MIX} by    its loss by another's: of all, of relative losses, of the median tenant",
        "cost      processor time, refits included",
        f"{MIX}       all experts by their weights; beside it each alone, calibrated as it is",
        f"{NAIVE}*    the last value times the one factor that in hindsight loses least",
        f"{AUTOETS}   StatsForecast's AutoETS (ZZN) on {setup.history_steps} steps, refitted every "
        f"{seconds_text(setup.refit_s)}; Gaussian bounds",
    ]
