"""Drives the control loop over recorded demand: one tick a step of the trace, no second core."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.backtest.host import Evidence, SimulatedHost
from agent.cycle import Policy
from agent.forecaster import State
from agent.tenant import Floats, Ints, Resource, Roster
from agent.tick import ControlLoop, Forecasting, Kernel, LoopSettings
from forecast.history import History
from forecast.profile import Profile


@dataclass(frozen=True, slots=True)
class Setting:
    """Whose demand of which resource is replayed, under which policy, at what pace."""

    roster: Roster
    policy: Policy
    resource: Resource
    step_s: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of demand, shape (steps, tenants): limits in force, and what was served.

    Served is NaN where demand was: the tenant was absent.
    """

    limit: Floats
    served: Floats


class RuleForecaster:
    """No model at all: keeps recent steps, from which the loop's own fallback rule is computed."""

    problem: str | None = None

    def __init__(self, history_steps: int = 24) -> None:
        self._history_steps = history_steps
        self._history = History(0, history_steps)

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Start with series whose past is `history`, shape (steps, series)."""
        self._history = History(n_series, self._history_steps)
        for row in history:
            self._history.append(row)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._history.rearrange(positions)

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Take in a closed step."""
        self._history.append(values)

    def poll(self, now_s: float) -> Profile | None:
        """Have no profile, ever."""
        return None

    def state(self, now_s: float) -> State:
        """Say so."""
        return "starting"

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last closed steps, oldest first."""
        return self._history.recent(steps)


def replayed(
    demand: Floats, setting: Setting, *, forecaster: Forecasting, evidence: Evidence
) -> Replay:
    """Run `demand` (steps, tenants in roster order; NaN is absent) under the control loop.

    Before each step the loop ticks once: it samples what the last step left in the counters,
    decides, and its limits are in force during the step.  Each step is one tick.
    """
    step_s, tenants = setting.step_s, len(setting.roster)
    capacity = setting.policy.total[setting.resource]
    host = SimulatedHost(tenants, resource=setting.resource, capacity=capacity, evidence=evidence)
    loop = ControlLoop(
        setting.roster,
        setting.policy,
        LoopSettings(tick_s=step_s, step_s=step_s, is_observing=False),
        kernel=Kernel(host, host),
        forecaster=forecaster,
        ledgers={},
    )
    limit, served = np.empty_like(demand), np.empty_like(demand)
    for step, row in enumerate(demand):
        loop.tick(step_s * (step + 1), late_ticks=0)
        limit[step] = host.limit()
        served[step] = host.run(row, step_s)
    return Replay(limit, served)
