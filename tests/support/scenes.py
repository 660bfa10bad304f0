"""Hosts over several ticks: a kernel that exists only in arrays, and Hypothesis stories for it.

The kernel here obeys the rules that laws rely on (counters rise, a new cgroup starts at zero and
without limits, usage stays within the quota) and does to tenants what real hosts do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from agent.allocation import Mode
from agent.controls import control_of
from agent.cycle import (
    CoreState,
    Decision,
    Observation,
    Policy,
    ResourceDecision,
    after_writes,
    decide,
    observed,
)
from agent.emergency import EmergencySettings
from agent.pins import Pins
from agent.plan import Pace, headroom, raises, reductions
from agent.tenant import BASIC, Entitlement, Floats, Ints, Kind, Resource, Roster, Tenant
from enforce.columns import (
    AnyControl,
    Changes,
    Control,
    DiskColumns,
    HostSample,
    Limits,
    Outcomes,
    Result,
)
from forecast.profile import BOUNDS, LEVELS, Profile
from forecast.settings import HORIZONS

from hosts import GIB, NUMBERS, Guest, guests, mixed

DISK, NET = Resource(Kind.DISK_READ, "sda"), Resource(Kind.NET_OUT)  # NET: decided, never written
MIB_PER_S = float(1 << 20)
_US = 1e6
# Limits that the kernel takes; what it does not limit may be anything.
SMALLEST = {Resource.CPU: 0.01, Resource.MEMORY: float(1 << 20), DISK: float(1 << 18), NET: 0.0}


@dataclass(frozen=True)
class Moment:
    """What happens to one tenant in one tick."""

    event: str = "none"  # or recreated, gone, reset (counters fall to 0), unread
    wants_cores: float = 0.0
    memory_bytes: float = 0.0
    is_memory_held: bool = False


_EVENTS = ("none", "none", "none", "none", "recreated", "gone", "reset", "unread")
_WANTS = (0.0, 0.1, 1.0, 1 / 3, 4.0, 100.0)
_HELD = (0.0, 0.1 * GIB, GIB, 3 * GIB)


def _moment(number: int) -> tuple[int, Moment]:
    number, event = divmod(number, len(_EVENTS))
    number, wants = divmod(number, len(_WANTS))
    number, held = divmod(number, len(_HELD))
    number, is_held = divmod(number, 2)
    return number, Moment(_EVENTS[event], _WANTS[wants], _HELD[held], bool(is_held))


@dataclass(frozen=True)
class Scene:
    """Tenants (one guest for cpu, one for memory each), a policy, and what happens when."""

    pairs: tuple[tuple[Guest, Guest], ...]
    policy: Policy
    elapsed_s: tuple[float, ...]
    story: tuple[tuple[Moment, ...], ...]  # by tick, by tenant
    has_history: bool = True
    adopted: tuple[float, ...] = ()  # limits in force at start, as parts of what the machine has
    pins: Pins | None = None

    @property
    def limited(self) -> tuple[Resource, ...]:
        """Return what the kernel limits of that which is divided."""
        return tuple(r for r in self.policy.resources if control_of(r) is not None)

    @property
    def roster(self) -> Roster:
        """Return the tenants in name order, which is the order of `pairs`."""
        return Roster.of(self.tenants, self.policy.resources)

    @property
    def tenants(self) -> list[Tenant]:
        """Return the tenants as a configuration would give them."""
        return [
            Tenant(
                name=f"tenant-{position:02}",
                qos=cpu.qos,
                entitlements={
                    Resource.CPU: Entitlement(cpu.floor, cpu.ceiling, cpu.weight),
                    Resource.MEMORY: Entitlement(
                        memory.floor * GIB, memory.ceiling * GIB, memory.weight
                    ),
                    DISK: Entitlement(
                        cpu.floor * MIB_PER_S, cpu.ceiling * MIB_PER_S, memory.weight
                    ),
                    NET: Entitlement(memory.floor * MIB_PER_S, weight=cpu.weight),
                },
                is_observed_only=cpu.is_hit and memory.is_hit,
            )
            for position, (cpu, memory) in enumerate(self.pairs)
        ]

    @property
    def profile(self) -> Profile:
        """Return the forecast of all series; of a tenant that is not `present` there is none."""
        series = [(cpu, 1.0) for cpu, _ in self.pairs] + [(memory, GIB) for _, memory in self.pairs]
        if DISK in self.policy.foreseen:
            series += [(memory, MIB_PER_S) for _, memory in self.pairs]
        known = np.array([self.has_history and guest.is_present for guest, _ in series], dtype=bool)
        grid = np.full((len(LEVELS), len(series)), np.nan)
        expected = np.full(len(series), np.nan)
        for place, (guest, scale) in enumerate(series):
            if known[place]:
                grid[:, place], expected[place] = guest.grid * scale, guest.expected * scale
        upper = grid[-1] if series else expected
        maximum = np.broadcast_to(upper, (HORIZONS, len(BOUNDS), len(series)))
        return Profile(0, LEVELS, grid, expected, maximum, np.zeros(len(series), dtype=np.uint8))


_COUNTERS = ("usage", "throttled", "memory", "events", "disk")


@dataclass
class Kernel:
    """Counters and limits of all tenants' cgroups; `usage_cores` is the truth of the last tick."""

    limits: dict[AnyControl, Floats]
    cgroup_id: Ints
    now_s: float = 1000.0
    next_id: int = 100
    counters: dict[str, Floats] = field(default_factory=dict)
    usage_cores: Floats = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def holding(cls, scene: Scene) -> "Kernel":
        """Return a kernel with every cgroup there, at the limits that the scene starts with."""
        size = len(scene.pairs)
        parts = np.array(scene.adopted or (np.inf,) * size)
        machine = scene.policy.machine
        return cls(
            limits={_control(r): parts * machine[r] for r in scene.limited},
            cgroup_id=np.arange(1, size + 1, dtype=np.int64),
            counters={name: np.zeros(size) for name in _COUNTERS},
        )

    def pass_time(self, elapsed_s: float, moments: tuple[Moment, ...]) -> HostSample:
        """Let `moments` happen for `elapsed_s` seconds, then read all files."""
        self.now_s += elapsed_s
        self._change_cgroups(moments)
        wants = np.array([moment.wants_cores for moment in moments])
        self.usage_cores = np.minimum(wants, self.limits[Control.CPU_MAX])
        self.counters["usage"] += self.usage_cores * elapsed_s * _US
        self.counters["throttled"] += (wants - self.usage_cores) * elapsed_s * _US
        most = self.limits.get(_control(DISK), np.inf)
        self.counters["disk"] += np.minimum(wants * MIB_PER_S, most) * elapsed_s
        self.counters["memory"] = np.array([moment.memory_bytes for moment in moments])
        self.counters["events"] += np.array([float(m.is_memory_held) for m in moments])
        return self._read(moments)

    def _change_cgroups(self, moments: tuple[Moment, ...]) -> None:
        for tenant, moment in enumerate(moments):
            is_back = self.cgroup_id[tenant] == 0 and moment.event != "gone"
            if moment.event == "recreated" or is_back:
                self.cgroup_id[tenant], self.next_id = self.next_id, self.next_id + 1
                for limit in self.limits.values():
                    limit[tenant] = np.inf
            if moment.event == "gone":
                self.cgroup_id[tenant] = 0
            if moment.event in {"reset", "recreated"} or is_back:
                for counter in self.counters.values():
                    counter[tenant] = 0.0

    def _read(self, moments: tuple[Moment, ...]) -> HostSample:
        """Return the counters, NaN where there is no cgroup or a file cannot be read."""
        is_there = self.cgroup_id != 0
        is_read = is_there & np.array([m.event != "unread" for m in moments], dtype=np.bool_)
        nothing = np.full(len(moments), np.nan)

        def seen(counter: Floats) -> Floats:
            return np.where(is_read, counter, np.nan)

        disk_limit = self.limits.get(_control(DISK), np.full(len(moments), np.inf))

        return HostSample(
            taken_at_s=self.now_s,
            cgroup_id=self.cgroup_id.copy(),
            cpu_usage_us=seen(self.counters["usage"]),
            cpu_periods=nothing,
            cpu_throttled_periods=nothing,
            cpu_throttled_us=seen(self.counters["throttled"]),
            memory_current_bytes=seen(self.counters["memory"]),
            memory_high_events=seen(self.counters["events"]),
            memory_oom_kills=nothing,
            populated=nothing,
            memory_unreclaimable_bytes=seen(self.counters["memory"] / 2),
            cpu_waited_us=nothing,
            cpu_stalled_us=nothing,
            cpu_stalled_at_us=nothing,
            memory_stalled_us=nothing,
            memory_stalled_at_us=nothing,
            io_stalled_us=nothing,
            io_stalled_at_us=nothing,
            io_read_bytes=nothing,
            io_write_bytes=nothing,
            io_read_ops=nothing,
            io_write_ops=nothing,
            net_out_bytes=nothing,
            net_in_bytes=nothing,
            requests=nothing,
            disks=DiskColumns((DISK.device,), *[seen(self.counters["disk"])[None]] * 4),
            disk_limits=DiskColumns(
                (DISK.device,), *[np.where(is_there, disk_limit, np.nan)[None]] * 4
            ),
            in_force=Limits(
                cpu_max_cores=np.where(is_there, self.limits[Control.CPU_MAX], np.nan),
                cpu_weight=nothing,
                memory_high_bytes=np.where(is_there, self.limits[Control.MEMORY_HIGH], np.nan),
                memory_low_bytes=nothing,
                memory_max_bytes=nothing,
            ),
        )


