"""A queue that leads CPU, through the control loop, the forecaster and a simulated host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from leads import led, queue
from numpy.typing import NDArray

from agent.allocation import Mode
from agent.backtest.engine import RuleForecaster
from agent.backtest.host import Evidence, SimulatedHost
from agent.forecaster import State
from agent.indicators import FORGOTTEN_AFTER_STEPS, LeadingIndicators
from agent.ports import Kernel
from agent.record import IndicatorTick
from agent.tenant import BASIC, Floats, Resource, Roster, Tenant
from agent.tick import ControlLoop, LoopSettings
from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.fallback import fallback_profile
from forecast.profile import Profile
from forecast.settings import ForecastSettings

from hosts import GIB, SILVER
from scenes import policy_of

STEP_S = 60.0
FORESEEN = (Resource.CPU, Resource.MEMORY)


class Reported:
    """Metrics that a test reports, there as soon as they are asked for."""

    def __init__(self) -> None:
        self.values: Mapping[str, Mapping[str, float]] = {}
        self._found: Mapping[str, Mapping[str, float]] = {}

    def ask(self) -> None:
        self._found = self.values

    def found(self) -> Mapping[str, Mapping[str, float]]:
        found, self._found = self._found, {}
        return found


class InProcess(RuleForecaster):
    """The forecaster's own core, without a process around it."""

    def __init__(self) -> None:
        super().__init__()
        self._profile: Profile | None = None

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        super().reset(n_series, history)
        settings = ForecastSettings(step_s=STEP_S, horizon_steps=15, history_steps=240)
        self._core = ForecastCore(n_series, settings, MODELS)

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        super().offer(step, values, now_s)
        self._profile = self._core.observe(step, values)
        self._core.refit(self._core.due()[:2])

    def poll(self, now_s: float) -> Profile | None:
        return self._profile

    def state(self, now_s: float) -> State:
        return "live" if self._profile is not None else "starting"


@dataclass(frozen=True)
class Run:
    """What became of demand (steps, tenants): served, expected before each step, and at the end."""

    served: Floats
    expected: Floats
    indicators: IndicatorTick | None


def tenants(count: int) -> Roster:
    return Roster.of(Tenant(f"t{place:02}", SILVER, {}) for place in range(count))


def replayed(demand: Floats, reports: Floats | None, *, capacity: float) -> Run:
    """Run demand under strict limits; `reports` (steps, tenants) are known at each step's end."""
    roster, steps = tenants(demand.shape[1]), len(demand)
    policy = policy_of(capacity, 64 * GIB, modes=dict.fromkeys(BASIC, Mode.STRICT))
    host = SimulatedHost(
        len(roster),
        resource=Resource.CPU,
        capacity=policy.capacity[Resource.CPU],
        evidence=Evidence(is_exact=True),
    )
    source = Reported()
    loop = ControlLoop(
        roster,
        policy,
        LoopSettings(tick_s=STEP_S, step_s=STEP_S, is_observing=False),
        kernel=Kernel(host, host),
        forecaster=InProcess(),
        ledgers={},
    )
    indicators = LeadingIndicators(roster, policy.foreseen, (source,))
    loop.adjusting = (indicators,)
    served, expected = np.empty_like(demand), np.empty_like(demand)
    for step in range(steps):
        if reports is not None and step:
            row = reports[step - 1]
            source.values = {
                name: {"queue_depth": float(value)}
                for name, value in zip(roster.names, row, strict=True)
            }
        tick = loop.tick(STEP_S * (step + 1), late_ticks=0).resources[Resource.CPU]
        expected[step], served[step] = tick.expected, host.run(demand[step], STEP_S)
    return Run(served, expected, indicators.tick())


STEPS, TENANTS, SETTLED, CORES = 360, 8, 120, 4.0
LENGTHS = queue(STEPS, TENANTS, seed=11)
DEMAND = led(LENGTHS, 2, seed=12)


def unmet(demand: Floats, run: Run) -> float:
    """Return the part of what was demanded that was not served, once all is learned."""
    missing = np.maximum(demand - run.served, 0.0)[SETTLED:]
    return float(missing.sum() / demand[SETTLED:].sum())


@pytest.fixture(scope="module")
def without() -> Run:
    return replayed(DEMAND, None, capacity=CORES)


