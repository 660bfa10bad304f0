"""The real control loop over a host that exists only in arrays, ticked on a clock of the test's."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.allocation import Mode
from agent.cycle import Policy
from agent.forecaster import State
from agent.record import TickRecord
from agent.tenant import Entitlement, Floats, Ints, Resource, Roster, Tenant
from agent.tick import ControlLoop, Kernel, LoopSettings
from agent.tokens import Ledger
from enforce.columns import Changes, Control, HostSample, Limits, Outcomes, Result
from forecast.history import History
from forecast.profile import Profile

from hosts import GIB, SILVER
from scenes import policy_of

CORES = 4.0
_HISTORY_STEPS = 100


def tenants(*names: str, floor: float = 0.2, observed: tuple[str, ...] = ()) -> Roster:
    """Return silver tenants with a floor of cpu."""
    entitlements = {Resource.CPU: Entitlement(floor), Resource.MEMORY: Entitlement(GIB / 8)}
    return Roster.of(
        Tenant(name, SILVER, entitlements, is_observed_only=name in observed) for name in names
    )


class Host:
    """Cgroups whose tenants want `wants_cores` and get at most their limit."""

    def __init__(self, size: int) -> None:
        self.wants_cores = np.full(size, 0.5)
        self._used_us, self._throttled_us = np.zeros(size), np.zeros(size)
        self._last_s: float | None = None
        self.is_asleep = False  # tenants stand still while time passes
        self._held = np.full(size, GIB / 2)
        self.limits = {
            Control.CPU_MAX: np.full(size, np.inf),
            Control.CPU_WEIGHT: np.full(size, 100.0),
            Control.MEMORY_HIGH: np.full(size, np.inf),
            Control.MEMORY_LOW: np.zeros(size),
        }

    def read(self, taken_at_s: float) -> HostSample:
        """Let the time since the last reading pass, and return the counters."""
        elapsed_s = 0.0 if self._last_s is None else taken_at_s - self._last_s
        awake_s = 0.0 if self.is_asleep else elapsed_s
        self._last_s = taken_at_s
        used_cores = np.minimum(self.wants_cores, self.limits[Control.CPU_MAX])
        self._used_us = self._used_us + used_cores * awake_s * 1e6
        self._throttled_us = self._throttled_us + (self.wants_cores - used_cores) * awake_s * 1e6
        nothing = np.full(len(self._used_us), np.nan)
        return HostSample(
            taken_at_s=taken_at_s,
            cgroup_id=np.arange(1, len(nothing) + 1),
            cpu_usage_us=self._used_us,
            cpu_periods=nothing,
            cpu_throttled_periods=nothing,
            cpu_throttled_us=self._throttled_us,
            memory_current_bytes=self._held,
            memory_high_events=np.zeros(len(nothing)),
            memory_oom_kills=nothing,
            memory_unreclaimable_bytes=self._held / 2,
            io_read_bytes=nothing,
            io_write_bytes=nothing,
            io_read_ops=nothing,
            io_write_ops=nothing,
            in_force=Limits(*(self.limits[control].copy() for control in Control)),
        )

    def apply(self, changes: Changes) -> Outcomes:
        """Take every change."""
        self.limits[changes.control][changes.tenant] = changes.after
        results = np.full(len(changes), Result.APPLIED, dtype=np.uint8)
        return Outcomes(changes.control, changes.tenant, changes.after, changes.after, results)

    def protect_root(self, total_low_bytes: float) -> str | None:
        """Protect as much as is asked for."""
        assert total_low_bytes >= 0
        return None

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Mute:
    """A forecaster that takes steps in and never answers."""

    problem: str | None = None
    looked_back: int = 0  # how often its history was asked for
    _history: History = field(default_factory=lambda: History(0, _HISTORY_STEPS))

    def reset(self, n_series: int, history: NDArray[np.floating]) -> None:
        """Begin without a past."""
        assert not len(history)
        self._history = History(n_series, _HISTORY_STEPS)

    def rearrange(self, positions: Ints) -> None:
        """Put the series in a new order."""
        self._history.rearrange(positions)

    def offer(self, step: int, values: Floats, now_s: float) -> None:
        """Keep a step's values."""
        assert step > 0
        assert now_s >= 0
        self._history.append(values)

    def poll(self, now_s: float) -> Profile | None:
        """Have nothing to say."""
        assert now_s >= 0
        return None

    def state(self, now_s: float) -> State:
        """Be on the way for ever."""
        assert now_s >= 0
        return "starting"

    def recent(self, steps: int) -> NDArray[np.float32]:
        """Return the last steps."""
        self.looked_back += 1
        return self._history.recent(steps)


class Scenario:
    """A control loop, the host under it, and the test's clock."""

    def __init__(
        self,
        roster: Roster,
        *,
        is_observing: bool = False,
        step_s: float = 5.0,
        mode: Mode = Mode.ELASTIC,
    ) -> None:
        self.host, self.forecaster, self.now_s = Host(len(roster)), Mute(), 1000.0
        self.policy: Policy = policy_of(CORES, 4 * GIB, modes=dict.fromkeys(Resource, mode))
        self.settings = LoopSettings(tick_s=1.0, step_s=step_s, is_observing=is_observing)
        self.loop = ControlLoop(
            roster,
            self.policy,
            self.settings,
            kernel=Kernel(self.host, self.host),
            forecaster=self.forecaster,
            ledgers={resource: Ledger.opened(len(roster)) for resource in Resource},
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
