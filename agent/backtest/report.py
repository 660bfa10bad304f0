"""What a backtest found, as data for --json and as tables for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.amounts import amount_text
from agent.backtest.contest import OURS, PEER_KINDS, HostResult, Terms
from agent.backtest.density import SLO, SeedDensity
from agent.backtest.figures import Figures, mean_of
from agent.table import Column, table
from agent.tenant import Resource
from agent.units import seconds_text, three_digits

_LEAST_PCT = 0.0005
_FEWEST_TELLING = 100  # steps that count: with fewer, one step is more than 1 % of them


@dataclass(frozen=True, slots=True)
class Setup:
    """What was replayed, and how."""

    trace: str
    resource: str
    mode: str
    is_closed_loop: bool
    forecaster: str  # "ets", or "rule" without models
    classes: str  # "gold", or "mixed"
    tenants: int  # in the trace
    tenants_per_host: int
    seeds: tuple[int, ...]
    step_s: float
    warm_up_steps: int
    evaluated_steps: int


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy at one capacity: its mean over hosts, and each host's figures by seed."""

    policy: str
    is_reference: bool  # knows what no policy can know
    mean: Figures
    hosts: Mapping[int, Figures]


@dataclass(frozen=True, slots=True)
class FactorResult:
    """All policies at one capacity; `capacity` is in base units, the mean over hosts."""

    factor: float
    capacity: float
    policies: tuple[PolicyResult, ...]
    best_peer: str | None  # that left least unmet
    unmet_ratio_to_best_peer: float | None  # of tidegate; None where the peer left nothing


