"""tidegate's own run: a configuration's policy over one simulated host; by default, of a case.

The control loop and the forecaster are the daemon's; only the clock and the kernel are not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.allocation import Mode
from agent.backtest.engine import OneResource, Passed, RuleForecaster, Setting, steps_of
from agent.backtest.host import Evidence
from agent.backtest.protocol import Case
from agent.backtest.rivals import Outcome
from agent.backtest.waiting import WaitingForecaster
from agent.forecaster import State
from agent.policy import forecast_settings, policy_of
from agent.ports import Forecasting
from agent.settings import Config, HostSettings, Periods
from agent.tenant import BASIC, Entitlement, Floats, Ints, Resource, Roster, Tenant
from forecast.profile import Profile
from forecast.settings import ForecastSettings

Tell = Callable[[int], None]  # is told how many steps were done since it was told last

PLENTY = 1e15  # of resources that are not replayed
# A model is fitted anew when a quarter of what it is fitted on is new.  On 5-minute traces a refit
# every 24 steps left as much unmet (within 2 %, google 1.4 times 10 % more), at 2.5 times the cost.
_LEAST_REFIT_STEPS = 60
# Steps that the child has to work on: one at hand, one in the pipe.
_AHEAD_STEPS = 2


class Forecasts(Protocol):
    """What the forecaster said of true demand after each step of a case."""

    def after(self, step: int) -> Profile:
        """Return what was said after a step, 1 the first."""


@dataclass(frozen=True, slots=True)
class ForecastLog:
    """All that the forecaster said of a case; single precision, as it comes.

    Forecasts of true demand do not depend on the capacity: made once, used for every one.
    """

    levels: Floats  # (levels,)
    grid: NDArray[np.float32]  # (steps, levels, tenants); row t was said after step t
    expected: NDArray[np.float32]  # (steps, tenants)
    maximum: NDArray[np.float32]  # (steps, horizons, bounds, tenants)
    source: NDArray[np.uint8]  # (steps, tenants)

    def after(self, step: int) -> Profile:
        """Return what was said after a step, 1 the first."""
        row = step - 1
        return Profile(
            step=step,
            levels=self.levels,
            grid=self.grid[row],
            expected=self.expected[row].astype(np.float64),
            maximum=self.maximum[row],
            source=self.source[row],
        )

    def only(self, positions: Ints) -> "ForecastLog":
        """Return what was said of some of the tenants."""
        return ForecastLog(
            self.levels,
            self.grid[..., positions],
            self.expected[:, positions],
            self.maximum[..., positions],
            self.source[:, positions],
        )


class ForecastsAhead:
    """Has the forecaster child see a case's true demand, and keeps what it says.

    The child works ahead of whoever asks, so that a replay and its forecasts are made side by
    side: in open loop nothing that is said depends on what becomes of it.
    """

    def __init__(self, case: Case, forecaster: WaitingForecaster, tell: Tell) -> None:
        self._demand = np.minimum(case.demand, case.ceiling)
        self._forecaster, self._tell = forecaster, tell
        forecaster.reset(len(case.tenants), np.empty((0, len(case.tenants))))
        self._asked, self._answered = 0, 0
        self._log: ForecastLog | None = None
        self._ask()

    def after(self, step: int) -> Profile:
        """Return what is said after a step, 1 the first; waits for it.

        Raises:
            ForecasterError: The forecaster is gone, or does not answer.

        """
        while self._answered < step:
            said = self._forecaster.answer(self._answered + 1)
            self._answered += 1
            self._ask()
            self._keep(said)
            self._tell(1)
        return self._kept.after(step)

    def log(self) -> ForecastLog:
        """Return all that there is to say of the case."""
        self.after(len(self._demand))
        return self._kept

    @property
    def _kept(self) -> ForecastLog:
        if self._log is None:
            raise ValueError("nothing was said yet")
        return self._log

    def _ask(self) -> None:
        """Let two steps be with the child, while there are as many."""
        while self._asked < min(self._answered + _AHEAD_STEPS, len(self._demand)):
            self._asked += 1
            self._forecaster.ask(self._asked, self._demand[self._asked - 1])

    def _keep(self, said: Profile) -> None:
        if self._log is None:
            self._log = _blank(said, len(self._demand))
        for column in ("grid", "expected", "maximum", "source"):
            getattr(self._log, column)[self._answered - 1] = getattr(said, column)


def _blank(said: Profile, steps: int) -> ForecastLog:
    """Return room for what is to be said of so many steps, in the shape of what was said of one."""

    def room(column: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.empty((steps, *column.shape), dtype=np.float32)

    source = np.empty((steps, *said.source.shape), dtype=np.uint8)
    grid, expected, maximum = room(said.grid), room(said.expected), room(said.maximum)
    return ForecastLog(said.levels, grid, expected, maximum, source)


class LoggedForecaster(RuleForecaster):
    """Says step by step what was said of the case; keeps recent steps as the rule does."""

    def __init__(self, forecasts: Forecasts) -> None:
        super().__init__()
        self._forecasts, self._offered = forecasts, 0

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Take in a closed step."""
        super().offer(step, values, now_s)
        self._offered = step

    def poll(self, now_s: float) -> Profile | None:
        """Return what was said after the last step, None before the first."""
        return self._forecasts.after(self._offered) if self._offered else None

    def state(self, now_s: float) -> State:
        """Be live as soon as there is a forecast."""
        return "live" if self._offered else "starting"


