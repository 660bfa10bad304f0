"""A whole evaluation of forecasts: reads a trace, lets all forecasters run, sums up.

Rolling origin: after each step each says what the next steps' maximum stays below, and is held
against what came.  The last part of the trace counts, the part before it warms up.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.allocation import Mode
from agent.backtest.accuracy import FEWEST_JUDGED, group_of
from agent.backtest.contestants import (
    AUTOETS,
    MIX,
    NAIVE,
    RULE,
    Entry,
    Result,
    alone,
    as_one,
    result_of,
    steps_told,
)
from agent.backtest.evaluation_report import GroupResult, Report, Setup, group_result
from agent.backtest.ours import config_of, replay_forecast_settings
from agent.backtest.parallel import Tell, in_parallel
from agent.backtest.protocol import Case, ProtocolError, Recorded, case_of
from agent.backtest.trace import read_trace
from agent.settings import DEFAULT_QOS
from agent.tenant import Ints, Resource
from agent.units import seconds_text
from forecast.panel import PANEL
from forecast.settings import ForecastSettings

# Tenants of one AutoETS child: several share the work of the slowest forecaster.
_AUTOETS_TENANTS = 10
# How often it is refitted, as it is commonly run.
_HOUR_S, _DAY_HOURS = 3600.0, 24
_FEWEST_STEPS = 8


@dataclass(frozen=True, slots=True)
class Request:
    """What an evaluation is asked for."""

    path: Path
    resource: Resource
    tenants: int | None = None  # None: all that have data
    seed: int = 0
    experts: tuple[str, ...] = ()  # judged alone beside the mix
    autoets_tenants: int = 50
    scored_fraction: float = 0.5  # of the trace's steps
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A trace and who forecasts it."""

    request: Request
    case: Case
    first: int  # the first window that counts starts after this step
    settings: ForecastSettings
    sample: Ints  # AutoETS's tenants, positions in the case
    entries: Sequence[Entry]  # that of AutoETS in parts, the others whole

    @property
    def steps(self) -> int:
        """Return how many steps `held` will tell of."""
        return sum(steps_told(entry) for entry in self.entries)


def prepared(request: Request) -> Evaluation:
    """Read the trace and draw the tenants.

    Raises:
        TraceError: The file is no trace, or tells nothing of the resource.
        ProtocolError: It cannot be forecast as asked for.

    """
    trace = read_trace(request.path, request.resource)
    has_data = np.flatnonzero(np.isfinite(trace.demand).any(axis=0))
    names = tuple(trace.tenants[place] for place in has_data)
    demand, ceiling = trace.demand[:, has_data], trace.ceiling[has_data]
    recorded = Recorded(trace.resource, trace.step_s, names, demand, ceiling)
    count = request.tenants or len(names)
    case = case_of(recorded, request.seed, count, classes=DEFAULT_QOS)
    first = len(demand) - round(request.scored_fraction * len(demand)) - 1
    if len(demand) < _FEWEST_STEPS or not 0 <= first < len(demand) - 1:
        raise ProtocolError(f"{len(demand)} steps are too few to warm up and to count")
    generator = np.random.default_rng(request.seed)
    drawn = min(request.autoets_tenants, count)
    sample = np.sort(generator.choice(count, drawn, replace=False))
    settings = replay_forecast_settings(config_of(case, 1.0, Mode.STRICT))
    entries = _entries(case, first, settings, sample, request.experts)
    return Evaluation(request, case, first, settings, sample, entries)


