"""What a look back found, as data for --json and as a table for a terminal."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from agent.backtest.figures import SLACK
from agent.backtest.hindsight import Hindsight, Replayed
from agent.backtest.report import few_steps, pct_text
from agent.backtest.score import (
    Run,
    limit_changes_per_tenant_hour,
    unmet_fraction,
    violated_fraction,
)
from agent.settings import Config
from agent.table import Column, paragraph, table
from agent.tenant import Floats, Ints, Resource
from agent.units import approximate_bytes, seconds_text, three_digits

_MOST_SHOWN = 10
_SHORTEST_NAME = 12


@dataclass(frozen=True, slots=True)
class Served:
    """How some tenants were served in the steps that count."""

    unmet_fraction: float  # of what they wanted
    short_fraction: float  # of their steps
    limit_changes_per_tenant_hour: float


@dataclass(frozen=True, slots=True)
class Row:
    """Some tenants: what they wanted, and how they were served."""

    name: str
    qos: str  # as the files say; "" of all
    tenants: int  # that were there in a step that counts
    mean_demand: float  # of their sum, in base units
    recorded: Served
    configured: Served
    changed: Served | None  # with settings in place of the files', where there are any


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what was replayed; the capacity is in base units, without the system's reserve."""

    mode: str
    capacity: float
    is_observing: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """What was replayed, and how."""

    resource: str
    configured: Terms
    changed: Terms | None
    overrides: tuple[str, ...]
    without_effect: tuple[str, ...]
    forecaster: str  # "ets", or "rule" without models
    begun_at: datetime
    ended_at: datetime
    tick_s: float  # of the agent that recorded
    step_s: float
    warm_up_steps: int
    evaluated_steps: int
    recorded_steps: int  # of those: in others the agent did not run
    forgotten_tenants: tuple[str, ...]  # recorded, and without a file now: left out
    unrecorded_tenants: tuple[str, ...]  # with a file, and not recorded


@dataclass(frozen=True, slots=True)
class HindsightReport:
    """All that was found; of tenants the most affected first."""

    setup: Setup
    classes: tuple[Row, ...]
    total: Row
    tenants: tuple[Row, ...]
    elapsed_s: float
    warnings: tuple[str, ...]  # why its figures say less than they seem to


def hindsight_report(
    hindsight: Hindsight, replays: Sequence[Replayed], *, elapsed_s: float
) -> HindsightReport:
    """Return the figures of what was recorded and of each replay."""
    runs = _runs(hindsight, replays)
    qos_of = {tenant.name: tenant.qos.name for tenant in hindsight.config.tenants}
    qos = np.array([qos_of[name] for name in hindsight.recording.tenants])
    classes = [one.name for one in hindsight.config.qos if (qos == one.name).any()]
    setup = _setup(hindsight)
    return HindsightReport(
        setup=setup,
        classes=tuple(_row(name, name, runs, np.flatnonzero(qos == name)) for name in classes),
        total=_row("all", "", runs, np.arange(len(qos))),
        tenants=tuple(
            _row(hindsight.recording.tenants[place], str(qos[place]), runs, np.array([place]))
            for place in _most_affected(runs)
        ),
        elapsed_s=elapsed_s,
        warnings=_warnings(setup, hindsight.request.since_s),
    )


def hindsight_lines(report: HindsightReport, *, width: int) -> list[str]:
    """Return a report for a terminal."""
    setup = report.setup
    affected = [row for row in report.tenants if _is_affected(row)][:_MOST_SHOWN]
    rows = [*report.classes, report.total, *affected]
    heads, lines, _ = table(_columns(setup), rows, width=width)
    classes = len(report.classes) + 1
    lines = [*heads, *lines[:classes], *([""] if affected else []), *lines[classes:]]
    parts = [_setup_lines(report, width), lines, _legend_lines(report, len(affected), width)]
    return [line for part in parts for line in ("", *part)][1:]