@dataclass(frozen=True, slots=True)
class PolicyDensity:
    """How many tenants fit under one policy: mean over hosts, and by seed."""

    policy: str
    is_reference: bool
    mean_tenants: float
    hosts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class DensityResult:
    """How many tenants fit on hosts of fixed capacity (base units, by seed), of `most` tried."""

    slo: Mapping[str, float]
    capacities: Mapping[int, float]
    most: int
    policies: tuple[PolicyDensity, ...]
    best_peer: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole backtest."""

    setup: Setup
    factors: tuple[FactorResult, ...]
    density: DensityResult | None
    elapsed_s: float
    warnings: tuple[str, ...]  # why its figures say less than they seem to


def factor_results(hosts: Sequence[HostResult], terms: Terms) -> tuple[FactorResult, ...]:
    """Return the figures of all hosts, capacity by capacity."""
    return tuple(_factor_result(hosts, factor, terms.policies) for factor in terms.factors)


def density_result(hosts: Sequence[SeedDensity], terms: Terms) -> DensityResult:
    """Return how many tenants fit under each policy."""
    rows = []
    for name in terms.policies:
        counts = {host.seed: host.tenants[name] for host in hosts}
        rows.append(
            PolicyDensity(name, _is_reference(name), float(np.mean(list(counts.values()))), counts)
        )
    peers = [row for row in rows if row.policy in PEER_KINDS]
    best = max(peers, key=lambda row: row.mean_tenants).policy if peers else None
    capacities = {host.seed: host.capacity for host in hosts}
    return DensityResult(SLO, capacities, hosts[0].most, tuple(rows), best)


def report_lines(report: Report, *, width: int) -> list[str]:
    """Return a report for a terminal."""
    lines = setup_lines(report.setup)
    for found in report.factors:
        lines += ["", *factor_lines(found, report.setup, width)]
    if report.density is not None:
        lines += ["", *density_lines(report.density, report.setup, width)]
    return [*lines, "", *legend_lines(report.setup)]


def _factor_result(
    hosts: Sequence[HostResult], factor: float, policies: Sequence[str]
) -> FactorResult:
    results = []
    for name in policies:
        figures = {host.seed: host.figures[factor][name] for host in hosts}
        mean = mean_of(list(figures.values()))
        results.append(PolicyResult(name, _is_reference(name), mean, figures))
    unmet = {one.policy: one.mean.unmet_fraction for one in results}
    peers = [name for name in unmet if name in PEER_KINDS]
    best = min(peers, key=lambda name: unmet[name]) if peers else None
    ratio = unmet[OURS] / unmet[best] if best and OURS in unmet and unmet[best] > 0 else None
    capacity = factor * float(np.mean([host.peak for host in hosts]))
    return FactorResult(factor, capacity, tuple(results), best, ratio)


def _is_reference(name: str) -> bool:
    return name != OURS and name not in PEER_KINDS


def warnings(setup: Setup) -> tuple[str, ...]:
    """Say why figures mean less than they seem to: too few steps, or one host many times."""
    found = few_steps(setup.evaluated_steps)
    is_one_host = setup.tenants_per_host == setup.tenants and setup.classes == "gold"
    if is_one_host and len(setup.seeds) > 1:
        found.append(
            f"all {len(setup.seeds)} hosts are the same: each has all {setup.tenants} tenants "
            "(--tenants-per-host N draws fewer, --seeds 1 replays it once)"
        )
    return tuple(found)


def few_steps(steps: int) -> list[str]:
    """Return a warning where too few steps count for figures to mean something."""
    if steps >= _FEWEST_TELLING:
        return []
    return [
        f"only {steps} steps count after the warm-up: "
        f"with fewer than {_FEWEST_TELLING}, figures say next to nothing"
    ]


def setup_lines(setup: Setup) -> list[str]:
    """Return what was replayed, and how, in two lines, and a line for each warning."""
    lasting = seconds_text(setup.evaluated_steps * setup.step_s)
    warm_up = seconds_text(setup.warm_up_steps * setup.step_s)
    loop = "closed loop" if setup.is_closed_loop else "open loop"
    forecasts = "fitted forecasts" if setup.forecaster == "ets" else "the fallback rule's forecasts"
    classes = "all gold" if setup.classes == "gold" else "platinum, gold, silver 20/30/50"
    return [
        f"{setup.trace}: {setup.resource}, {setup.mode} mode, {loop}, {forecasts}",
        f"{len(setup.seeds)} host(s) of {setup.tenants_per_host} of {setup.tenants} tenants "
        f"({classes}), {lasting} after {warm_up} of warm-up, steps of {seconds_text(setup.step_s)}",
        *(f"warning: {text}" for text in warnings(setup)),
    ]


def factor_lines(found: FactorResult, setup: Setup, width: int) -> list[str]:
    """Return the table of one capacity."""
    classes = list(found.policies[0].mean.by_class)
    heads, lines, _ = table(_columns(setup, classes), found.policies, width=width)
    title = f"capacity {_amount(setup, found.capacity)} = {found.factor:g} x the peak"
    return [f"{title}: {_verdict(found)}", *heads, *lines]


def density_lines(found: DensityResult, setup: Setup, width: int) -> list[str]:
    """Return the table of how many tenants fit."""
    promises = ", ".join(f"{name} {100 * share:g} %" for name, share in found.slo.items())
    sizes = [_amount(setup, capacity) for capacity in found.capacities.values()]
    columns: list[Column[PolicyDensity]] = [
        Column("POLICY", lambda row: row.policy + "*" * row.is_reference, is_left=True),
        Column("TENANTS", lambda row: f"{row.mean_tenants:.1f}"),
        Column("BY SEED", lambda row: " ".join(f"{n:3d}" for n in row.hosts.values()), rank=1),
    ]
    heads, lines, _ = table(columns, found.policies, width=width)
    return [
        f"density: how many tenants, of {found.most} in a seeded order, fit on hosts of "
        f"{', '.join(sizes)}",
        f"with so many steps served in full: {promises}; best peer {found.best_peer or '-'}",
        *heads,
        *lines,
    ]


def _amount(setup: Setup, capacity: float) -> str:
    """Return an amount of the resource with its unit."""
    return amount_text(Resource.parsed(setup.resource).kind, capacity)


def _verdict(found: FactorResult) -> str:
    """Say who of the peers did best, and how tidegate compares."""
    if found.best_peer is None:
        return "no peer was asked"
    if found.unmet_ratio_to_best_peer is None:
        return f"best peer {found.best_peer}"
    ratio = found.unmet_ratio_to_best_peer
    return f"best peer {found.best_peer}; tidegate leaves {three_digits(ratio)} x as much unmet"


def _columns(setup: Setup, classes: Sequence[str]) -> list[Column[PolicyResult]]:
    columns: list[Column[PolicyResult]] = [
        Column("POLICY", lambda row: row.policy + "*" * row.is_reference, is_left=True),
        _pct("UNMET", lambda row: row.mean.unmet_fraction),
        _pct("SHORT", lambda row: row.mean.violated_fraction),
        Column("BAD", lambda row: f"{row.mean.badly_served_tenants:.1f}"),
        _pct("USED", lambda row: row.mean.utilisation_fraction),
        Column("MOVES", lambda row: f"{row.mean.limit_changes_per_tenant_hour:.1f}", rank=1),
        Column("JAIN", lambda row: _number(row.mean.fairness), rank=2),
    ]
    if setup.mode == "elastic":
        columns.append(_pct("KEPT", lambda row: row.mean.entitled_unmet_fraction))
    if len(classes) > 1:
        for name in classes:
            columns += _class_columns(name)
    return columns


def _class_columns(name: str) -> list[Column[PolicyResult]]:
    def of_class(figure: str) -> Callable[[PolicyResult], float]:
        def figure_of(row: PolicyResult) -> float:
            return float(getattr(row.mean.by_class[name], figure, float("nan")))

        return figure_of

    return [
        _pct("UNMET", of_class("unmet_fraction"), name),
        _pct("SHORT", of_class("violated_fraction"), name),
    ]


def _pct(
    title: str, fraction: Callable[[PolicyResult], float], group: str = ""
) -> Column[PolicyResult]:
    return Column(title, lambda row: pct_text(fraction(row)), group=group)


def pct_text(fraction: float) -> str:
    """Return a fraction in per cent, small ones to three decimals."""
    if not np.isfinite(fraction):
        return "-"
    pct = 100.0 * fraction
    if pct >= 1:
        return f"{three_digits(pct)}%"
    return "0%" if pct == 0 else f"{pct:.3f}%" if pct >= _LEAST_PCT else "<.001%"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def legend_lines(setup: Setup) -> list[str]:
    """Return what the tables' columns mean."""
    lines = [
        "UNMET  demand not served, of all demand",
        "SHORT  steps of tenants not served in full",
        f"BAD    tenants of {setup.tenants_per_host} short in > 1 % of steps",
        "USED   of the capacity",
        "MOVES  limit changes per tenant and hour",
        "JAIN   fairness while short; 1 is even",
        "*      a reference, no policy: weights never cap and so know the demand;",
        "       the oracle does",
    ]
    if setup.mode == "elastic":
        lines.append("KEPT   demand not served to tenants that kept within their share for an hour")
    return lines
