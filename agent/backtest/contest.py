"""All policies on one host at every capacity: what `tidegate backtest` does for each seed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.allocation import Mode
from agent.backtest.figures import Figures, entitled, figures_of
from agent.backtest.ours import (
    Course,
    ForecastLog,
    Forecasts,
    Tell,
    course_of,
    forecasts_ahead,
    our_steps,
    our_steps_closed,
)
from agent.backtest.peers import PEERS, PeerKind
from agent.backtest.protocol import Case
from agent.backtest.rivals import (
    Outcome,
    oracle_outcome,
    peer_outcome,
    peer_outcome_closed,
    recommended,
    weights_outcome,
)
from agent.tenant import Floats, Resource

OURS = "tidegate"
REFERENCES = {"weights": weights_outcome, "oracle": oracle_outcome}
PEER_KINDS: Mapping[str, PeerKind] = {kind.name: kind for kind in PEERS}
POLICIES = (OURS, *PEER_KINDS, *REFERENCES)


def policies_for(resource: Resource) -> tuple[str, ...]:
    """Return all policies that can be compared there: some peers size only cpu and memory."""
    misfits = {
        name
        for name, kind in PEER_KINDS.items()
        if kind.resources and resource not in kind.resources
    }
    return tuple(name for name in POLICIES if name not in misfits)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a contest is held."""

    factors: tuple[float, ...]  # capacities, as parts of the peak of the sum
    mode: Mode
    policies: tuple[str, ...] = POLICIES
    is_closed: bool = False  # policies see what was served, not what was wanted
    are_fitted: bool = True  # forecasts come from the forecaster, not from the fallback rule
    course_factor: float | None = None  # of which tidegate's run is kept step by step


@dataclass(frozen=True, slots=True)
class HostResult:
    """One host: its capacities and each policy's figures, by factor."""

    seed: int
    peak: float
    figures: Mapping[float, Mapping[str, Figures]]
    course: Course | None = None


class Contest:
    """One host's contest; forecasts and recommendations are made once for all capacities."""

    def __init__(self, case: Case, terms: Terms, tell: Tell) -> None:
        self._case, self._terms, self._tell = case, terms, tell
        self._recommended: dict[str, Floats] = {}
        self._forecasts: ForecastLog | None = None
        self._course: Course | None = None

    def result(self) -> HostResult:
        """Hold the contest.

        Raises:
            ForecasterError: The forecaster is gone, or does not answer.

        """
        figures = {factor: dict(self._figures(factor)) for factor in self._terms.factors}
        return HostResult(self._case.seed, self._case.peak, figures, self._course)

    def _figures(self, factor: float) -> Iterator[tuple[str, Figures]]:
        capacity = factor * self._case.peak
        is_entitled = entitled(self._case, capacity)
        for name in self._terms.policies:
            outcome = self.outcome(name, capacity)
            if isinstance(outcome, Course) and factor == self._terms.course_factor:
                self._course = outcome
            yield name, figures_of(self._case, outcome, capacity, is_entitled)

    def outcome(self, name: str, capacity: float) -> Outcome:
        """Return what one policy makes of the case.

        Raises:
            ForecasterError: The forecaster is gone, or does not answer.

        """
        if name in REFERENCES:
            return REFERENCES[name](self._case, capacity)
        if name == OURS:
            return self._ours(capacity)
        if self._terms.is_closed:
            return peer_outcome_closed(self._case, PEER_KINDS[name], capacity)
        if name not in self._recommended:
            self._recommended[name] = recommended(self._case, PEER_KINDS[name])
        return peer_outcome(self._case, self._recommended[name], capacity)

    def _ours(self, capacity: float) -> Course:
        case, terms = self._case, self._terms
        if terms.is_closed:
            steps = our_steps_closed(case, capacity, terms.mode, are_fitted=terms.are_fitted)
            return course_of(case, steps, capacity, self._tell)
        if not terms.are_fitted or self._forecasts is not None:
            return self._replayed(capacity, self._forecasts)
        with forecasts_ahead(case, self._tell) as forecasts:
            course = self._replayed(capacity, forecasts)
            self._forecasts = forecasts.log()
        return course

    def _replayed(self, capacity: float, forecasts: Forecasts | None) -> Course:
        steps = our_steps(self._case, capacity, self._terms.mode, forecasts)
        return course_of(self._case, steps, capacity, self._tell)


def steps_told(case: Case, terms: Terms) -> int:
    """Return how many steps a contest tells of, for a progress bar."""
    if OURS not in terms.policies:
        return 0
    rounds = len(terms.factors) + (terms.are_fitted and not terms.is_closed)
    return rounds * len(case.demand)