def shortness(evaluation: Evaluation) -> str:
    """Say in a line what the trace is too short for, and what would do; "" where it is not.

    An expert that looks back for long has nothing to say before it can, and the rule stands in for
    it; and of few windows a tenant's own coverage says nothing.
    """
    request, step_s = evaluation.request, evaluation.case.step_s
    seen, longest = evaluation.first + 1, max(evaluation.settings.horizons_steps)
    windows = max(len(evaluation.case.demand) - evaluation.first - longest, 0)
    least = {name: math.ceil(PANEL[name].least_past_s / step_s) for name in request.experts}
    found = [
        f"{name} can be asked in {max(windows - steps + seen, 0)} (it looks back "
        f"{seconds_text(steps * step_s)})"
        for name, steps in least.items()
        if steps > seen
    ]
    if windows < FEWEST_JUDGED:
        found.append(f"to judge it alone takes {FEWEST_JUDGED}")
    if not found:
        return ""
    scored = request.scored_fraction
    needed = max(max(least.values(), default=0) / (1 - scored), (FEWEST_JUDGED + longest) / scored)
    hours = math.ceil((needed + 1) * step_s / _HOUR_S)  # which steps count is rounded
    return (
        f"a short trace: of the {windows} windows of a tenant {', '.join(found)}; "
        f"{hours // _DAY_HOURS}d{hours % _DAY_HOURS}h of steps would do for all"
    )


def held(evaluation: Evaluation, tell: Tell) -> Report:
    """Let all forecasters run, and return how good each was.

    Raises:
        ForecasterError: A forecaster is gone, or does not answer.
        WorkerGoneError: A worker process was killed.

    """
    begun_s = time.monotonic()
    entries = evaluation.entries
    parts = in_parallel(result_of, entries, jobs=evaluation.request.jobs, tell=tell)
    results: dict[str, list[Result]] = {}
    for entry, part in zip(entries, parts, strict=True):
        results.setdefault(entry.name, []).append(part)
    order = (MIX, *evaluation.request.experts, AUTOETS, RULE, NAIVE)
    whole = {name: as_one(results[name]) for name in order if name in results}
    everyone, sampled = _groups(evaluation, whole)
    return Report(_setup(evaluation), everyone, sampled, time.monotonic() - begun_s)


def _entries(
    case: Case, first: int, settings: ForecastSettings, sample: Ints, experts: Sequence[str]
) -> list[Entry]:
    """Return all that is to be run, what takes longest before the others."""
    parts = [sample[at : at + _AUTOETS_TENANTS] for at in range(0, len(sample), _AUTOETS_TENANTS)]
    hourly = replace(settings, refit_s=_autoets_refit_s(case))
    rivals = [Entry(AUTOETS, hourly, case.demand[:, part], first) for part in parts]
    others = [Entry(name, settings, case.demand, first) for name in (MIX, RULE, NAIVE)]
    ours = [Entry(name, alone(name, settings), case.demand, first) for name in experts]
    return [*rivals, *ours, *others]


def _autoets_refit_s(case: Case) -> float:
    return max(_HOUR_S, case.step_s)


def _groups(
    evaluation: Evaluation, results: Mapping[str, Result]
) -> tuple[GroupResult, GroupResult | None]:
    """Return the figures of all tenants, and those of AutoETS's, if it was asked."""
    demand, settings = evaluation.case.demand, evaluation.settings
    group = group_of(evaluation.case.tenants, demand[evaluation.first + 1 :])
    horizons_s = tuple(steps * settings.step_s for steps in settings.horizons_steps)
    everyone = {name: one for name, one in results.items() if name != AUTOETS}
    whole = group_result(everyone, group, horizons_s)
    if AUTOETS not in results:
        return whole, None
    sampled = {name: one.only(evaluation.sample) for name, one in everyone.items()}
    sampled[AUTOETS] = results[AUTOETS]
    return whole, group_result(sampled, group.only(evaluation.sample), horizons_s)


def _setup(evaluation: Evaluation) -> Setup:
    request, case, first = evaluation.request, evaluation.case, evaluation.first
    return Setup(
        trace=request.path.name,
        resource=str(case.resource),
        step_s=case.step_s,
        tenants=len(case.tenants),
        seed=request.seed,
        warm_up_steps=first + 1,
        scored_steps=len(case.demand) - first - 1,
        history_steps=evaluation.settings.history_steps,
        refit_s=_autoets_refit_s(case),
    )
