"""Drives the control loop over recorded demand: one tick a step of the trace, no second core."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.backtest.host import Evidence, SimulatedHost
from agent.controls import LIMIT_CONTROL
from agent.cycle import Policy
from agent.forecaster import State
from agent.ports import Adjusting, Forecasting, Kernel
from agent.record import ResourceTick
from agent.tenant import Floats, Ints, Resource, Roster
from agent.tick import ControlLoop, LoopSettings
from forecast.history import History, Number
from forecast.profile import Profile


@dataclass(frozen=True, slots=True)
class Setting:
    """Whose demand of which resource is replayed, under which policy, at what pace."""

    roster: Roster
    policy: Policy
    resource: Resource
    step_s: float
    is_observing: bool = False  # all is decided, and nothing is limited
    adjusting: Sequence[Adjusting] = ()  # what is known beside the recorded past


@dataclass(frozen=True, slots=True)
class Passed:
    """One step of a replay, columns (tenants,): what was in force, and what was served.

    Served is NaN where demand was: the tenant was absent.
    """

    limit: Floats
    served: Floats
    tick: ResourceTick  # what was decided before the step


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
        self._history.rearrange(positions, self._history_steps)

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


class OneResource:
    """Lets a forecaster see the series of one resource only, and shows those of others as gaps.

    A replay has demand of one resource: forecasts of the others would cost as much for nothing.
    """

    problem: str | None = None

    def __init__(
        self,
        forecaster: Forecasting,
        resource: Resource,
        tenants: int,
        *,
        foreseen: Sequence[Resource],
    ) -> None:
        place = list(foreseen).index(resource)
        self._forecaster, self._tenants = forecaster, tenants
        self._cut = slice(place * tenants, (place + 1) * tenants)
        self._n_series = len(foreseen) * tenants

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Start with series whose past is `history`, shape (steps, series)."""
        self._forecaster.reset(self._tenants, history[:, self._cut])

    def rearrange(self, positions: Ints) -> None:
        """Refuse: tenants of a replay stay."""
        raise ValueError("a replay's roster does not change")

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Hand over a closed step."""
        self._forecaster.offer(step, values[self._cut], now_s)

    def poll(self, now_s: float) -> Profile | None:
        """Return the newest profile, NaN for the other resources."""
        profile = self._forecaster.poll(now_s)
        if profile is None:
            return None
        return replace(
            profile,
            grid=self._widened(profile.grid),
            expected=self._widened(profile.expected),
            maximum=self._widened(profile.maximum),
            source=self._widened(profile.source).astype(np.uint8),
        )

    def state(self, now_s: float) -> State:
        """Return how the forecaster does."""
        return self._forecaster.state(now_s)

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last closed steps, oldest first."""
        return self._widened(self._forecaster.recent(steps))

    def _widened(self, columns: NDArray[Number]) -> NDArray[Number]:
        filler = 0 if columns.dtype == np.uint8 else np.nan
        wide = np.full((*columns.shape[:-1], self._n_series), filler, dtype=columns.dtype)
        wide[..., self._cut] = columns
        return wide


def steps_of(
    demand: Floats, setting: Setting, *, forecaster: Forecasting, evidence: Evidence
) -> Iterator[Passed]:
    """Run `demand` (steps, tenants in roster order; NaN is absent) under the control loop.

    Before each step the loop ticks once: it samples what the last step left in the counters,
    decides, and its limits are in force during the step.  Each step is one tick.  The reserve
    is the system's own: tenants are served from the rest.
    """
    step_s, tenants = setting.step_s, len(setting.roster)
    capacity = setting.policy.capacity[setting.resource]
    host = SimulatedHost(tenants, resource=setting.resource, capacity=capacity, evidence=evidence)
    loop = ControlLoop(
        setting.roster,
        setting.policy,
        LoopSettings(tick_s=step_s, step_s=step_s, is_observing=setting.is_observing),
        kernel=Kernel(host, host),
        forecaster=forecaster,
        ledgers={},
    )
    loop.adjusting = setting.adjusting
    for step, row in enumerate(demand):
        tick = loop.tick(step_s * (step + 1), late_ticks=0).resources[setting.resource]
        if setting.resource not in LIMIT_CONTROL and not setting.is_observing:
            host.hold(np.where(setting.roster.is_observed_only, np.inf, tick.limit))
        limit = host.limit()
        yield Passed(limit, host.run(row, step_s), tick)
