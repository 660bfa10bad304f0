"""A whole backtest: reads a trace, holds the contest on every host, sums it up."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from agent.allocation import Mode
from agent.backtest.contest import Contest, HostResult, Terms, steps_told
from agent.backtest.density import (
    CAPACITY_FACTOR,
    MOST_TIMES,
    Queue,
    SeedDensity,
    density_of,
    density_steps_told,
    queue_of,
)
from agent.backtest.parallel import Tell, in_parallel
from agent.backtest.protocol import Case, ProtocolError, Recorded, case_of, usual_tenants
from agent.backtest.report import Report, Setup, density_result, factor_results, warnings
from agent.backtest.trace import read_trace
from agent.backtest.tracks import Track, tracks_of
from agent.settings import DEFAULT_QOS
from agent.tenant import Resource

# At which capacity tenants are shown: where limits matter in each mode.
_SHOWN_FACTOR = {Mode.STRICT: 1.1, Mode.ELASTIC: 0.9}


@dataclass(frozen=True, slots=True)
class Request:
    """What a backtest is asked for."""

    path: Path
    resource: Resource
    terms: Terms
    tenants_per_host: int | None = None  # None: by how many there are
    seeds: int = 5
    is_mixed: bool = False
    has_density: bool = False
    has_tracks: bool = False  # step by step, of some tenants
    tracked: tuple[str, ...] = ()  # these; where none is named, those that tell most
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """Tenants of one host, step by step, at one capacity."""

    seed: int
    factor: float
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """A trace and the hosts drawn from it."""

    request: Request
    recorded: Recorded
    cases: Sequence[Case]
    queues: Sequence[Queue]  # none where density is not asked for
    shown: Case | None  # the host of which tenants are shown step by step

    @property
    def steps(self) -> int:
        """Return about how many steps `held` will tell of."""
        terms = self.request.terms
        contests = sum(steps_told(case, terms) for case in self.cases)
        return contests + sum(density_steps_told(queue, terms) for queue in self.queues)


def prepared(request: Request) -> Session:
    """Read the trace and draw the hosts.

    Raises:
        TraceError: The file is no trace, or tells nothing of the resource.
        ProtocolError: It cannot be replayed as asked for.

    """
    trace = read_trace(request.path, request.resource)
    recorded = Recorded(trace.resource, trace.step_s, trace.tenants, trace.demand, trace.ceiling)
    count = request.tenants_per_host or usual_tenants(len(recorded.tenants))
    cases = [
        case_of(recorded, seed, count, classes=DEFAULT_QOS, is_mixed=request.is_mixed)
        for seed in range(request.seeds)
    ]
    queues = [_queue(recorded, case) for case in cases] if request.has_density else []
    shown = _shown_case(request, cases) if request.has_tracks else None
    return Session(request, recorded, cases, queues, shown)


def held(session: Session, tell: Tell) -> tuple[Report, Shown | None]:
    """Hold the contest on every host; return the report, and tenants' courses if asked for.

    Raises:
        ForecasterError: A forecaster is gone, or does not answer.
        WorkerGoneError: A worker process was killed.

    """
    request = session.request
    terms, jobs = request.terms, request.jobs
    begun_s = time.monotonic()
    at = _shown_factor(terms)
    shown_seed = None if session.shown is None else session.shown.seed
    contest = partial(_contest, terms=terms, shown_seed=shown_seed, shown_factor=at)
    density = partial(_density, terms=terms)
    hosts = in_parallel(contest, session.cases, jobs=jobs, tell=tell)
    densities = in_parallel(density, session.queues, jobs=jobs, tell=tell)
    setup = _setup(session)
    report = Report(
        setup=setup,
        factors=factor_results(hosts, request.terms),
        density=density_result(densities, request.terms) if densities else None,
        elapsed_s=time.monotonic() - begun_s,
        warnings=warnings(setup),
    )
    courses = [host.course for host in hosts if host.course is not None]
    if session.shown is None or not courses:
        return report, None
    tracks = tracks_of(session.shown, courses[0], request.tracked)
    return report, Shown(session.shown.seed, at, tracks)


def _contest(
    case: Case, tell: Tell, terms: Terms, shown_seed: int | None, shown_factor: float
) -> HostResult:
    if case.seed == shown_seed:
        terms = replace(terms, course_factor=shown_factor)
    return Contest(case, terms, tell).result()


def _shown_factor(terms: Terms) -> float:
    """Return at which of the capacities tenants are shown."""
    return min(terms.factors, key=lambda factor: abs(factor - _SHOWN_FACTOR[terms.mode]))


def _shown_case(request: Request, cases: Sequence[Case]) -> Case:
    """Return the first host that has all tenants that are to be shown.

    Raises:
        ProtocolError: There is none.

    """
    for case in cases:
        if set(request.tracked) <= set(case.tenants):
            return case
    named = ", ".join(request.tracked)
    raise ProtocolError(f"no host that is drawn has tenant {named}; more seeds draw more hosts")


def _queue(recorded: Recorded, case: Case) -> Queue:
    """Return the queue of one seed: its capacity goes by the peak of the seed's host."""
    there_are = len(recorded.tenants)
    whole = case_of(recorded, case.seed, there_are, classes=DEFAULT_QOS, is_mixed=True)
    most = min(MOST_TIMES * len(case.tenants), there_are)
    return queue_of(whole, capacity=CAPACITY_FACTOR * case.peak, most=most)


def _density(queue: Queue, tell: Tell, terms: Terms) -> SeedDensity:
    return density_of(queue, terms, tell)


def _setup(session: Session) -> Setup:
    request, recorded, case = session.request, session.recorded, session.cases[0]
    return Setup(
        trace=request.path.name,
        resource=str(recorded.resource),
        mode=request.terms.mode.value,
        is_closed_loop=request.terms.is_closed,
        forecaster="ets" if request.terms.are_fitted else "rule",
        classes="mixed" if request.is_mixed else "gold",
        tenants=len(recorded.tenants),
        tenants_per_host=len(case.tenants),
        seeds=tuple(one.seed for one in session.cases),
        step_s=recorded.step_s,
        warm_up_steps=recorded.warm_up,
        evaluated_steps=len(recorded.demand) - recorded.warm_up,
    )