def _runs(hindsight: Hindsight, replays: Sequence[Replayed]) -> list[Run]:
    """Return what was recorded as a run, and then the replays, in the steps that count."""
    recording, resource = hindsight.recording, hindsight.request.resource
    counts = slice(recording.warm_up, None)

    def run(config: Config, limit: Floats, served: Floats) -> Run:
        return Run(
            demand=recording.demand[counts],
            served=served,
            limit=limit,
            step_s=recording.step_s,
            capacity=config.capacity[resource],
            slack=SLACK[resource],
        )

    return [
        run(hindsight.configured, recording.limit[counts], recording.usage[counts]),
        *(
            run(config, one.limit, one.served)
            for config, one in zip(hindsight.replays, replays, strict=True)
        ),
    ]


def _row(name: str, qos: str, runs: Sequence[Run], places: Ints) -> Row:
    steps = max(int(runs[0].is_present.any(axis=1).sum()), 1)
    own = [_only(run, places) for run in runs]
    recorded, configured, *changed = (_served(run) for run in own)
    return Row(
        name=name,
        qos=qos,
        tenants=int(own[0].is_present.any(axis=0).sum()),
        mean_demand=float(np.nansum(own[0].demand)) / steps,
        recorded=recorded,
        configured=configured,
        changed=changed[0] if changed else None,
    )


def _only(run: Run, places: Ints) -> Run:
    return replace(
        run,
        demand=run.demand[:, places],
        served=run.served[:, places],
        limit=run.limit[:, places],
    )


def _served(run: Run) -> Served:
    return Served(unmet_fraction(run), violated_fraction(run), limit_changes_per_tenant_hour(run))


def _most_affected(runs: Sequence[Run]) -> list[int]:
    """Return places of tenants, by how much what they lack differs, or (one replay) by that."""
    _, configured, *changed = (run.unmet.sum(axis=0) for run in runs)
    effect = np.abs(changed[0] - configured) if changed else configured
    return [int(place) for place in np.argsort(-effect, kind="stable")]


def _is_affected(row: Row) -> bool:
    lacks = row.configured.unmet_fraction
    return lacks > 0 if row.changed is None else row.changed.unmet_fraction != lacks


def _setup(hindsight: Hindsight) -> Setup:
    request, recording, config = hindsight.request, hindsight.recording, hindsight.config
    resource, changed = request.resource, hindsight.changed
    is_recorded = recording.is_recorded
    begun_s = recording.ended_at_s[recording.warm_up] - recording.step_s
    there_were = set(recording.tenants)
    return Setup(
        resource=str(resource),
        configured=_terms(hindsight.configured, resource),
        changed=None if changed is None else _terms(changed, resource),
        overrides=tuple(one.text for one in request.overrides),
        without_effect=hindsight.without_effect,
        forecaster="ets" if request.are_fitted else "rule",
        begun_at=datetime.fromtimestamp(begun_s, UTC),
        ended_at=datetime.fromtimestamp(recording.ended_at_s[-1], UTC),
        tick_s=config.periods.tick_s,
        step_s=recording.step_s,
        warm_up_steps=recording.warm_up,
        evaluated_steps=len(is_recorded),
        recorded_steps=int(is_recorded.sum()),
        forgotten_tenants=hindsight.forgotten,
        unrecorded_tenants=tuple(t.name for t in config.tenants if t.name not in there_were),
    )


def _terms(config: Config, resource: Resource) -> Terms:
    is_observing = config.host.is_observing
    return Terms(config.modes[resource].value, config.capacity[resource], is_observing)


def _warnings(setup: Setup, since_s: float) -> tuple[str, ...]:
    """Say why figures mean less than they seem to: too few steps, no warm-up, less than asked."""
    found = few_steps(setup.recorded_steps)
    if not setup.warm_up_steps:
        found.append("no warm-up: nothing was recorded before, so forecasts begin with nothing")
    lasting_s = setup.evaluated_steps * setup.step_s
    if lasting_s < since_s - 2 * setup.step_s:
        asked, is_there = seconds_text(round(since_s)), seconds_text(round(lasting_s))
        found.append(f"asked for {asked}, and {is_there} of it are recorded")
    return tuple(found)


