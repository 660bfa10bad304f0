"""What the agent answers on its control socket: JSON, units in names, null is unknown.  Pure.

Only msgspec is imported, so that the command line stays quick.  A token of cpu is a core-second.
"""

from msgspec import Struct


class ForecastQuality(Struct, frozen=True):
    """How good forecasts of one resource of one tenant have been; null is not known yet.

    `coverage_95_pct` is how often the bound at 95 % on the maximum over the longest horizon held;
    `windows` how many such horizons that rests on, older ones counting less.  `pinball_95_pct` is
    that bound's pinball loss, `sharpness_pct` how far it stood above the maximum that came, and
    `bias_pct` how far the expectation above the next step's value: of the mean demand.  A skill is
    what is saved of the loss of another forecast of the next step: of the last value, and of the
    best single expert.
    """

    verdict: str
    windows: float
    coverage_80_pct: float | None
    coverage_95_pct: float | None
    coverage_99_pct: float | None
    pinball_95_pct: float | None
    pinball_99_pct: float | None
    sharpness_pct: float | None
    bias_pct: float | None
    skill_naive_pct: float | None
    skill_best_expert_pct: float | None


class CpuStatus(Struct, frozen=True):
    """One tenant's cpu; no ceiling means the host's."""

    usage_cores: float | None
    demand_cores: float | None
    is_held_back: bool
    throttled_pct: float | None
    expected_cores: float | None
    forecast_bound_cores: float | None
    forecast_source: str
    risk_pct: float | None
    floor_cores: float | None
    ceiling_cores: float | None
    guaranteed_cores: float | None
    opportunistic_cores: float | None
    emergency_cores: float | None
    limit_cores: float | None
    balance_tokens: float | None
    burst_tokens: float | None
    weight: float | None
    forecast_quality: ForecastQuality | None


class MemoryStatus(Struct, frozen=True):
    """One tenant's memory; it is held, not spent, so there is no balance."""

    usage_bytes: int | None
    demand_bytes: int | None
    is_held_back: bool
    expected_bytes: int | None
    forecast_bound_bytes: int | None
    forecast_source: str
    risk_pct: float | None
    floor_bytes: int | None
    ceiling_bytes: int | None
    guaranteed_bytes: int | None
    opportunistic_bytes: int | None
    emergency_bytes: int | None
    limit_bytes: int | None
    forecast_quality: ForecastQuality | None


class RateStatus(Struct, frozen=True):
    """One tenant's part of a disk, the network or requests; `unit` is what is counted a second.

    A token is one of the unit.  No ceiling means the host's.  What waits in a tenant's queue, is
    dropped there, and what programs saw (before it was queued, where it is sent) is known of
    interfaces only.
    """

    resource: str
    unit: str
    usage_per_s: float | None
    demand_per_s: float | None
    is_held_back: bool
    expected_per_s: float | None
    forecast_bound_per_s: float | None
    forecast_source: str
    risk_pct: float | None
    floor_per_s: float | None
    ceiling_per_s: float | None
    guaranteed_per_s: float | None
    opportunistic_per_s: float | None
    emergency_per_s: float | None
    limit_per_s: float | None
    balance_tokens: float | None
    burst_tokens: float | None
    waiting_bytes: float | None
    dropped_packets_per_s: float | None
    seen_per_s: float | None
    forecast_quality: ForecastQuality | None


class TrafficStatus(Struct, frozen=True):
    """What was read, written, sent, received and asked for, on all devices, divided or not."""

    disk_read_bytes_per_s: float | None
    disk_write_bytes_per_s: float | None
    disk_read_ops_per_s: float | None
    disk_write_ops_per_s: float | None
    net_out_bytes_per_s: float | None
    net_in_bytes_per_s: float | None
    requests_per_s: float | None


class PinStatus(Struct, frozen=True):
    """A control file that is pinned, in the kernel's words, by an operator or by who wrote it.

    `amount` is the value for a person.
    """

    control: str
    value: str
    left_s: float
    set_by: str
    amount: str = ""


class TenantPins(Struct, frozen=True):
    """The answer to POST /v1/tenants/NAME/pin and unpin: what is pinned from the next tick on."""

    tenant: str
    pins: tuple[PinStatus, ...]


class TenantStatus(Struct, frozen=True):
    """One tenant; `states` is never empty, `rates` are of what the host divides of its own.

    `in_force` says what its control files hold after the last tick, in the kernel's own words
    (null: it cannot be read).  Where `is_observed`, all other numbers are what was decided and is
    not in force, and `would_write` says which files would be written, and what.
    """

    name: str
    qos: str
    states: tuple[str, ...]
    is_observed: bool
    in_force: dict[str, str | None]
    would_write: dict[str, str]
    cpu: CpuStatus
    memory: MemoryStatus
    traffic: TrafficStatus
    rates: tuple[RateStatus, ...]
    pins: tuple[PinStatus, ...]


class CpuPools(Struct, frozen=True):
    """The host's cpu: what is allocatable and where it went."""

    capacity_cores: float
    usage_cores: float
    guaranteed_cores: float
    opportunistic_cores: float
    emergency_cores: float
    emergency_pool_cores: float
    limits_cores: float
    shortage_pct: float
    elasticity: float | None
    marginal_need: float | None


class MemoryPools(Struct, frozen=True):
    """The host's memory: what is allocatable and where it went."""

    capacity_bytes: int
    usage_bytes: int
    guaranteed_bytes: int
    opportunistic_bytes: int
    emergency_bytes: int
    emergency_pool_bytes: int
    limits_bytes: int
    shortage_pct: float
    elasticity: float | None
    marginal_need: float | None


