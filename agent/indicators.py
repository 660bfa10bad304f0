"""Applications' metrics beside the forecaster: taken in at each step's end, and what they correct.

Where they come from is behind `Metering`; what they are worth, `forecast.indicators` learns.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.corrections import Corrections
from agent.metrics import MOST_METRICS
from agent.record import IndicatorTick
from agent.steps import series_positions
from agent.tenant import Floats, Ints, Resource, Roster
from forecast.history import moved
from forecast.indicators import Indicators
from forecast.profile import Profile

# Steps without a report after which a metric's place is free for another.
FORGOTTEN_AFTER_STEPS = 60


class Metering(Protocol):
    """Tells tenants' metrics without ever waiting: of a file, of a socket, of what is to come."""

    def ask(self) -> None:
        """Begin to find out what metrics are now: a step has ended."""

    def found(self) -> Mapping[str, Mapping[str, float]]:
        """Return, by tenant and name, what has come since of what was asked for last, once."""


Key = tuple[int, str]  # position of a tenant in the roster, and a metric's name


@dataclass(frozen=True, slots=True)
class _Metrics:
    """All metrics, tenant by tenant in roster order, names within; columns (metrics,)."""

    keys: tuple[Key, ...]
    value: Floats  # as of the last step's end, NaN where not known
    silent_steps: Ints  # since it was reported last

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tenant(self) -> Ints:
        """Return the position of each metric's tenant."""
        return np.array([tenant for tenant, _ in self.keys], dtype=np.int64)

    def places(self, keys: Sequence[Key]) -> Ints:
        """Return where these metrics are, -1 where they are not."""
        at = {key: place for place, key in enumerate(self.keys)}
        return np.array([at.get(key, -1) for key in keys], dtype=np.int64)

    def become(self, keys: Sequence[Key], positions: Ints) -> "_Metrics":
        """Return metrics of these keys; `positions` are among those here, -1 is new."""
        silent_steps = moved(self.silent_steps, positions, 0)
        return _Metrics(tuple(keys), moved(self.value, positions, np.nan), silent_steps)

    def with_reports(self, came: Mapping[Key, float]) -> "_Metrics":
        """Return the same metrics, some with values that came."""
        value, silent_steps = self.value.copy(), self.silent_steps.copy()
        for place, key in enumerate(self.keys):
            if key in came:
                value[place], silent_steps[place] = came[key], 0
        return _Metrics(self.keys, value, silent_steps)

    def after_step(self) -> "_Metrics":
        """Return the same metrics at the end of another step, of which nothing is known yet."""
        return _Metrics(self.keys, np.full(len(self), np.nan), self.silent_steps + 1)


