"""The real control loop over a host that exists only in arrays, ticked on a clock of the test's."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.allocation import Mode
from agent.backtest.engine import RuleForecaster
from agent.backtest.host import Evidence, SimulatedHost
from agent.controls import LIMIT_CONTROL
from agent.cycle import Policy
from agent.ports import Kernel
from agent.record import TickRecord
from agent.tenant import BASIC, Entitlement, Floats, Resource, Roster, Tenant
from agent.tick import ControlLoop, LoopSettings
from enforce.columns import Changes, Control, HostSample, Vitals

from hosts import GIB, SILVER
from scenes import policy_of

CORES = 4.0
MANY_CORES = 1e6  # only limits hold tenants back here


def tenants(
    *names: str,
    floor: float = 0.2,
    observed: tuple[str, ...] = (),
    resources: tuple[Resource, ...] = BASIC,
) -> Roster:
    """Return silver tenants with a floor of cpu."""
    entitlements = {Resource.CPU: Entitlement(floor), Resource.MEMORY: Entitlement(GIB / 8)}
    return Roster.of(
        (Tenant(name, SILVER, entitlements, is_observed_only=name in observed) for name in names),
        resources,
    )


class Host(SimulatedHost):
    """A simulated host on which the time between two readings passes, unless all are asleep."""

    def __init__(self, size: int) -> None:
        evidence = Evidence(is_exact=True)
        super().__init__(size, resource=Resource.CPU, capacity=MANY_CORES, evidence=evidence)
        self.wants_cores = np.full(size, 0.5)
        self.is_asleep = False  # tenants stand still while time passes
        self._last_s: float | None = None
        self._anew: frozenset[int] = frozenset()

    def read(self, taken_at_s: float) -> HostSample:
        """Let the time since the last reading pass, and return the counters."""
        if self._last_s is not None and not self.is_asleep:
            self.run(self.wants_cores, taken_at_s - self._last_s)
        self._last_s = taken_at_s
        anew, self._anew = self._anew, frozenset()
        return replace(super().read(taken_at_s), anew=anew)

    def reset(self, control: Control) -> None:
        """Let the controller go from all tenants and come back: no limit is left of it."""
        size = len(self.wants_cores)
        self.apply(Changes(control, np.arange(size), np.zeros(size), np.full(size, np.inf)))
        self._anew = frozenset(range(size))

    def suffers(self, vitals: Vitals) -> None:
        """Let the host itself do so from now on."""
        self._sample = replace(self._sample, vitals=vitals)

    def remake(self, tenant: int) -> None:
        """Let a cgroup be removed and made again, without a limit."""
        there = np.array([tenant])
        for control in LIMIT_CONTROL.values():
            self.apply(Changes(control, there, np.zeros(1), np.full(1, np.inf)))
        cgroup_id = self._sample.cgroup_id.copy()
        cgroup_id[tenant] = cgroup_id.max() + 1
        self._sample = replace(self._sample, cgroup_id=cgroup_id)

    def limits(self) -> dict[Control, Floats]:
        """Return what is in force."""
        in_force = super().read(0.0).in_force
        return {control: in_force.of(control) for control in Control}


class Mute(RuleForecaster):
    """A forecaster that never answers, and counts how often its history was asked for."""

    looked_back = 0

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last steps."""
        self.looked_back += 1
        return super().recent(steps)


class Scenario:
    """A control loop, the host under it, and the test's clock."""

    def __init__(
        self,
        roster: Roster,
        *,
        is_observing: bool = False,
        step_s: float = 5.0,
        mode: Mode = Mode.ELASTIC,
        learning_s: float = 0.0,
    ) -> None:
        self.host, self.forecaster, self.now_s = Host(len(roster)), Mute(), 1000.0
        self.policy: Policy = policy_of(
            CORES, 4 * GIB, modes=dict.fromkeys(BASIC, mode), learning_s=learning_s
        )
        self.settings = LoopSettings(tick_s=1.0, step_s=step_s, is_observing=is_observing)
        self.loop = ControlLoop(
            roster,
            self.policy,
            self.settings,
            kernel=Kernel(self.host, self.host),
            forecaster=self.forecaster,
            ledgers={},
        )

    def tick(self, count: int = 1, *, elapsed_s: float = 1.0) -> TickRecord:
        """Run ticks, each `elapsed_s` after the last; return the record of the last one."""
        for _ in range(count - 1):
            self.tick(elapsed_s=elapsed_s)
        self.now_s += elapsed_s
        return self.loop.tick(self.now_s, late_ticks=0)

    def late_tick(self, *, gap_s: float, is_asleep: bool) -> TickRecord:
        """Run a tick after a time without any, in which tenants have run or stood still."""
        self.host.is_asleep = is_asleep
        try:
            return self.tick(elapsed_s=gap_s)
        finally:
            self.host.is_asleep = False

    def changed_to(self, roster: Roster) -> None:
        """Go on with another roster, on a fresh host."""
        self.host = Host(len(roster))
        kernel = Kernel(self.host, self.host)
        self.loop.reconfigure(roster, self.policy, self.settings, kernel=kernel)