class RatePools(Struct, frozen=True):
    """The host's part of a disk, the network or requests, as it is divided.

    `unenforced_tenants` are those whose limit of it cannot be enforced.
    """

    resource: str
    unit: str
    is_enforced: bool
    unenforced_tenants: int
    capacity_per_s: float
    usage_per_s: float | None
    guaranteed_per_s: float
    opportunistic_per_s: float
    emergency_per_s: float
    emergency_pool_per_s: float
    limits_per_s: float
    shortage_pct: float
    elasticity: float | None
    marginal_need: float | None


class HostStatus(Struct, frozen=True):
    """The agent and the host as of its last tick; `age_s` is how long ago that was.

    Totals count writes since the start; `would_have_total` those left out while observing, and
    `drift_total` changes by somebody else.
    `observed_tenants` of all `tenants` are only observed: all, where the host `is_observing`.
    """

    tick: int
    age_s: float
    tick_cost_s: float | None
    late_ticks: int
    failed_ticks: int
    is_observing: bool
    tenants: int
    observed_tenants: int
    is_learning: bool
    forecaster: str
    problems: tuple[str, ...]
    written_total: int
    held_back_total: int
    refused_total: int
    drift_total: int
    would_have_total: int
    cpu: CpuPools
    memory: MemoryPools
    traffic: TrafficStatus
    rates: tuple[RatePools, ...]


class Status(Struct, frozen=True):
    """The answer to GET /v1/status."""

    host: HostStatus
    tenants: tuple[TenantStatus, ...]


class ControlValue(Struct, frozen=True):
    """One control file of a tenant's cgroup, in the kernel's own words."""

    control: str
    before: str | None
    wanted: str | None
    kept: str | None
    result: str


class Sentence(Struct, frozen=True):
    """One step on the way from measurement to limit, for a person."""

    stage: str
    text: str


class Indicator(Struct, frozen=True):
    """One metric of a tenant's application beside the forecast of one resource.

    `state` is "used" (it corrects the forecast), "second" (another one tells more), "paused" (all
    together have lost too much), "no gain", "learning" or "unreported".  `shift`, in `unit`, is
    what it moves the median of the next step by, or would; `gain_pct` how much lower the loss was
    with it, on steps that it had not seen.
    """

    metric: str
    value: float | None
    state: str
    unit: str
    shift: float | None
    lead_steps: int
    gain_pct: float | None
    scored_steps: int


class Chain(Struct, frozen=True):
    """The steps of one resource."""

    resource: str
    steps: tuple[Sentence, ...]
    controls: tuple[ControlValue, ...]
    indicators: tuple[Indicator, ...] = ()


class Explanation(Struct, frozen=True):
    """The answer to GET /v1/tenants/NAME."""

    tick: int
    age_s: float
    tenant: TenantStatus
    summary: str
    chains: tuple[Chain, ...]


class TenantMetrics(Struct, frozen=True):
    """The answer to POST /v1/tenants/NAME/metrics: all that is held of what was pushed."""

    tenant: str
    metrics: dict[str, float]


class EventMultiplier(Struct, frozen=True):
    """How many times as much of a resource an event takes, from the least tenant to the most.

    `occurrences` is from how many it was learned, at most, where it `is_learned`.
    """

    resource: str
    least: float
    most: float
    is_learned: bool
    occurrences: int


class EventStatus(Struct, frozen=True):
    """One occurrence of a known event that is on or coming; times are ISO 8601."""

    name: str
    starts_at: str
    ends_at: str
    lasts_s: float
    concerns: str
    tenants: int
    multipliers: tuple[EventMultiplier, ...]


class Events(Struct, frozen=True):
    """The answer to GET /v1/events; `left_out` are further ones.

    Of a source with a problem there are the events that were known before, if any.
    """

    events: tuple[EventStatus, ...]
    left_out: int
    problems: tuple[str, ...] = ()


class HorizonBounds(Struct, frozen=True):
    """What the highest demand within `horizon_s` stays below, as likely as the names say."""

    horizon_s: float
    bound_80: float | None
    bound_95: float | None
    bound_99: float | None


class ResourceForecast(Struct, frozen=True):
    """What is forecast of one resource of a tenant, in `unit`; null is unknown.

    `source` is "live", "learning" or "fallback"; `experts` say in percent how far each is believed.
    """

    resource: str
    unit: str
    source: str
    expected: float | None
    horizons: tuple[HorizonBounds, ...]
    experts: dict[str, int]
    quality: ForecastQuality | None


class TenantForecast(Struct, frozen=True):
    """The answer to GET /v1/forecasts/NAME; `made_s_ago` ended the last step that it knows."""

    tick: int
    age_s: float
    tenant: str
    qos: str
    forecaster: str
    made_s_ago: float | None
    resources: tuple[ResourceForecast, ...]


class Health(Struct, frozen=True):
    """The answer to GET /v1/health; reloads are counted since the agent's start."""

    state: str
    detail: str
    pid: int = 0
    reloads_begun: int = 0
    reloads_ended: int = 0
    reload_problem: str | None = None  # why the last one was refused


class Refusal(Struct, frozen=True):
    """The answer to a request that cannot be met; `hint` says what to do about it."""

    error: str
    hint: str = ""


class Finding(Struct, frozen=True):
    """One line of `doctor`; state is "ok", "degraded" or "missing"."""

    name: str
    state: str
    meaning: str
    remedy: str


class ReleasedValue(Struct, frozen=True):
    """What `release` did with one control file; file "" is a cgroup that the agent had made.

    `result` is "restored", "held back", "gone", "refused"; of a cgroup "removed" or "kept".
    """

    cgroup: str
    file: str
    value: str
    result: str
    why: str