def at_pace(periods: Periods, step_s: float) -> Periods:
    """Return the clocks of a replay: a tick is a step, and nobody's limits are to be learned."""
    return replace(
        periods,
        tick_s=step_s,
        step_s=step_s,
        horizon_s=max(periods.horizon_s, step_s),
        refit_s=max(periods.refit_s, _LEAST_REFIT_STEPS * step_s),
        learning_s=0.0,
    )


def config_of(case: Case, capacity: float, mode: Mode) -> Config:
    """Return the default configuration for a host of this capacity, nothing of it reserved.

    Its tenants have no floors, their ceilings and their classes.
    """
    amounts = dict.fromkeys(BASIC, PLENTY) | {case.resource: capacity}
    return Config(
        machine=amounts,
        total=amounts,
        host=HostSettings(cpu_reserve_cores=0.0, memory_reserve_bytes=0),
        periods=at_pace(Periods(), case.step_s),
        modes=dict.fromkeys(BASIC, Mode.STRICT) | {case.resource: mode},
        # Numbered, so that the roster keeps the order of the case's columns.
        tenants=tuple(
            Tenant(f"{place:07}", case.classes[qos], {case.resource: Entitlement(ceiling=ceiling)})
            for place, (qos, ceiling) in enumerate(
                zip(case.class_of.tolist(), case.ceiling.tolist(), strict=True)
            )
        ),
    )


def setting_of(config: Config, resource: Resource) -> Setting:
    """Return what is replayed of one resource under a configuration, which paces it.

    A trace knows what was used of everything, also of what no kernel counts for the agent yet.
    """
    return Setting(
        roster=Roster.of(config.tenants, config.resources),
        policy=replace(policy_of(config), uncounted=()),
        resource=resource,
        step_s=config.periods.step_s,
        is_observing=config.host.is_observing,
    )


def replay_forecast_settings(config: Config) -> ForecastSettings:
    """Return the forecaster's settings, with refits that do not depend on the clock."""
    return replace(forecast_settings(config), are_refits_counted=True)


@contextmanager
def forecasts_ahead(case: Case, tell: Tell) -> Iterator[ForecastsAhead]:
    """Let a forecaster child work on a case while this lasts.

    Raises:
        ForecasterError: It is gone, or does not answer.

    """
    with WaitingForecaster(replay_forecast_settings(config_of(case, 1.0, Mode.STRICT))) as child:
        yield ForecastsAhead(case, child, tell)


def all_forecasts(case: Case, tell: Tell) -> ForecastLog:
    """Return all that the forecaster says of a case's true demand.

    Raises:
        ForecasterError: It is gone, or does not answer.

    """
    with forecasts_ahead(case, tell) as made:
        return made.log()


@dataclass(frozen=True, slots=True)
class Course(Outcome):
    """What one run of tidegate decided and served in the steps that count, (steps, tenants)."""

    guaranteed: Floats
    expected: Floats  # forecast of the step
    upper: Floats  # forecast bound of the maximum within the horizon, at 95 %
    balance: Floats  # tokens; NaN of what is held, not spent


def our_steps(
    case: Case, capacity: float, mode: Mode, forecasts: Forecasts | None
) -> Iterator[Passed]:
    """Replay a case in open loop: the true past is seen, whatever was served.

    Without forecasts the fallback rule stands in.

    Raises:
        ForecasterError: The forecaster is gone, or does not answer.

    """
    forecaster = RuleForecaster() if forecasts is None else LoggedForecaster(forecasts)
    setting = setting_of(config_of(case, capacity, mode), case.resource)
    return _steps(case.demand, setting, forecaster, Evidence(is_exact=True))


def our_steps_closed(
    case: Case, capacity: float, mode: Mode, *, are_fitted: bool
) -> Iterator[Passed]:
    """Replay a case in closed loop: seen is what was served, and throttling as kernels report it.

    Raises:
        ForecasterError: The forecaster is gone, or does not answer.

    """
    config, evidence = config_of(case, capacity, mode), Evidence(is_exact=False)
    return steps_under(
        config, case.demand, resource=case.resource, evidence=evidence, are_fitted=are_fitted
    )


def steps_under(
    config: Config, demand: Floats, *, resource: Resource, evidence: Evidence, are_fitted: bool
) -> Iterator[Passed]:
    """Replay demand (steps, tenants in roster order) under a configuration at the replay's pace.

    Forecasts are made along the way, from what the loop sees; if not, the fallback rule stands in.

    Raises:
        ForecasterError: The forecaster is gone, or does not answer.

    """
    setting = setting_of(config, resource)
    if not are_fitted:
        yield from _steps(demand, setting, RuleForecaster(), evidence)
        return
    with WaitingForecaster(replay_forecast_settings(config)) as forecaster:
        yield from _steps(demand, setting, forecaster, evidence)


def course_of(case: Case, steps: Iterator[Passed], capacity: float, tell: Tell) -> Course:
    """Return what a replay did in the steps that count; no limit is one at the capacity."""
    columns = [np.empty_like(case.evaluated) for _ in fields(Course)]
    for step, passed in enumerate(steps):
        tell(1)
        if step >= case.warm_up:
            tick = passed.tick
            limit = np.minimum(passed.limit, capacity)
            forecast = (tick.expected, tick.upper)
            values = (limit, passed.served, tick.guaranteed, *forecast, tick.balance)
            for column, value in zip(columns, values, strict=True):
                column[step - case.warm_up] = value
    return Course(*columns)


def _steps(
    demand: Floats, setting: Setting, forecaster: Forecasting, evidence: Evidence
) -> Iterator[Passed]:
    narrowed = OneResource(
        forecaster, setting.resource, len(setting.roster), foreseen=setting.policy.foreseen
    )
    return steps_of(demand, setting, forecaster=narrowed, evidence=evidence)