@dataclass(frozen=True)
class Played:
    """One tick of a scene, as it was seen, decided and written."""

    seen: Observation
    decision: Decision
    usage_cores: Floats  # what it really was
    sums: dict[Resource, list[float]]  # of movable limits, before and after each write
    left: dict[Resource, Floats]  # in force in the end; inf is none

    def stuck(self, resource: Resource, policy: Policy) -> Floats:
        """Return the most that safety rule 4 may keep a limit up to: what is held, plus margin."""
        if resource != Resource.MEMORY:
            return np.zeros(len(self.usage_cores))
        held = np.nan_to_num(self.seen.usage.memory_bytes) + policy.memory_margin_bytes
        return np.where(self.seen.usage.is_present, held, 0.0)


def played(scene: Scene, kernel: Kernel | None = None) -> Iterator[Played]:
    """Run the real core over a scene, writing what it decides into the kernel of arrays."""
    kernel = kernel or Kernel.holding(scene)
    roster, policy, profile = scene.roster, scene.policy, scene.profile
    state = CoreState.fresh(len(roster), policy)
    for elapsed_s, moments in zip(scene.elapsed_s, scene.story, strict=True):
        sample = kernel.pass_time(elapsed_s, moments)
        seen = observed(state, sample, roster=roster, policy=policy)
        seen = replace(seen, pins=scene.pins or seen.pins)
        decision = decide(state, seen, profile, roster=roster, policy=policy)
        parts = {r: part for r, part in decision.resources.items() if r in scene.limited}
        before = {r: kernel.limits[_control(r)] for r in parts}
        sums = {r: _enforced(kernel, r, part, scene) for r, part in parts.items()}
        outcomes = [_outcomes(_control(r), before[r], kernel) for r in parts]
        state = after_writes(decision.state, outcomes, policy.machine)
        left = {resource: kernel.limits[_control(resource)].copy() for resource in scene.limited}
        yield Played(seen, decision, kernel.usage_cores, sums, left)