class LeadingIndicators:
    """Corrects profiles by what tenants report; without a report it costs and changes nothing.

    A pair of `forecast.indicators` is a metric and one of its tenant's series: resource by
    resource, metrics within.
    """

    def __init__(
        self, roster: Roster, foreseen: Sequence[Resource], sources: Sequence[Metering]
    ) -> None:
        self._roster, self._foreseen, self._sources = roster, tuple(foreseen), tuple(sources)
        self._known = Indicators(0)
        self._corrections = Corrections.none(len(roster) * len(foreseen))
        self._metrics = _Metrics((), np.empty(0), np.empty(0, dtype=np.int64))
        self._given: Profile | None = None  # what was corrected last, and what came of it
        self._made: Profile | None = None
        self._tick: IndicatorTick | None = None
        self._left_out: Mapping[str, int] = {}  # how many metrics too many, by tenant
        self._refused: set[Key] = set()  # metrics too many of the step in the making
        self._position = {name: position for position, name in enumerate(roster.names)}

    @property
    def problem(self) -> str | None:
        """Say that a tenant reports more metrics than count, None where none does."""
        left_out = self._left_out  # is replaced by ticks while threads ask, and never changed
        if not left_out:
            return None
        tenant = min(left_out)
        return f"metrics: {tenant} reports {left_out[tenant]} more than {MOST_METRICS}"

    def learn(self, step: int, values: Floats, now_s: float) -> None:
        """Take in a closed step's demand, and begin to read the metrics as they are at its end.

        It is held against what was said here: others adjusted the profile that stood, too.
        """
        self._left_out, self._refused = self._counted(self._refused), set()
        if len(self._metrics):
            self._judge(values)
            self._known.settle(values[self._series()])
            self._pass_step()
        self._given = None
        for source in self._sources:
            source.ask()

    def adjusted(self, profile: Profile, now_s: float) -> Profile:
        """Return the profile, corrected by the metrics that have shown that they lead demand."""
        self._take()
        if not len(self._metrics):
            return profile
        if profile is not self._given or self._made is None:
            self._given, self._tick = profile, None
            made = self._known.adjusted(profile, self._series())
            self._made = self._corrections.allowed(profile, made)
        return self._made

    def _judge(self, values: Floats) -> None:
        """Hold all that metrics made of the last forecast against the demand that came."""
        if self._given is not None and self._made is not None:
            there = np.unique(self._series())
            self._corrections = self._corrections.after_step(self._given, self._made, values, there)

    def rearrange(self, roster: Roster, foreseen: Sequence[Resource], positions: Ints) -> None:
        """Go on with other tenants and resources, keeping what is known of those that stay."""
        self._corrections = self._corrections.rearranged(positions)
        stays, places = _axes(positions.reshape(len(foreseen), len(roster)), len(self._roster))
        now = {before: position for position, before in enumerate(stays) if before >= 0}
        keys = sorted((now[t], name) for t, name in self._metrics.keys if t in now)
        before = self._metrics.places([(stays[tenant], name) for tenant, name in keys])
        self._become(keys, before, places)
        self._roster, self._foreseen = roster, tuple(foreseen)
        self._position = {name: position for position, name in enumerate(roster.names)}
        self._left_out, self._refused = {}, set()

    def tick(self) -> IndicatorTick | None:
        """Return what metrics make of the forecast now, None where there are none."""
        if self._tick is None and len(self._metrics):
            shape = (len(self._foreseen), len(self._metrics))
            is_chosen = np.zeros(shape[0] * shape[1], dtype=np.bool_)
            is_chosen[self._known.chosen(self._series())] = True
            is_paused = self._corrections.is_paused[self._series()]
            self._tick = IndicatorTick(
                resources=self._foreseen,
                tenant=self._metrics.tenant,
                names=tuple(name for _, name in self._metrics.keys),
                value=self._metrics.value,
                shift=self._known.shift().reshape(shape),
                gain=self._known.gain().reshape(shape),
                lead_steps=self._known.lead_steps().reshape(shape),
                scored_steps=self._known.scored().reshape(shape),
                is_used=self._known.is_used.reshape(shape),
                is_chosen=(is_chosen & ~is_paused).reshape(shape),
                is_paused=is_paused.reshape(shape),
            )
        return self._tick

    def _series(self) -> Ints:
        """Return whose series each pair is about."""
        place = np.arange(len(self._foreseen))[:, None] * len(self._roster)
        return (place + self._metrics.tenant).reshape(-1)

    def _take(self) -> None:
        """Take in what sources have found since, and make room for what is new."""
        came: dict[Key, float] = {}
        for source in self._sources:
            for tenant, values in source.found().items():
                position = self._position.get(tenant)
                if position is not None:
                    came.update(((position, name), value) for name, value in values.items())
        if came:
            self._admit(came)
            self._metrics = self._metrics.with_reports(came)
            self._known.enter(np.tile(self._metrics.value, len(self._foreseen)))
            self._given = None

    def _admit(self, came: Mapping[Key, float]) -> None:
        """Give a place to metrics that are new: so many a tenant, those that have one first."""
        new = sorted(set(came).difference(self._metrics.keys))
        if not new:
            return
        count, keys = Counter(tenant for tenant, _ in self._metrics.keys), list(self._metrics.keys)
        for tenant, name in new:
            if count[tenant] < MOST_METRICS:
                count[tenant] += 1
                keys.append((tenant, name))
            else:
                self._refused.add((tenant, name))
        # Sources answer one after the other: who has not yet counts as in the step before.
        self._left_out = {**self._left_out, **self._counted(self._refused)}
        if len(keys) > len(self._metrics):
            keys.sort()
            self._become(keys, self._metrics.places(keys), range(len(self._foreseen)))

    def _counted(self, keys: Iterable[Key]) -> Mapping[str, int]:
        """Return how many of these metrics each tenant has, by name."""
        return Counter(self._roster.names[tenant] for tenant, _ in keys)

    def _pass_step(self) -> None:
        """Let a step end: no value is known of its end yet, and who is long silent is forgotten."""
        self._metrics = self._metrics.after_step()
        kept = np.flatnonzero(self._metrics.silent_steps <= FORGOTTEN_AFTER_STEPS)
        if len(kept) < len(self._metrics):
            keys = [self._metrics.keys[place] for place in kept]
            self._become(keys, kept, range(len(self._foreseen)))

    def _become(self, keys: Sequence[Key], positions: Ints, places: Sequence[int]) -> None:
        """Go on with these metrics, `positions` among those before, of resources at `places`."""
        pairs = series_positions(positions, list(places), tenants_before=len(self._metrics))
        self._known.rearrange(pairs)
        self._metrics = self._metrics.become(keys, positions)
        self._given = self._made = self._tick = None


def _axes(series: Ints, tenants_before: int) -> tuple[list[int], list[int]]:
    """Return where the tenants and the resources of series (resources, tenants) were before, or -1.

    `series` are positions among what was before, resource by resource.
    """
    tenant, resource = series.max(axis=0, initial=-1), series.max(axis=1, initial=-1)
    before = max(tenants_before, 1)
    stays = np.where(tenant >= 0, tenant % before, -1)
    return stays.tolist(), np.where(resource >= 0, resource // before, -1).tolist()
