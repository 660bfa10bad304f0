"""Whose bounds on the maximum are judged, and how each comes to say them.

The agent's own forecasts come from its forecaster child as it is in production, but for refits,
which are counted and not timed; so do those of plain StatsForecast, from a child of its own.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.backtest.accuracy import Singles, Tally, joined, naive_bounds, outcomes_of, tallied
from agent.backtest.parallel import Tell
from agent.backtest.waiting import WaitingForecaster
from agent.forecaster import COMMAND
from agent.tenant import Floats, Ints
from forecast.fallback import MAXIMUM_STEPS, fallback_profile
from forecast.profile import Numbers, Source
from forecast.settings import ForecastSettings

MIX, RULE, NAIVE, AUTOETS = "mix", "rule", "naive", "autoets"
# It needs the same care as the forecaster itself: isolated, and never in this process.
AUTOETS_COMMAND = (sys.executable, "-I", "-m", "forecast.autoets")


def alone(expert: str, settings: ForecastSettings) -> ForecastSettings:
    """Return settings of a forecaster that believes one expert alone, calibrated as the mix is."""
    return replace(settings, experts=(expert,))


@dataclass(frozen=True, slots=True)
class Entry:
    """One forecaster, and the demand (steps, tenants) of some tenants for it to forecast.

    The first window that counts starts after step `first`.
    """

    name: str
    settings: ForecastSettings
    demand: Floats
    first: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry, and what it cost."""

    tally: Tally
    stood_in_windows: Ints  # (tenants,) of the longest horizon: no model, so the rule stood in
    cpu_s: float  # of all steps but the first that counts; NaN where it is not worth measuring
    series_steps: int  # that this was spent on

    def only(self, positions: Ints) -> "Result":
        """Return the result of some of the tenants, at the same cost a series and step."""
        stood_in = self.stood_in_windows[positions]
        return replace(self, tally=self.tally.only(positions), stood_in_windows=stood_in)


@dataclass(frozen=True, slots=True)
class _Said:
    """What was said after each step that counts: bounds (origins, horizons, bounds, tenants)."""

    bounds: Singles
    is_live: NDArray[np.bool_]  # (origins, tenants)
    cpu_s: float


def result_of(entry: Entry, tell: Tell) -> Result:
    """Let one forecaster see the demand step by step, and hold what it says against what comes.

    Raises:
        ForecasterError: Its child is gone, or does not answer.

    """
    outcomes = outcomes_of(entry.demand, entry.settings.horizons_steps, entry.first)
    said = _SAYS.get(entry.name, _said_by_ours)(entry, outcomes, tell)
    return Result(
        tally=tallied(outcomes, said.bounds),
        stood_in_windows=(np.isfinite(outcomes[-1]) & ~said.is_live).sum(axis=0),
        cpu_s=said.cpu_s,
        series_steps=(len(said.bounds) - 1) * entry.demand.shape[1],
    )


def as_one(results: list[Result]) -> Result:
    """Return the results of one forecaster on several groups of tenants as one, in order."""
    return Result(
        joined([one.tally for one in results]),
        np.concatenate([one.stood_in_windows for one in results]),
        sum(one.cpu_s for one in results),
        sum(one.series_steps for one in results),
    )


def steps_told(entry: Entry) -> int:
    """Return how many steps `result_of` tells of, for a progress bar."""
    steps = len(entry.demand)
    return {NAIVE: 0, AUTOETS: steps - entry.first}.get(entry.name, steps)


def _said_by_ours(entry: Entry, _outcomes: Singles, tell: Tell) -> _Said:
    """Forecast from the first step on, as an agent that was there all along."""
    return _said_by_child(entry, COMMAND, 0, tell)


def _said_by_autoets(entry: Entry, _outcomes: Singles, tell: Tell) -> _Said:
    """Forecast only what counts: before that there is nothing that it would learn from a fit."""
    return _said_by_child(entry, AUTOETS_COMMAND, entry.first, tell)


def _said_by_child(entry: Entry, command: tuple[str, ...], begun: int, tell: Tell) -> _Said:
    bounds, is_live, spent_s = [], [], 0.0
    with WaitingForecaster(entry.settings, command=command) as forecaster:
        forecaster.reset(entry.demand.shape[1], entry.demand[:begun])
        for step, row in enumerate(entry.demand[begun:], start=begun):
            said = forecaster.answered(step, row)
            tell(1)
            if step == entry.first:
                spent_s = forecaster.cpu_s
            if step >= entry.first:
                bounds.append(said.maximum.astype(np.float32))
                is_live.append(said.source == Source.LIVE)
        spent_s = forecaster.cpu_s - spent_s
    return _Said(np.stack(bounds), np.stack(is_live), spent_s)


def _said_by_rule(entry: Entry, _outcomes: Singles, tell: Tell) -> _Said:
    """Say what the agent says where there is no forecaster."""
    begun_s = time.process_time()
    bounds = np.stack([row.astype(np.float32) for row in _rule(entry, tell)])
    spent_s = time.process_time() - begun_s
    return _Said(bounds, np.ones((len(bounds), bounds.shape[-1]), dtype=np.bool_), spent_s)


def _rule(entry: Entry, tell: Tell) -> Iterator[Numbers]:
    for step in range(entry.first, len(entry.demand)):
        recent = entry.demand[max(step + 1 - MAXIMUM_STEPS, 0) : step + 1]
        yield fallback_profile(recent, step=step).maximum
        tell(1)


def _said_by_naive(entry: Entry, outcomes: Singles, _tell: Tell) -> _Said:
    bounds = naive_bounds(entry.demand, outcomes, entry.first)
    return _Said(bounds, np.ones((len(bounds), bounds.shape[-1]), dtype=np.bool_), float("nan"))


_SAYS: dict[str, Callable[[Entry, Singles, Tell], _Said]] = {
    RULE: _said_by_rule,
    NAIVE: _said_by_naive,
    AUTOETS: _said_by_autoets,
}
