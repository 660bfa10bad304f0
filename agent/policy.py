"""From what an operator configured to what the core decides by.  Pure."""

from collections.abc import Mapping

from agent.calendar import CalendarPlan
from agent.cycle import Policy
from agent.schedule import Thrift
from agent.settings import Config
from agent.tenant import Kind, Resource
from agent.tick import LoopSettings
from agent.uplift import Windows
from enforce.links.uplink import Uplink, directions
from forecast.settings import ForecastSettings


def policy_of(config: Config) -> Policy:
    """Return the part of a configuration that decisions depend on."""
    return Policy(
        machine=config.machine,
        total=config.total,
        capacity=config.capacity,
        modes=config.modes,
        emergency=config.emergency,
        pace=config.pace,
        learning_s=config.periods.learning_s,
        memory_margin_bytes=config.host.margin_bytes,
    )


def thrift_of(config: Config) -> Thrift:
    """Return what ticks may cost, and that none is left out yet."""
    periods = config.periods
    return Thrift(periods.tick_s, periods.most_cpu_cores, longest_s=periods.step_s)


def loop_settings(config: Config, thrift: Thrift, *, is_held: bool = False) -> LoopSettings:
    """Return the part of a configuration that the control loop runs by; who is held writes not."""
    return LoopSettings(
        tick_s=thrift.period_s,
        step_s=config.periods.step_s,
        is_observing=config.host.is_observing or is_held,
    )


def forecast_settings(config: Config) -> ForecastSettings:
    """Return the part of a configuration that the forecaster is told."""
    return ForecastSettings(
        step_s=config.periods.step_s,
        horizon_steps=config.periods.horizon_steps,
        refit_s=config.periods.refit_s,
        history_steps=config.forecast.history_steps,
    )


def uplinks_of(config: Config) -> list[Uplink]:
    """Return the uplinks whose bytes are divided, or of which one direction is."""

    def part(of: Mapping[Resource, float], kind: Kind, name: str) -> float:
        return of.get(Resource(kind, name), 0.0)

    found = [
        Uplink(
            name,
            out_bytes_per_s=part(config.total, Kind.NET_OUT, name),
            in_bytes_per_s=part(config.total, Kind.NET_IN, name),
            out_reserve_bytes_per_s=part(config.reserve, Kind.NET_OUT, name),
            others_fraction=settings.others_fraction,
            may_replace_qdisc=settings.may_replace_qdisc,
        )
        for name, settings in config.uplinks.items()
    ]
    return [one for one in found if directions(one)]


def calendar_plan(config: Config) -> CalendarPlan:
    """Return the part of a configuration that the calendar goes by."""
    step_s = config.periods.step_s
    horizons_s = [step_s * steps for steps in forecast_settings(config).horizons_steps]
    lead_s = config.calendar.lead_s
    return CalendarPlan(
        windows=Windows.of(lead_s=lead_s, step_s=step_s, horizons_s=horizons_s),
        step_s=step_s,
        sources=config.events,
        expansion=config.expansion,
        regions={tenant.name: tenant.regions for tenant in config.tenants if tenant.regions},
    )
