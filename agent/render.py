"""What the command line shows of the agent's answers, as lines for a terminal.  Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from click import style

from agent.answers import (
    CpuPools,
    Explanation,
    Finding,
    HostStatus,
    MemoryPools,
    RatePools,
    ReleasedValue,
    Status,
    TenantStatus,
)
from agent.quoting import quoted
from agent.table import Column, labelled, paragraph, table
from agent.units import approximate_bytes, three_digits
from agent.wording import NO_TENANT, enforcing_text

Pools = tuple[str, CpuPools | MemoryPools | RatePools]

_UNKNOWN = "-"
_NOTED_SHORTAGE_PCT, _LITTLE_USED_FRACTION = 5.0, 0.5
_MOST_IN_FULL = 2  # states, however narrow it is
_STALE_AFTER_S = 10.0
_STATE_WIDTH = len("degraded  ")
_FINDING_COLOURS = {"ok": "green", "degraded": "yellow", "missing": "red"}
_COLOURS = {
    "live": "green",
    "absent": "bright_black",
    "observed": "blue",
    "empty": "bright_black",
    "learning": "cyan",
    "fallback": "magenta",
    "poor": "magenta",
    "debt": "yellow",
    "throttled": "yellow",
    "squeezed": "yellow",
    "emergency": "red",
    "unenforced": "red",
}


def status_lines(answer: Status, *, width: int) -> list[str]:
    """Return the host's lines and the tenants' table."""
    lines = [*host_lines(answer.host, width=width), ""]
    if not answer.tenants:
        return [*lines, *paragraph(NO_TENANT, width=width)]
    if note := _shortage_note(answer):
        lines += [*(style(line, dim=True) for line in paragraph(note, width=width)), ""]
    heads, rows, hidden = table(TENANT_COLUMNS, answer.tenants, width=width)
    lines += [*(style(head, bold=True) for head in heads), *rows, *_observed_lines(answer, width)]
    if hidden:
        note = f"Not shown at this width: {', '.join(hidden)} (try --json)."
        lines += ["", *(style(line, dim=True) for line in paragraph(note, width=width))]
    return lines


def _shortage_note(answer: Status) -> str:
    """Say that a shortage is only forecast, where little is used now; "" where there is none."""
    ahead = [name for name, pools in _pools(answer.host) if _is_only_ahead((name, pools))]
    if not ahead:
        return ""
    now = f"SHORTAGE looks ahead: little is used of {', '.join(ahead)} now"
    said = f"{now}; what may be wanted in the next step is forecast anew as each step ends."
    unknown = [
        tenant.name
        for tenant in answer.tenants
        if tenant.cpu.forecast_bound_cores is None and "absent" not in tenant.states
    ]
    if not unknown:
        return said
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return f"{said} Of {unknown[0]}{more} nothing is known yet: all up to the ceiling counts."


def _is_only_ahead(row: Pools) -> bool:
    used, capacity = _used(row[1])
    is_likely = row[1].shortage_pct >= _NOTED_SHORTAGE_PCT
    return is_likely and used is not None and used < _LITTLE_USED_FRACTION * capacity


def _observed_lines(answer: Status, width: int) -> list[str]:
    """Return what control files hold, and what would be written, of who is only observed."""
    observed = [tenant for tenant in answer.tenants if tenant.is_observed]
    if not observed:
        return []
    is_bounded = any(_MAX in tenant.would_write for tenant in observed)
    columns = (*_OBSERVED_COLUMNS, _MAX_COLUMN) if is_bounded else _OBSERVED_COLUMNS
    heads, rows, _ = table(columns, observed, width=width)
    return [
        "",
        *(style(line, fg="blue") for line in paragraph(_OBSERVED, width=width)),
        *(style(head, bold=True) for head in heads),
        *rows,
    ]


def resource_lines(answer: Status, name: str, *, width: int) -> list[str]:
    """Return the tenants' table of one resource beside cpu and memory: divided, or only counted.

    Raises:
        ValueError: There is no such resource; the message names those that there are.

    """
    divided = [pools.resource for pools in answer.host.rates]
    if name in divided:
        place = divided.index(name)
        columns = _rate_columns(place)
        note = _in_force(answer.host.rates[place])
    elif name in _TRAFFIC:
        columns, note = _traffic_columns(_TRAFFIC[name]), _ONLY_COUNTED
    else:
        raise ValueError(f"no resource {quoted(name)} (known: {', '.join((*divided, *_TRAFFIC))})")
    heads, rows, _ = table(columns, answer.tenants, width=width)
    lines = [style(name, bold=True), "", *(style(head, bold=True) for head in heads), *rows]
    colour = None if note in {_ENFORCED, _ONLY_COUNTED} else "red"
    return [*lines, "", *(style(line, fg=colour) for line in paragraph(note, width=width))]


def _in_force(pools: RatePools) -> str:
    """Say whether what was decided of a resource holds, and for how many it does not."""
    if not pools.is_enforced:
        return _UNENFORCED
    return _PARTLY.format(pools.unenforced_tenants) if pools.unenforced_tenants else _ENFORCED


def host_lines(host: HostStatus, *, width: int) -> list[str]:
    """Return what the agent is doing, the pools, and what is wrong."""
    heads, rows, _ = table(POOL_COLUMNS, _pools(host), width=width)
    problems = labelled([("problem", text) for text in host.problems], width=width, indent=0)
    return [
        *paragraph(_doing(host), width=width),
        "",
        *(style(head, bold=True) for head in heads),
        *rows,
        *([""] if problems else []),
        *(style(line, fg="red") for line in problems),
    ]


def _pools(host: HostStatus) -> Sequence[Pools]:
    rates = [(pools.resource, pools) for pools in host.rates]
    return (("cpu", host.cpu), ("memory", host.memory), *rates)


def explanation_lines(answer: Explanation, *, width: int) -> list[str]:
    """Return the summary and each resource's chain."""
    lines = [style(line, bold=True) for line in paragraph(answer.summary, width=width)]
    for chain in answer.chains:
        lines += ["", style(chain.resource, bold=True)]
        lines += labelled([(step.stage, step.text) for step in chain.steps], width=width)
    return [*lines, "", style(f"tick {answer.tick}, {answer.age_s:.1f} s ago", dim=True)]