def _outcomes(control: AnyControl, before: Floats, kernel: Kernel) -> Outcomes:
    """Say what became of limits of one kind that were written."""
    after = kernel.limits[control]
    at = np.flatnonzero(after != before)
    result = np.full(len(at), Result.APPLIED, dtype=np.uint8)
    return Outcomes(control, at, after[at], after[at], result)


def _control(resource: Resource) -> AnyControl:
    control = control_of(resource)
    assert control is not None
    return control


def written(changes: Changes, in_force: Floats, fate: Floats) -> Iterator[Floats]:
    """Yield what stands in the kernel after each write, of which it does the part `fate`."""
    for tenant, before, after in zip(changes.tenant, changes.before, changes.after, strict=True):
        in_force = in_force.copy()
        in_force[tenant] = before + (after - before) * fate[tenant]
        yield in_force


def _enforced(
    kernel: Kernel, resource: Resource, part: ResourceDecision, scene: Scene
) -> list[float]:
    """Write one resource's targets: all reductions, then the raises that fit."""
    control, all_of_it = _control(resource), np.ones(len(scene.pairs))
    movable, guaranteed = part.is_movable, part.allocation.guarantee.amount
    states = [part.in_force]
    falling = reductions(control, part.target, states[-1], movable)
    states += written(falling, states[-1], all_of_it)
    room = headroom(
        part.target[movable],
        states[0][movable],
        states[-1][movable],
        guaranteed=guaranteed[movable],
        least=part.least[movable],
        allowed=part.allowed,
    )
    rising = raises(
        control,
        np.where(movable, part.target, states[-1]),
        states[-1],
        guaranteed=guaranteed,
        least=part.least,
        headroom=room,
    )
    states += written(rising, states[-1], all_of_it)
    # All that the machine has is no limit, as the tick writes it.
    is_all = states[-1] >= scene.policy.machine[resource] * (1 - 1e-9)
    final = np.where(is_all, np.inf, states[-1])
    is_written = states[-1] != states[0]
    kernel.limits[control] = np.where(is_written, final, kernel.limits[control])
    return [float(state[movable].sum()) for state in states]