def test_a_queue_that_leads_cpu_by_two_steps_leaves_less_demand_unmet(without: Run) -> None:
    led_by = replayed(DEMAND, LENGTHS, capacity=CORES)
    assert unmet(DEMAND, led_by) < 0.5 * unmet(DEMAND, without)
    off = [np.abs(DEMAND - run.expected)[SETTLED:].mean() for run in (led_by, without)]
    assert off[0] < 0.5 * off[1]
    said = led_by.indicators
    assert said is not None
    assert said.lead_steps[0].tolist() == [2] * TENANTS
    assert said.is_chosen[0].mean() > 0.8
    assert (said.gain[0] > 0.2).all()


def test_noise_leaves_no_more_demand_unmet(without: Run) -> None:
    noise = np.random.default_rng(13).permutation(LENGTHS)
    misled = replayed(DEMAND, noise, capacity=CORES)
    assert unmet(DEMAND, misled) <= 1.002 * unmet(DEMAND, without)


class Bench:
    """Indicators of a roster, stepped by hand on a forecast that knows no queue."""

    def __init__(self, roster: Roster, foreseen: Sequence[Resource] = FORESEEN) -> None:
        self.source, self.roster, self.foreseen = Reported(), roster, foreseen
        self.indicators = LeadingIndicators(roster, foreseen, (self.source,))
        self.step = 0

    @property
    def n_series(self) -> int:
        return len(self.roster) * len(self.foreseen)

    def profile(self, values: Floats) -> Profile:
        return fallback_profile(values[None].repeat(24, axis=0), step=self.step)

    def stepped(self, values: Floats, **reports: Mapping[str, float]) -> Profile:
        """Let a step end with this demand and these reports; return what is expected next."""
        self.step += 1
        profile = self.profile(np.full(self.n_series, 1.0))
        self.source.values = reports
        self.indicators.learn(0, values, 0.0)
        self.given = profile
        return self.indicators.adjusted(profile, 0.0)

    def taught(self, *names: str, steps: int = 60) -> "Bench":
        """Let the queues of some tenants lead their cpu by one step."""
        rng = np.random.default_rng(21)
        queues = dict.fromkeys(names, 0.0)
        for _ in range(steps):
            values = np.full(self.n_series, 1.0)
            for name in names:
                values[self.roster.names.index(name)] += queues[name]
            queues = {name: float(rng.uniform(0.0, 3.0)) for name in names}
            self.stepped(values, **{name: {"queue": queues[name]} for name in names})
        return self

    def used(self) -> set[tuple[str, str]]:
        """Return whose metrics correct the forecast of which resource."""
        tick = self.indicators.tick()
        if tick is None:
            return set()
        return {
            (self.roster.names[tick.tenant[place]], str(tick.resources[row]))
            for row, place in zip(*np.nonzero(tick.is_chosen), strict=True)
        }


def test_without_a_metric_the_profile_is_passed_on_as_it_is() -> None:
    bench = Bench(tenants(3))
    made = bench.stepped(np.ones(6))
    assert made is bench.given
    assert bench.indicators.tick() is None
    assert bench.indicators.problem is None


def test_a_metric_corrects_its_own_tenants_forecast_and_no_other() -> None:
    bench = Bench(tenants(3)).taught("t01")
    made = bench.stepped(np.ones(6), t01={"queue": 3.0})
    moved = made.grid != bench.given.grid
    assert moved[:, 1].any()
    assert not moved[:, [0, 2, 3, 4, 5]].any()
    assert bench.used() == {("t01", "cpu")}


def test_the_same_profile_is_corrected_once_until_a_report_or_a_step_comes() -> None:
    bench = Bench(tenants(1)).taught("t00")
    made = bench.stepped(np.ones(2), t00={"queue": 3.0})
    assert bench.indicators.adjusted(bench.given, 1.0) is made
    bench.source._found = {"t00": {"queue": 0.0}}
    assert bench.indicators.adjusted(bench.given, 2.0) is not made


def test_a_metric_that_comes_late_corrects_the_rest_of_the_step() -> None:
    bench = Bench(tenants(1)).taught("t00")
    assert bench.stepped(np.ones(2)) is bench.given
    bench.source._found = {"t00": {"queue": 3.0}}
    assert bench.indicators.adjusted(bench.given, 1.0).expected[0] > bench.given.expected[0]


def test_a_metric_that_is_no_longer_reported_stops_counting_with_that_step() -> None:
    bench = Bench(tenants(1)).taught("t00")
    assert bench.stepped(np.ones(2), t00={"queue": 3.0}) is not bench.given
    assert bench.stepped(np.ones(2)) is bench.given
    assert bench.stepped(np.ones(2), t00={"queue": 3.0}) is not bench.given