def finding_lines(findings: Sequence[Finding], *, width: int) -> list[str]:
    """Return one paragraph a finding, with its remedy below, and how many there are of each state.

    Nobody reads 30 findings to see whether one of them is amiss.
    """
    margin = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        label = f"{finding.state:{_STATE_WIDTH}}{finding.name:{margin}}"
        first, *rest = labelled([(label, finding.meaning)], width=width, indent=0)
        colour = _FINDING_COLOURS[finding.state]
        lines += [style(first[:_STATE_WIDTH], fg=colour) + first[_STATE_WIDTH:], *rest]
        if finding.remedy:
            lines += labelled([(" " * len(label), f"-> {finding.remedy}")], width=width, indent=0)
    counts = Counter(finding.state for finding in findings)
    summed = ", ".join(f"{counts[state]} {state}" for state in reversed(_FINDING_COLOURS))
    return [*lines, "", summed]


def released_lines(released: Sequence[ReleasedValue], *, width: int) -> list[str]:
    """Return what became of each control file."""
    if not released:
        return ["nothing to release: tidegate holds no limits here"]
    heads, rows, _ = table(_RELEASED_COLUMNS, released, width=width)
    return [*(style(head, bold=True) for head in heads), *rows]


def _doing(host: HostStatus) -> str:
    """Return one sentence on the agent: what it did last and how it is."""
    words = [f"Tick {host.tick}, {host.age_s:.1f} s ago"]
    if host.tick_cost_s is not None:
        words.append(f"{1000 * host.tick_cost_s:.1f} ms of cpu")
    words.append(f"{host.late_ticks} late")
    if host.failed_ticks:
        words.append(f"{host.failed_ticks} FAILED")
    words.append(f"forecaster {host.forecaster}")
    if host.is_learning:
        words.append("learning")
    doing = enforcing_text(host.tenants, host.observed_tenants, is_observing=host.is_observing)
    words.append(doing)
    if host.observed_tenants:
        words.append(f"{host.would_have_total} writes left out")
    stale = "  STALE: the agent may be stuck." if host.age_s > _STALE_AFTER_S else ""
    return f"{', '.join(words)}.{stale}"


def _cores(value: float | None) -> str:
    return _UNKNOWN if value is None else three_digits(value)


def _bytes(value: int | None) -> str:
    return _UNKNOWN if value is None else approximate_bytes(value)


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f}%"


def _tokens(value: float | None) -> str:
    return _UNKNOWN if value is None else three_digits(value)


