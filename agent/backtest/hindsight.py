"""What the agent recorded on this host, replayed under the host's files, as they are and changed.

The decisions are those of every replay; only who is there and what they wanted was recorded.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from agent.allocation import Mode
from agent.backtest.host import Evidence
from agent.backtest.ours import PLENTY, Tell, at_pace, steps_under
from agent.backtest.parallel import in_parallel
from agent.config import ConfigError
from agent.emergency import EmergencySettings
from agent.history import HISTORY_NAME, Past, read_past
from agent.host import read_config
from agent.overrides import Override
from agent.settings import Config, ForecastSettings, HostSettings
from agent.tenant import BASIC, Bools, Floats, Resource, Tenant

_DAY_S = 86400.0
_WARM_UP_S = 3 * _DAY_S
_FINE_S = _DAY_S  # of a longer time, what went before its fine steps would be lost


class HindsightError(Exception):
    """There is nothing to be replayed; the message says why, `hint` what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


class OverrideError(Exception):
    """What stands in place of the files' settings is unusable; `problems` names every fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    config: Path
    tenants_dir: Path
    resource: Resource
    since_s: float  # how long ago it begins
    overrides: tuple[Override, ...] = ()
    mode: Mode | None = None  # in place of the configured one, in all replays
    are_fitted: bool = True
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Recording:
    """One resource's steps; columns (steps, tenants) in name order, NaN where nobody knows."""

    step_s: float
    ended_at_s: Floats  # (steps,) UNIX time
    warm_up: int  # steps before those that count
    tenants: tuple[str, ...]
    demand: Floats
    usage: Floats
    limit: Floats  # in force, inf is none

    @property
    def is_recorded(self) -> Bools:
        """Say of which steps that count something is known, (steps,)."""
        return np.asarray(~np.isnan(self.demand[self.warm_up :]).all(axis=1), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one replay did in the steps that count, (steps, tenants)."""

    limit: Floats
    served: Floats


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What was recorded, and the configurations under which it is to be replayed."""

    request: Request
    config: Config  # as it is
    recording: Recording
    configured: Config  # at the replay's pace
    changed: Config | None  # the same with settings in place of the files'
    without_effect: tuple[str, ...]  # of these, as they were given
    forgotten: tuple[str, ...]  # tenants that were recorded and have no file any more

    @property
    def replays(self) -> tuple[Config, ...]:
        """Return each configuration that is replayed."""
        return (self.configured, *([self.changed] if self.changed else []))

    @property
    def steps(self) -> int:
        """Return how many steps `held` tells of."""
        return len(self.replays) * len(self.recording.demand)


def prepared(request: Request, *, now_s: float) -> Hindsight:
    """Read the files and what was recorded before `now_s` (UNIX time).

    Raises:
        ConfigError: The files are at fault.
        OverrideError: They are not, but what stands in place of their settings is.
        HistoryError: Nothing was recorded in that time, or it cannot be read.
        HindsightError: There is nothing in it to be replayed.

    """
    config = read_config(request.config, request.tenants_dir)
    if request.mode is not None:
        config = replace(config, modes={**config.modes, request.resource: request.mode})
    altered = _altered(request, request.overrides) if request.overrides else None
    begun_s = now_s - request.since_s
    past = read_past(
        config.host.state_dir / HISTORY_NAME,
        since_s=begun_s - _WARM_UP_S,
        now_s=now_s,
        resources=[request.resource],
        is_coarse=request.since_s > _FINE_S,
    )
    names = {tenant.name for tenant in config.tenants}
    recording = recording_of(past, request.resource, names, begun_s=begun_s)
    of_these = partial(replay_config, resource=request.resource, recording=recording)
    changed = None if altered is None else of_these(altered)
    return Hindsight(
        request=request,
        config=config,
        recording=recording,
        configured=of_these(config),
        changed=changed,
        without_effect=tuple(
            one.text
            for one, rest in zip(request.overrides, _each_without(request), strict=True)
            if rest is not None and of_these(rest) == changed
        ),
        forgotten=tuple(name for name in past.tenants if name not in names),
    )


def held(hindsight: Hindsight, tell: Tell) -> list[Replayed]:
    """Replay what was recorded under each configuration.

    Raises:
        ForecasterError: A forecaster is gone, or does not answer.
        WorkerGoneError: A worker process was killed.

    """
    request = hindsight.request
    work = partial(
        replayed_under,
        recording=hindsight.recording,
        resource=request.resource,
        are_fitted=request.are_fitted,
    )
    return in_parallel(work, hindsight.replays, jobs=request.jobs, tell=tell)


def recording_of(
    past: Past, resource: Resource, names: Collection[str], *, begun_s: float
) -> Recording:
    """Return what was recorded of a resource and of the tenants named, from the first step known.

    Steps that ended after `begun_s` count; what went before is the warm-up.

    Raises:
        HindsightError: None of these tenants was there in a step that counts.

    """
    places = [place for place, name in enumerate(past.tenants) if name in names]
    if not places:
        raise HindsightError(
            "nobody who was recorded in that time has a file now", "see --config and --tenants-dir"
        )
    if resource not in past.demand:
        raise HindsightError(f"nothing of {resource} was recorded", "see --resource")
    demand, usage = past.demand[resource][:, places], past.usage[resource][:, places]
    is_known = np.isfinite(demand) & (demand >= 0) & np.isfinite(usage)
    known = np.flatnonzero(is_known.any(axis=1))
    if not len(known) or past.ended_at_s[known[-1]] <= begun_s:
        raise HindsightError(
            f"nothing of {resource} was recorded in that time", "ask for a longer one: --since 7d"
        )
    span = slice(known[0], known[-1] + 1)
    return Recording(
        step_s=past.step_s,
        ended_at_s=past.ended_at_s[span],
        warm_up=int((past.ended_at_s[span] <= begun_s).sum()),
        tenants=tuple(past.tenants[place] for place in places),
        demand=np.where(is_known, demand, np.nan)[span],
        usage=np.where(is_known, usage, np.nan)[span],
        limit=past.limit[resource][span][:, places],
    )


def replay_config(config: Config, *, resource: Resource, recording: Recording) -> Config:
    """Return what of a configuration counts in a replay of one resource; of all else is plenty.

    Two that are equal here are replayed alike.
    """
    own, host = config.forecast, config.host
    names = set(recording.tenants)
    is_cpu = resource == Resource.CPU
    plenty = dict.fromkeys(BASIC, PLENTY)
    return Config(
        machine=plenty | {resource: config.machine[resource]},
        total=plenty | {resource: config.total[resource]},
        host=HostSettings(
            is_observing=host.is_observing,
            cpu_reserve_cores=host.cpu_reserve_cores if is_cpu else 0.0,
            memory_reserve_bytes=0 if is_cpu else host.memory_reserve_bytes,
            memory_margin_bytes=0 if is_cpu else int(host.margin_bytes),
        ),
        tenants=tuple(_only(tenant, resource) for tenant in config.tenants if tenant.name in names),
        periods=at_pace(replace(config.periods, most_cpu_cores=1.0), recording.step_s),
        modes=dict.fromkeys(BASIC, Mode.STRICT) | {resource: config.modes[resource]},
        # How the host itself did was not recorded; and where a tick is a step the forecast has
        # seen all that a tick sees, so that nothing comes unexpectedly and nothing is granted.
        emergency=EmergencySettings(config.emergency.fraction),
        pace=config.pace,
        forecast=ForecastSettings(own.history_steps),
    )


def replayed_under(
    config: Config, tell: Tell, recording: Recording, *, resource: Resource, are_fitted: bool
) -> Replayed:
    """Replay all that was recorded under one configuration of a replay.

    Raises:
        ForecasterError: The forecaster is gone, or does not answer.

    """
    counts = recording.demand[recording.warm_up :]
    limit, served = np.empty_like(counts), np.empty_like(counts)
    steps = steps_under(
        config,
        recording.demand,
        resource=resource,
        evidence=Evidence(is_exact=True),
        are_fitted=are_fitted,
    )
    for step, passed in enumerate(steps, start=-recording.warm_up):
        tell(1)
        if step >= 0:
            limit[step], served[step] = passed.limit, passed.served
    return Replayed(limit, served)


def _altered(request: Request, overrides: Sequence[Override]) -> Config:
    """Return the configuration with settings in place of the files'."""
    mode, resource = request.mode, request.resource
    said = [] if mode is None else [Override(("modes", str(resource.kind)), mode.value, "")]
    try:
        return read_config(request.config, request.tenants_dir, overrides=[*said, *overrides])
    except ConfigError as error:
        raise OverrideError(error.problems) from error


def _each_without(request: Request) -> Iterator[Config | None]:
    """Return the configuration without each override in turn; None where it needs that one."""
    for place in range(len(request.overrides)):
        rest = (*request.overrides[:place], *request.overrides[place + 1 :])
        try:
            yield _altered(request, rest)
        except OverrideError:
            yield None


def _only(tenant: Tenant, resource: Resource) -> Tenant:
    return replace(tenant, entitlements={resource: tenant.entitlements[resource]})
