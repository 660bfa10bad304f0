"""Every key of the configuration files, and what it may hold.  Pure.

The defaults are those of the settings that the keys fill; docs/config.md explains each key.
"""

from collections.abc import Mapping, Sequence

from agent.allocation import Mode
from agent.emergency import EmergencySettings
from agent.event_keys import regions
from agent.event_sections import EVENT_GROUPS
from agent.keys import (
    Key,
    absolute_path,
    byte_count,
    byte_rate,
    cgroup_path,
    choice,
    count,
    flag,
    interface,
    number,
    rate,
    seconds,
    unit_name,
)
from agent.plan import Pace
from agent.settings import (
    CalendarSettings,
    DriftSettings,
    ForecastSettings,
    HostSettings,
    LogSettings,
    Periods,
)
from agent.tenant import Kind, QosClass

_CORES = number("cores")
_SOME_CORES = number("cores", above=0.0)
_PERCENT = number("per cent", most=100.0)
_FRACTION = number("a fraction", most=1.0)
# Such that products of two, and shares by them, stay far from what floats cannot tell from 0.
_WEIGHT = number("a weight", least=0.001, most=10_000.0)
_WEIGHT_KEY = Key("weight", _WEIGHT, "weight")
_PERIOD = seconds(above=0.0)

HOST_KEYS = (
    Key("cgroup_root", absolute_path(), "cgroup_root"),
    Key("observe", flag(), "is_observing"),
    Key("cpu_capacity_cores", _SOME_CORES, "cpu_capacity_cores"),
    Key("cpu_reserve_cores", _CORES, "cpu_reserve_cores"),
    Key("memory_capacity_bytes", byte_count(least=1), "memory_capacity_bytes"),
    Key("memory_reserve_bytes", byte_count(), "memory_reserve_bytes"),
    Key("memory_margin_bytes", byte_count(), "memory_margin_bytes"),
    Key("state_dir", absolute_path(), "state_dir"),
    Key("runtime_dir", absolute_path(), "runtime_dir"),
)
PERIOD_KEYS = (
    Key("tick_s", seconds(least=0.05), "tick_s"),
    Key("step_s", _PERIOD, "step_s"),
    Key("horizon_s", _PERIOD, "horizon_s"),
    Key("refit_s", _PERIOD, "refit_s"),
    Key("learning_s", seconds(), "learning_s"),
    Key("most_cpu_cores", _SOME_CORES, "most_cpu_cores"),
)
EMERGENCY_KEYS = (
    Key("fraction", number("a fraction", most=0.5), "fraction"),
    Key("grant_s", _PERIOD, "grant_s"),
    Key("cooldown_s", seconds(), "cooldown_s"),
    Key("memory_available_fraction", _FRACTION, "memory_available_fraction"),
    Key("cpu_some_pct", _PERCENT, "cpu_some_pct"),
    Key("memory_full_pct", _PERCENT, "memory_full_pct"),
    Key("io_full_pct", _PERCENT, "io_full_pct"),
)
PACE_KEYS = (
    Key("dead_band_fraction", number("a fraction", most=0.5), "dead_band_fraction"),
    Key(
        "ramp_down_fraction_per_s",
        number("a fraction per second", above=0.0, most=1.0),
        "ramp_down_fraction_per_s",
    ),
)
FORECAST_KEYS = (
    Key("history_steps", count(least=20, most=10_000), "history_steps"),
    Key("hung_after_s", _PERIOD, "hung_after_s"),
)
CALENDAR_KEYS = (Key("lead_s", seconds(), "lead_s"),)
DRIFT_KEYS = (
    Key("policy", choice(("pin", "restore")), "policy"),
    Key("pin_s", _PERIOD, "pin_s"),
)
LOG_KEYS = (Key("level", choice(("debug", "info", "warning", "error")), "level"),)
MODE_KEYS = tuple(Key(kind, choice([mode.value for mode in Mode]), kind) for kind in Kind)
QOS_KEYS = (
    Key("weight", _WEIGHT, "weight", is_required=True),
    Key("risk_aversion", _FRACTION, "risk_aversion", is_required=True),
    Key("emergency_rank", count(least=0, most=1000), "emergency_rank", is_required=True),
    Key("burst_s", seconds(), "burst_s", is_required=True),
)
# Of what the host cannot tell by itself: stem and unit of the names of keys, and their values.
_RATES = {
    Kind.DISK_READ: ("read_{}_bytes_per_s", byte_rate),
    Kind.DISK_WRITE: ("write_{}_bytes_per_s", byte_rate),
    Kind.DISK_READ_OPS: ("read_{}_ops_per_s", rate("operations")),
    Kind.DISK_WRITE_OPS: ("write_{}_ops_per_s", rate("operations")),
    Kind.NET_OUT: ("out_{}_bytes_per_s", byte_rate),
    Kind.NET_IN: ("in_{}_bytes_per_s", byte_rate),
    Kind.REQUESTS: ("{}_per_s", rate("requests")),
}
SUPPLY_KEYS: Mapping[Kind, tuple[Key, Key]] = {
    kind: (
        Key(name.format("capacity"), of(least=1), "capacity"),
        Key(name.format("reserve"), of(least=0), "reserve"),
    )
    for kind, (name, of) in _RATES.items()
}
UPLINK_KEYS = (
    Key("replace_qdisc", flag(), "may_replace_qdisc"),
    Key("others_fraction", number("a fraction", above=0.0, most=1.0), "others_fraction"),
)
TENANT_KEYS: Mapping[Kind, tuple[Key, Key, Key]] = {
    Kind.CPU: (
        Key("floor_cores", _CORES, "floor"),
        Key("ceiling_cores", _SOME_CORES, "ceiling"),
        _WEIGHT_KEY,
    ),
    Kind.MEMORY: (
        Key("floor_bytes", byte_count(), "floor"),
        Key("ceiling_bytes", byte_count(least=1), "ceiling"),
        _WEIGHT_KEY,
    ),
    **{
        kind: (
            Key(name.format("floor"), of(least=0), "floor"),
            Key(name.format("ceiling"), of(least=1), "ceiling"),
            _WEIGHT_KEY,
        )
        for kind, (name, of) in _RATES.items()
    },
}
METRICS = "metrics"
METRICS_KEYS = (Key("file", absolute_path(), "file"),)
SECTIONS: Mapping[str, tuple[type, Sequence[Key]]] = {
    "host": (HostSettings, HOST_KEYS),
    "periods": (Periods, PERIOD_KEYS),
    "emergency": (EmergencySettings, EMERGENCY_KEYS),
    "pace": (Pace, PACE_KEYS),
    "forecast": (ForecastSettings, FORECAST_KEYS),
    "calendar": (CalendarSettings, CALENDAR_KEYS),
    "drift": (DriftSettings, DRIFT_KEYS),
    "log": (LogSettings, LOG_KEYS),
}
SECTION_NAMES = (
    *SECTIONS,
    "modes",
    "qos",
    *dict.fromkeys(kind.group for kind in SUPPLY_KEYS),
    *EVENT_GROUPS,
)


def tenant_keys(classes: Sequence[QosClass]) -> tuple[Key, ...]:
    """Return the keys at the top of a tenant's file."""
    names = [qos.name for qos in classes]
    return (
        Key("qos", choice(names, "a QoS class,"), "qos", is_required=True),
        Key("observe", flag(), "is_observed_only"),
        Key("regions", regions(), "regions"),
        Key("veth", interface(), "veth"),
        Key("unit", unit_name(), "unit"),
        Key("cgroup", cgroup_path(), "cgroup"),
        Key("memory_max_bytes", byte_count(least=1 << 20), "memory_max_bytes"),
    )