def _setup_lines(report: HindsightReport, width: int) -> list[str]:
    setup = report.setup
    begun, ended = (f"{at:%Y-%m-%d %H:%M}" for at in (setup.begun_at, setup.ended_at))
    forecasts = "fitted forecasts" if setup.forecaster == "ets" else "the fallback rule's forecasts"
    gaps = setup.evaluated_steps - setup.recorded_steps
    lines = [
        f"{setup.resource} of this host from {begun} to {ended} UTC, {forecasts}",
        f"{setup.evaluated_steps} steps of {seconds_text(setup.step_s)}"
        + (f", {gaps} of them not recorded" if gaps else "")
        + f", after {seconds_text(setup.warm_up_steps * setup.step_s)} of warm-up",
        f"as configured: {_terms_text(setup, setup.configured)}",
    ]
    if setup.changed is not None:
        lines.append(f"with --set: {_terms_text(setup, setup.changed)}")
        lines += [
            f"  {text}" + (" (no effect here)" if text in setup.without_effect else "")
            for text in setup.overrides
        ]
    for why, names in (
        ("left out, without a file now", setup.forgotten_tenants),
        ("not recorded", setup.unrecorded_tenants),
    ):
        if names:
            further = [f"and {len(names) - _MOST_SHOWN} more"] if len(names) > _MOST_SHOWN else []
            named = ", ".join([*names[:_MOST_SHOWN], *further])
            lines += paragraph(f"{why}: {named}", width=width)
    return [*lines, *(f"warning: {text}" for text in report.warnings)]


def _terms_text(setup: Setup, terms: Terms) -> str:
    observing = ", only observing: nothing is limited" if terms.is_observing else ""
    return f"{terms.mode} mode, {_amount(setup, terms.capacity)} to divide{observing}"


def _legend_lines(report: HindsightReport, affected: int, width: int) -> list[str]:
    setup = report.setup
    lines = [
        "UNMET   demand not served, of all demand",
        "SHORT   steps of tenants not served in full",
        "MOVES   limit changes per tenant and hour",
        "DEMAND  of all together, on average",
    ]
    if affected:
        by = "whose unmet demand --set changes most" if setup.changed else "with most unmet demand"
        text = f"The last {affected} row(s): the tenants {by}, as replayed."
        lines += paragraph(text, width=width)
    text = (
        f"Recorded is what the agent did at each tick ({seconds_text(setup.tick_s)}); a replay "
        f"decides once a step ({seconds_text(setup.step_s)}), knowing the step's mean: compare "
        "replays with each other, and with what was recorded only roughly."
    )
    return [*lines, *paragraph(text, width=width)]


def _columns(setup: Setup) -> list[Column[Row]]:
    return [
        Column("", lambda row: row.name, is_left=True, shortest=_SHORTEST_NAME),
        Column("TENANTS", lambda row: str(row.tenants), rank=2),
        Column("DEMAND", lambda row: _amount(setup, row.mean_demand, is_short=True)),
        *_served_columns("recorded", lambda row: row.recorded),
        *_served_columns("configured", lambda row: row.configured),
        *(_served_columns("--set", lambda row: row.changed) if setup.changed else ()),
    ]


def _served_columns(group: str, served: Callable[[Row], Served | None]) -> Iterator[Column[Row]]:
    def cell(text: Callable[[Served], str]) -> Callable[[Row], str]:
        def shown(row: Row) -> str:
            found = served(row)
            return "-" if found is None or not row.tenants else text(found)

        return shown

    yield Column("UNMET", cell(lambda one: pct_text(one.unmet_fraction)), group)
    yield Column("SHORT", cell(lambda one: pct_text(one.short_fraction)), group)
    changes = cell(lambda one: f"{one.limit_changes_per_tenant_hour:.1f}")
    yield Column("MOVES", changes, group, rank=1)


def _amount(setup: Setup, amount: float, *, is_short: bool = False) -> str:
    """Return an amount of the resource, with its unit unless the column says it."""
    if setup.resource == str(Resource.CPU):
        return three_digits(amount) + ("" if is_short else " cores")
    return approximate_bytes(amount)