def policy_of(
    cores: float,
    memory_bytes: float,
    *,
    share: float = 1.0,
    reserve: float = 0.1,
    **changes: object,
) -> Policy:
    """Return a policy that divides `share` of a machine, less the part `reserve` of that."""
    policy = Policy(
        machine={Resource.CPU: cores / share, Resource.MEMORY: memory_bytes / share},
        total={Resource.CPU: cores, Resource.MEMORY: memory_bytes},
        capacity={
            Resource.CPU: (1 - reserve) * cores,
            Resource.MEMORY: (1 - reserve) * memory_bytes,
        },
        modes={Resource.CPU: Mode.ELASTIC, Resource.MEMORY: Mode.STRICT},
        emergency=EmergencySettings(),
        pace=Pace(),
        learning_s=0.0,
        memory_margin_bytes=float(1 << 24),
    )
    return replace(policy, **changes)  # type: ignore[arg-type]


def with_rates(policy: Policy, *, disk: float, net: float) -> Policy:
    """Return a policy that divides reads from a disk too, and what is sent, in MiB/s."""
    more = {DISK: disk * MIB_PER_S, NET: net * MIB_PER_S}
    return replace(
        policy,
        machine={**policy.machine, **more},
        total={**policy.total, **more},
        capacity={**policy.capacity, **{resource: 0.9 * most for resource, most in more.items()}},
        modes={**policy.modes, DISK: Mode.STRICT, NET: Mode.ELASTIC},
    )


@st.composite
def scenes(
    draw: st.DrawFn, *, learning_s: tuple[float, ...] = (0.0, 0.0, 3.0, 1e6), least: int = 0
) -> Scene:
    """Draw up to six tenants and up to six ticks of a second, of none, or of five minutes.

    There are at least `least` of either.
    """
    pairs = tuple(draw(st.lists(st.tuples(guests, guests), min_size=least, max_size=6)))
    periods = st.sampled_from((1.0, 1.0, 0.5, 0.0, 300.0))
    elapsed_s = tuple(draw(st.lists(periods, min_size=least, max_size=6)))
    story = []
    for _ in elapsed_s:
        number, tick = mixed(draw(NUMBERS)), []
        for _ in pairs:
            number, moment = _moment(number)
            tick.append(moment)
        story.append(tuple(tick))
    modes = st.sampled_from((Mode.STRICT, Mode.ELASTIC))
    some = (0.1, 0.03, 0.5, 0.2)
    adopted = st.sampled_from(draw(st.sampled_from((some, (float("inf"), 1.0, *some)))))
    policy = policy_of(
        draw(st.sampled_from((2.0, 0.5, 64.0))),
        draw(st.sampled_from((4.0, 0.5, 256.0))) * GIB,
        share=draw(st.sampled_from((1.0, 0.5, 0.25))),
        reserve=draw(st.sampled_from((0.1, 0.01))),
        modes={resource: draw(modes) for resource in BASIC},
        learning_s=draw(st.sampled_from(learning_s)),
    )
    if draw(st.booleans()):
        policy = with_rates(policy, disk=draw(st.sampled_from((2.0, 0.5, 64.0))), net=4.0)
    return Scene(
        pairs=pairs,
        policy=policy,
        elapsed_s=elapsed_s,
        story=tuple(story),
        has_history=draw(st.booleans()),
        adopted=tuple(draw(adopted) for _ in pairs),
    )