def _demand(text: str, is_held_back: bool) -> str:
    """Mark a demand that is estimated, since the tenant was held back."""
    return f"~{text}" if is_held_back else text


def _states(tenant: TenantStatus) -> str:
    """Return the first state and how many more there are: what is shown where it is narrow."""
    return _first_states(tenant, 1 if len(tenant.states) > _MOST_IN_FULL else _MOST_IN_FULL)


def _first_states(tenant: TenantStatus, count: int) -> str:
    more = len(tenant.states) - count
    return ",".join(tenant.states[:count]) + (f"+{more}" if more > 0 else "")


def _states_within(tenant: TenantStatus, width: int) -> str:
    """Return as many of the states as fit, the most important first."""
    most = range(len(tenant.states), 0, -1)
    fitting = (_first_states(tenant, count) for count in most)
    return next((text for text in fitting if len(text) <= width), _states(tenant))


def _limit(text: str, tenant: TenantStatus) -> str:
    """Mark a limit that is only decided: nothing of it is in force."""
    return f"({text})" if tenant.is_observed else text


def _file_change(control: str) -> Callable[[TenantStatus], str]:
    """Return how to show what a control file holds, and what would be written to it."""

    def cell(tenant: TenantStatus) -> str:
        now = _file_text(control, tenant.in_force.get(control))
        if control not in tenant.would_write:
            return now
        return f"{now} -> {_file_text(control, tenant.would_write[control])}"

    return cell


def _file_text(control: str, words: str | None) -> str:
    """Return a control file's value for a person: "max", "0.97" cores, "100", "256M"."""
    if words is None:
        return _UNKNOWN
    first, *period = words.split()
    if not first.isdigit() or control == "cpu.weight":
        return first
    return three_digits(int(first) / int(period[0])) if period else approximate_bytes(int(first))


def _painted_states(text: str, tenant: TenantStatus) -> str:
    return style(text, fg=_COLOURS.get(tenant.states[0]))


def _per_s(value: float | None, unit: str) -> str:
    """Return a rate: "12.0M" of bytes, "340" of anything else."""
    if value is None:
        return _UNKNOWN
    return approximate_bytes(value) if unit == "bytes" else three_digits(value)


def _of_each(name: str) -> Callable[[Pools], str]:
    """Return how to show one quantity of any kind of pools."""

    def cell(row: Pools) -> str:
        pools = row[1]
        if isinstance(pools, CpuPools):
            return three_digits(getattr(pools, f"{name}_cores"))
        if isinstance(pools, MemoryPools):
            return approximate_bytes(getattr(pools, f"{name}_bytes"))
        value = _per_s(getattr(pools, f"{name}_per_s"), pools.unit)
        return value if value == _UNKNOWN else f"{value}/s"

    return cell


def _used_pct(row: Pools) -> str:
    pools = row[1]
    used, capacity = _used(pools)
    return _percent(100 * used / capacity if used is not None and capacity > 0 else None)


def _used(pools: CpuPools | MemoryPools | RatePools) -> tuple[float | None, float]:
    if isinstance(pools, CpuPools):
        return pools.usage_cores, pools.capacity_cores
    if isinstance(pools, MemoryPools):
        return pools.usage_bytes, pools.capacity_bytes
    return pools.usage_per_s, pools.capacity_per_s


POOL_COLUMNS: Sequence[Column[Pools]] = (
    Column("HOST", lambda row: row[0], is_left=True),
    Column("CAPACITY", _of_each("capacity")),
    Column("USED", _of_each("usage")),
    Column("USED%", _used_pct),
    Column("GUARANTEED", _of_each("guaranteed")),
    Column("LENT", _of_each("opportunistic")),
    Column("EMERGENCY", _of_each("emergency")),
    Column("RESERVED", _of_each("emergency_pool"), rank=2),
    Column("LIMITS", _of_each("limits"), rank=1),
    Column("SHORTAGE", lambda row: _percent(row[1].shortage_pct)),
)

