"""One tick of the real agent: sample, decide, write, record.  Owns the state between ticks.

The decision itself is agent.cycle's; this file only joins it to the kernel and the forecaster.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.controls import device_controls
from agent.cycle import (
    CoreState,
    Decision,
    Observation,
    Policy,
    after_writes,
    decide,
    observed,
)
from agent.drift import DriftWatch
from agent.enforcing import Enforced, Enforcer
from agent.ports import Adjusting, Forecasting, Kernel, PinKeeping
from agent.problems import (
    broken_promises,
    host_needs,
    insisted,
    lost,
    refusals,
    unenforceable,
    unenforced,
)
from agent.record import TickRecord
from agent.recorded import resource_tick
from agent.settings import DriftSettings
from agent.steps import ClosedStep, Step, series_positions
from agent.tenant import Resource, Roster
from agent.tokens import Ledger
from agent.usage import measured
from enforce.columns import (
    HostSample,
)
from forecast.fallback import MAXIMUM_STEPS, fallback_profile
from forecast.profile import Profile
from forecast.quality import Quality

# After a pause (the agent was stopped, the virtual machine halted) tenants look idle for all that
# time: debts would be forgiven, limits fall.
_LONGEST_TICKS = 10


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the loop needs beside the policy."""

    tick_s: float
    step_s: float
    is_observing: bool