def test_of_two_tenants_each_is_corrected_by_its_own_metric_while_that_is_reported() -> None:
    bench = Bench(tenants(3)).taught("t00", "t02")
    made = bench.stepped(np.ones(6), t00={"queue": 3.0}, t02={"queue": 0.0})
    assert bench.used() == {("t00", "cpu"), ("t02", "cpu")}
    assert made.expected[0] > bench.given.expected[0] + 1.0
    assert made.expected[2] < bench.given.expected[2]
    made = bench.stepped(np.ones(6), t02={"queue": 3.0})
    assert bench.used() == {("t02", "cpu")}
    assert made.expected[0] == bench.given.expected[0]
    assert made.expected[2] > bench.given.expected[2] + 1.0


def test_a_metric_that_is_long_silent_leaves_its_place_to_another() -> None:
    bench = Bench(tenants(1))
    bench.stepped(np.ones(2), t00={f"old{place}": 1.0 for place in range(8)})
    bench.stepped(np.ones(2), t00={"new": 1.0})
    assert bench.indicators.problem == "metrics: t00 reports 1 more than 8"
    for _ in range(FORGOTTEN_AFTER_STEPS):
        bench.stepped(np.ones(2))
    assert bench.indicators.tick() is None
    bench.stepped(np.ones(2), t00={"new": 1.0})
    tick = bench.indicators.tick()
    assert tick is not None
    assert tick.names == ("new",)
    assert bench.indicators.problem is None


def test_too_many_metrics_are_told_of_while_they_are_reported_and_no_longer() -> None:
    bench, eight = Bench(tenants(2)), {f"m{place}": 1.0 for place in range(8)}
    for _ in range(2):
        bench.stepped(np.ones(4), t00={**eight, "new": 1.0}, t01=eight)
        assert bench.indicators.problem == "metrics: t00 reports 1 more than 8"
    bench.source._found = {"t01": {"late": 1.0}}  # another file is read some ticks later
    bench.indicators.adjusted(bench.given, 1.0)
    assert bench.indicators.problem == "metrics: t00 reports 1 more than 8"
    for _ in range(2):
        bench.stepped(np.ones(4), t00=eight, t01=eight)
    assert bench.indicators.problem is None


def test_what_is_reported_of_nobody_is_nothing() -> None:
    bench = Bench(tenants(1))
    assert bench.stepped(np.ones(2), stranger={"queue": 1.0}) is bench.given
    assert bench.indicators.tick() is None


def test_what_is_known_stays_with_tenants_and_resources_that_stay() -> None:
    bench = Bench(tenants(3)).taught("t00", "t02")
    foreseen = (Resource.MEMORY, Resource.CPU)
    bench.roster = Roster.of(Tenant(name, SILVER, {}) for name in ("a", "t02", "z"))
    bench.foreseen = foreseen
    bench.indicators.rearrange(bench.roster, foreseen, np.array([-1, 5, -1, -1, 2, -1]))
    made = bench.stepped(np.ones(6), t02={"queue": 3.0})
    assert bench.used() == {("t02", "cpu")}
    assert np.flatnonzero((made.grid != bench.given.grid).any(axis=0)).tolist() == [3 + 1]


def test_whose_series_are_new_keeps_nothing_that_was_known() -> None:
    bench = Bench(tenants(2)).taught("t00", "t01")
    bench.indicators.rearrange(bench.roster, FORESEEN, np.array([-1, 1, -1, 3]))
    tick = bench.indicators.tick()
    assert tick is not None
    assert tick.tenant.tolist() == [1]


def test_a_roster_that_empties_forgets_all() -> None:
    bench = Bench(tenants(2)).taught("t00", steps=3)
    bench.indicators.rearrange(Roster.of(()), FORESEEN, np.empty(0, dtype=np.int64))
    assert bench.indicators.tick() is None


def test_what_metrics_have_lost_together_pauses_them_and_follows_the_roster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.corrections._MOST_LOST", 0.5)
    bench = Bench(tenants(2)).taught("t01")
    assert ("t01", "cpu") in bench.used()
    ones = np.ones(bench.n_series)
    bench.stepped(ones, t01={"queue": 3.0})
    said = bench.stepped(ones, t01={"queue": 3.0})
    np.testing.assert_array_equal(said.grid, bench.given.grid)
    assert bench.used() == set()
    other = Roster.of(Tenant(name, SILVER, {}) for name in ("t01", "z"))
    bench.indicators.rearrange(other, FORESEEN, np.array([1, -1, 3, -1]))
    tick = bench.indicators.tick()
    assert tick is not None
    assert tick.is_paused[:, 0].tolist() == [True, False]
