"""Settings: what an operator configured, validated, as frozen values with defaults.  Pure.

Nothing here reads a file; `agent.config` does, and refuses what these types cannot say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.allocation import Mode
from agent.emergency import EmergencySettings
from agent.event import EventSource, Expansion
from agent.paths import RUNTIME_DIR, SOCKET_NAME, STATE_DIR
from agent.plan import Pace
from agent.tenant import BASIC, Kind, QosClass, Resource, Tenant

DEFAULT_QOS = (
    QosClass("platinum", weight=8.0, risk_aversion=0.9, emergency_rank=0, burst_s=300.0),
    QosClass("gold", weight=4.0, risk_aversion=0.6, emergency_rank=1, burst_s=120.0),
    QosClass("silver", weight=1.0, risk_aversion=0.2, emergency_rank=2, burst_s=60.0),
)

_LEAST_RESERVE_BYTES = 512 << 20
_RESERVE_FRACTION = 0.05
_MARGIN_BYTES, _MARGIN_WITHOUT_SWAP_BYTES = 16 << 20, 32 << 20


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where tenants live, what of the host is theirs, and where the agent keeps its files."""

    cgroup_root: Path = Path("/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service")
    is_observing: bool = False
    cpu_capacity_cores: float | None = None  # None: what the host has
    cpu_reserve_cores: float = 0.1
    memory_capacity_bytes: int | None = None
    memory_reserve_bytes: int | None = None  # None: see `memory_kept_bytes`
    memory_margin_bytes: int | None = None  # None: see `margin_bytes`
    has_swap: bool = False
    state_dir: Path = STATE_DIR
    runtime_dir: Path = RUNTIME_DIR

    def memory_kept_bytes(self, total_bytes: float) -> float:
        """Return what of `total_bytes` is not divided.

        By default enough for the agent and its forecaster (some 250 MiB, 400 with very many
        tenants) beside a small system, and never more than half.
        """
        if self.memory_reserve_bytes is not None:
            return float(self.memory_reserve_bytes)
        enough = max(_LEAST_RESERVE_BYTES, _RESERVE_FRACTION * total_bytes)
        return min(enough, total_bytes / 2)

    @property
    def margin_bytes(self) -> float:
        """Return how far above what a tenant cannot give back its memory.high stays.

        Without swap all that it grows by until the next tick is of that kind: the margin is larger.
        """
        if self.memory_margin_bytes is not None:
            return float(self.memory_margin_bytes)
        return float(_MARGIN_BYTES if self.has_swap else _MARGIN_WITHOUT_SWAP_BYTES)

    @property
    def socket_path(self) -> Path:
        """Return where the agent answers."""
        return self.runtime_dir / SOCKET_NAME


@dataclass(frozen=True, slots=True)
class Periods:
    """The three clocks, how far forecasts look, how long a newcomer's limits stand still.

    And what ticks may cost: beyond that, fewer are run.
    """

    tick_s: float = 1.0
    step_s: float = 60.0
    horizon_s: float = 900.0
    refit_s: float = 7200.0
    learning_s: float = 300.0
    most_cpu_cores: float = 0.25

    @property
    def horizon_steps(self) -> int:
        """Return how many steps the horizon spans."""
        return round(self.horizon_s / self.step_s)


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """How cautious and how patient the forecaster is."""

    history_steps: int = 240
    hung_after_s: float = 30.0


@dataclass(frozen=True, slots=True)
class CalendarSettings:
    """How long before an event starts the profile rises."""

    lead_s: float = 300.0


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """How an uplink is set up, beside what there is of it to divide."""

    may_replace_qdisc: bool = False
    others_fraction: float = 0.5  # what all that is no tenant's may have at most


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """What becomes of a control file that somebody else changed."""

    policy: str = "pin"  # or "restore"
    pin_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How much is logged."""

    level: str = "info"


# Elastic where the kernel divides by weight within microseconds.
DEFAULT_MODES: Mapping[Kind, Mode] = {
    kind: Mode.ELASTIC if kind in (Kind.CPU, Kind.NET_OUT) else Mode.STRICT for kind in Kind
}


def _default_modes() -> Mapping[Resource, Mode]:
    return {resource: DEFAULT_MODES[resource.kind] for resource in BASIC}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator decided, and the capacity that it was checked against."""

    machine: Mapping[Resource, float]  # what this host has, in base units
    total: Mapping[Resource, float]  # what of it is to be divided
    reserve: Mapping[Resource, float] = field(default_factory=dict)  # of what [host] does not say
    tenants: tuple[Tenant, ...] = ()  # in name order
    left_alone: tuple[str, ...] = ()  # files beside the tenants' that are none, each with why
    host: HostSettings = HostSettings()
    periods: Periods = Periods()
    modes: Mapping[Resource, Mode] = field(default_factory=_default_modes)
    emergency: EmergencySettings = field(default_factory=EmergencySettings)
    pace: Pace = field(default_factory=Pace)
    forecast: ForecastSettings = ForecastSettings()
    calendar: CalendarSettings = CalendarSettings()
    drift: DriftSettings = DriftSettings()
    log: LogSettings = LogSettings()
    uplinks: Mapping[str, UplinkSettings] = field(default_factory=dict)  # by interface
    events: tuple[EventSource, ...] = ()  # of the host's file, then of the tenants' in name order
    # When they take place, as of when this was read: no part of what was configured.
    expansion: Expansion = field(default_factory=Expansion, compare=False)
    qos: tuple[QosClass, ...] = DEFAULT_QOS

    @property
    def capacity(self) -> Mapping[Resource, float]:
        """Return what may be allocated: the total less the system reserve, in base units."""
        reserve = {
            **self.reserve,
            Resource.CPU: self.host.cpu_reserve_cores,
            Resource.MEMORY: self.host.memory_kept_bytes(self.total[Resource.MEMORY]),
        }
        return {
            resource: max(total - reserve.get(resource, 0.0), 0.0)
            for resource, total in self.total.items()
        }

    def on(self, machine: Mapping[Resource, float]) -> "Config":
        """Return the same on a host that has so much by now, whatever it was checked against."""
        host = self.host
        said = {
            Resource.CPU: host.cpu_capacity_cores,
            Resource.MEMORY: host.memory_capacity_bytes,
        }
        total = {r: min(has, said.get(r) or has) for r, has in machine.items()}
        return replace(self, machine={**self.machine, **machine}, total={**self.total, **total})

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Return what is divided here."""
        return tuple(self.total)

    @property
    def disks(self) -> tuple[str, ...]:
        """Return the disks that are told apart."""
        disk = Kind.DISK_READ.group
        named = (one.device for one in self.total if one.device and one.kind.group == disk)
        return tuple(dict.fromkeys(named))