TENANT_COLUMNS: Sequence[Column[TenantStatus]] = (
    Column("TENANT", lambda t: t.name, is_left=True, shortest=16),
    Column("QOS", lambda t: t.qos, is_left=True),
    Column("USED", lambda t: _cores(t.cpu.usage_cores), "cpu cores"),
    Column(
        "DEMAND",
        lambda t: _demand(_cores(t.cpu.demand_cores), t.cpu.is_held_back),
        "cpu cores",
        rank=2,
    ),
    Column("BOUND", lambda t: _cores(t.cpu.forecast_bound_cores), "cpu cores", rank=1),
    Column("GUAR", lambda t: _cores(t.cpu.guaranteed_cores), "cpu cores"),
    Column("LIMIT", lambda t: _limit(_cores(t.cpu.limit_cores), t), "cpu cores"),
    Column("THR", lambda t: _percent(t.cpu.throttled_pct), "cpu cores"),
    Column("BALANCE", lambda t: _tokens(t.cpu.balance_tokens), "cpu cores"),
    Column("USED", lambda t: _bytes(t.memory.usage_bytes), "memory"),
    Column(
        "DEMAND",
        lambda t: _demand(_bytes(t.memory.demand_bytes), t.memory.is_held_back),
        "memory",
        rank=5,
    ),
    Column("BOUND", lambda t: _bytes(t.memory.forecast_bound_bytes), "memory", rank=4),
    Column("GUAR", lambda t: _bytes(t.memory.guaranteed_bytes), "memory", rank=3),
    Column("LIMIT", lambda t: _limit(_bytes(t.memory.limit_bytes), t), "memory"),
    Column("STATE", _states, is_left=True, within=_states_within, paint=_painted_states),
)

_OBSERVED = "Only observed, nothing is written. What is in force -> what would be written:"
_OBSERVED_COLUMNS: Sequence[Column[TenantStatus]] = (
    Column("TENANT", lambda t: t.name, is_left=True, shortest=16),
    *(
        Column(control, _file_change(control), is_left=True)
        for control in ("cpu.max", "cpu.weight", "memory.high", "memory.low")
    ),
)
_MAX = "memory.max"  # few have it configured
_MAX_COLUMN: Column[TenantStatus] = Column(_MAX, _file_change(_MAX), is_left=True)

_TRAFFIC = {
    "disk_read": "disk_read_bytes_per_s",
    "disk_write": "disk_write_bytes_per_s",
    "disk_read_ops": "disk_read_ops_per_s",
    "disk_write_ops": "disk_write_ops_per_s",
    "net_out": "net_out_bytes_per_s",
    "net_in": "net_in_bytes_per_s",
    "requests": "requests_per_s",
}
_UNENFORCED = "Configured but not enforceable: these limits are decided, and nothing writes them."
_ENFORCED = "These limits are in force."
_PARTLY = (
    "In force, but not for {} tenant(s), whom nothing limits here: `tidegate doctor` says why."
)
_ONLY_COUNTED = "Counted over all devices together, and not divided so (- is unknown)."


def _rate_columns(place: int) -> Sequence[Column[TenantStatus]]:
    """Return the columns of the rate at `place` among those that are divided."""

    def of(name: str) -> Callable[[TenantStatus], str]:
        return lambda t: _per_s(getattr(t.rates[place], name), t.rates[place].unit)

    def demand(tenant: TenantStatus) -> str:
        return _demand(of("demand_per_s")(tenant), tenant.rates[place].is_held_back)

    return (
        Column("TENANT", lambda t: t.name, is_left=True),
        Column("QOS", lambda t: t.qos, is_left=True),
        Column("USED/S", of("usage_per_s")),
        Column("DEMAND/S", demand, rank=2),
        Column("BOUND/S", of("forecast_bound_per_s"), rank=1),
        Column("GUAR/S", of("guaranteed_per_s")),
        Column("LIMIT/S", of("limit_per_s")),
        Column("BALANCE", of("balance_tokens")),
    )


def _traffic_columns(name: str) -> Sequence[Column[TenantStatus]]:
    unit = "bytes" if "bytes" in name else ""
    return (
        Column("TENANT", lambda t: t.name, is_left=True),
        Column("QOS", lambda t: t.qos, is_left=True),
        Column("USED/S", lambda t: _per_s(getattr(t.traffic, name), unit)),
    )


_RELEASED_COLUMNS: Sequence[Column[ReleasedValue]] = (
    Column("CGROUP", lambda one: one.cgroup, is_left=True),
    Column("FILE", lambda one: one.file or "(the cgroup)", is_left=True),
    Column("VALUE", lambda one: one.value or _UNKNOWN, is_left=True),
    Column("RESULT", lambda one: one.result, is_left=True),
    Column("WHY", lambda one: one.why, is_left=True),
)