class ControlLoop:
    """The loop's body; `tick` is called on schedule by the daemon (or by a test)."""

    def __init__(
        self,
        roster: Roster,
        policy: Policy,
        settings: LoopSettings,
        *,
        kernel: Kernel,
        forecaster: Forecasting,
        ledgers: Mapping[Resource, Ledger],
    ) -> None:
        self.roster, self.policy, self.settings = _seen_by(settings, roster), policy, settings
        self._kernel, self._forecaster = kernel, forecaster
        self.adjusting: Sequence[Adjusting] = ()  # of the series that the roster has now
        self.watch_drift()
        fresh = CoreState.fresh(len(roster), policy)
        self._state = replace(fresh, ledgers={**fresh.ledgers, **ledgers})
        self._step = Step.begun(self._series)
        self.steps_closed = 0
        self.closed: ClosedStep | None = None  # the last one, of today's series
        self._number = 0
        self._enforcer = Enforcer(len(roster))
        self._take_on()
        self._rule: Profile | None = None
        self._said: Profile | None = None  # the last tick's forecast, as it was adjusted
        forecaster.reset(self._series, np.empty((0, self._series)))

    def watch_drift(
        self, settings: DriftSettings | None = None, board: PinKeeping | None = None
    ) -> None:
        """Begin to watch for what somebody else changes; pins are kept on `board`."""
        devices = device_controls(self.policy.resources)
        self.drift = DriftWatch(self.roster, settings, board, devices=devices)

    @property
    def _series(self) -> int:
        return len(self.policy.foreseen) * len(self.roster)

    def _take_on(self) -> None:
        is_observing = self.settings.is_observing
        self._enforcer.take_on(self.roster, self.policy, self._kernel, is_observing=is_observing)

    @property
    def ledgers(self) -> Mapping[Resource, Ledger]:
        """Return the ledgers as the last tick left them."""
        return self._state.ledgers

    def reconfigure(
        self, roster: Roster, policy: Policy, settings: LoopSettings, *, kernel: Kernel
    ) -> None:
        """Go on under a new configuration, keeping what is known of tenants that stay."""
        positions = roster.positions_in(self.roster)
        at = {resource: place for place, resource in enumerate(self.policy.foreseen)}
        places = [at.get(resource, -1) for resource in policy.foreseen]
        series = series_positions(positions, places, tenants_before=len(self.roster))
        self._state = self._state.rearranged(positions, policy)
        self.roster, self.policy, self.settings = _seen_by(settings, roster), policy, settings
        self._kernel = kernel
        self._step = self._step.rearranged(series)
        self._forecaster.rearrange(series)
        self._enforcer.rearrange(positions)
        self._take_on()
        self._rule = self._said = None
        self.drift.rearrange(self.roster, device_controls(policy.resources))
        for one in self.adjusting:
            one.rearrange(roster, policy.foreseen, series)

    def resume(self, sample: HostSample | None, now_s: float) -> None:
        """Go on from what an earlier agent saw last; limits were not learned since then."""
        gap_s = 0.0 if sample is None else max(now_s - sample.taken_at_s, 0.0)
        learning_left_s = self._state.learning_left_s + gap_s
        self._state = replace(self._state, sample=sample, learning_left_s=learning_left_s)

    def cap(self, roster: Roster) -> None:
        """Go on with the same tenants under other floors and ceilings: ancestors were limited."""
        self.roster = _seen_by(self.settings, roster)
        self._take_on()

    def adapt(self, policy: Policy) -> None:
        """Go on dividing the same resources on a machine that has more or less of them by now."""
        own = CoreState.fresh(len(self.roster), policy).own  # no limit counts as all that it had
        self._state, self.policy = replace(self._state, own=own), policy
        self._take_on()

    def tick(self, now_s: float, *, late_ticks: int) -> TickRecord:
        """Run one control cycle at `now_s` (CLOCK_MONOTONIC) and return its record."""
        sample = self._kernel.sampler.read(now_s)
        pins = self.drift.seen(sample, self._kernel.applier.written_beside(), now_s)
        if self._is_after_pause(sample):
            self._state = replace(self._state, sample=None)
        seen = observed(self._state, sample, roster=self.roster, policy=self.policy)
        closed_before = self.steps_closed
        profile = self._said = self._forecast(seen, now_s)
        seen = replace(seen, pins=pins, is_foreseen=self._is_foreseen(profile, closed_before))
        decision = decide(self._state, seen, profile, roster=self.roster, policy=self.policy)
        self._state = decision.state
        done = self._enforcer.enforce(decision, seen)
        self._state = after_writes(decision.state, done.outcomes, self.policy.machine)
        self.drift.left(sample, done.outcomes)
        self._number += 1
        return self._record(decision, seen, done, late_ticks, now_s)

    def _is_after_pause(self, sample: HostSample) -> bool:
        """Say whether the last sample is too old to be compared with: as at the first tick."""
        last, settings = self._state.sample, self.settings
        longest_s = max(_LONGEST_TICKS * settings.tick_s, settings.step_s)
        return last is not None and sample.taken_at_s - last.taken_at_s > longest_s

    def _is_foreseen(self, profile: Profile, closed_before: int) -> bool:
        """Say whether the profile was made from a step that is just this tick's sample."""
        has_closed = self.steps_closed > closed_before
        is_whole_step = self.settings.step_s <= self.settings.tick_s
        return has_closed and is_whole_step and profile.step == self.steps_closed

    def _forecast(self, seen: Observation, now_s: float) -> Profile:
        """Feed the forecaster at the end of each step; return what is expected from now on."""
        foreseen = self.policy.foreseen
        self._step = self._step.with_tick(
            np.concatenate([seen.demands[r].value for r in foreseen]),
            np.concatenate([measured(r, seen.usage) for r in foreseen]),
            np.concatenate([seen.in_force[r] for r in foreseen]),
            elapsed_s=seen.usage.elapsed_s,
        )
        if self._step.elapsed_s >= self.settings.step_s - self.settings.tick_s / 2:
            self._close_step(now_s)
        profile = answered = self._forecaster.poll(now_s)
        if profile is None or self._forecaster.state(now_s) != "live":
            profile = self._fallback(None if answered is None else answered.quality)
        for one in self.adjusting:
            profile = one.adjusted(profile, now_s)
        return profile

    def _close_step(self, now_s: float) -> None:
        closed, said = self._step.closed(), self._said
        if said is not None:
            closed = replace(closed, expected=said.expected, bound=said.upper)
        self.closed = closed
        self.steps_closed += 1
        self._rule = None
        self._step = Step.begun(self._series)
        self._forecaster.offer(self.steps_closed, closed.demand, now_s)
        for one in self.adjusting:
            one.learn(self.steps_closed, closed.demand, now_s)

    def _forecast_age_s(self) -> float:
        """Return how long ago the step ended that the forecast knows last."""
        if self._said is None:
            return math.nan
        steps = self.steps_closed - self._said.step
        return steps * self.settings.step_s + self._step.elapsed_s

    def _fallback(self, quality: Quality | None) -> Profile:
        """Return the rule-based profile: from closed steps, or from the one in the making.

        Of closed steps it is the very same until another closes: who adjusts it does so once.
        """
        if self._rule is None:
            history = self._forecaster.recent(MAXIMUM_STEPS)
            if not len(history):
                making = self._step.closed().demand[None].astype(np.float32)
                return replace(fallback_profile(making, step=self.steps_closed), quality=quality)
            self._rule = fallback_profile(history, step=self.steps_closed)
        if self._rule.quality is not quality:
            self._rule = replace(self._rule, quality=quality)
        return self._rule

    def _record(
        self,
        decision: Decision,
        seen: Observation,
        done: Enforced,
        late_ticks: int,
        now_s: float,
    ) -> TickRecord:
        return TickRecord(
            number=self._number,
            taken_at_s=now_s,
            late_ticks=late_ticks,
            is_observing=self.settings.is_observing,
            is_learning=bool(decision.is_learning.any()),
            roster=self.roster,
            sample=seen.sample,
            resources={
                resource: resource_tick(resource, decision, seen, self.policy, weight=done.weight)
                for resource in decision.resources
            },
            usage=seen.usage,
            throttled_fraction=seen.usage.cpu_throttled_fraction,
            changes=done.changes,
            outcomes=done.outcomes,
            unwritten=done.unwritten,
            forecaster=self._forecaster.state(now_s),
            forecast_age_s=self._forecast_age_s(),
            totals=self._enforcer.totals,
            drift=self.drift.tick,
            problems=(
                *unenforceable(seen.sample, decision.resources),
                *unenforced(decision, seen.sample),
                *broken_promises(decision, done.weight, self.policy.capacity[Resource.CPU]),
                *host_needs(decision),
                *refusals(done.outcomes),
                *insisted(self.drift.tick, self.roster),
                *lost(self.drift.tick),
                *self._own_problems(now_s),
            ),
        )

    def _own_problems(self, now_s: float) -> list[str]:
        """Name what does not work beside the tenants' own limits."""
        found = []
        if self._enforcer.root_problem is not None:
            found.append(f"promises without effect: {self._enforcer.root_problem}")
        state = self._forecaster.state(now_s)
        if state in ("late", "dead"):
            why = f" ({self._forecaster.problem})" if self._forecaster.problem else ""
            found.append(f"forecaster {state}{why}: a rule on recent values stands in")
        return found


def _seen_by(settings: LoopSettings, roster: Roster) -> Roster:
    """Return the tenants as an agent sees them that may itself only observe: as only observed."""
    return roster.all_observed() if settings.is_observing else roster
