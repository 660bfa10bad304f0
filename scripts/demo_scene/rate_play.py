"""Plays the network's and the disk's scene under each regime, and measures them."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.demo_scene import gauge, rate_show, rates, service, stage
from scripts.demo_scene.play import Cast, Requests, beats_s
from scripts.demo_scene.rates import Limit, RateFigures, RateMoment, RateScene
from scripts.demo_scene.record import Waits
from scripts.demo_scene.regime import NO_CONTROL, TIDEGATE, Regime


@dataclass(frozen=True, slots=True)
class Act:
    """How a scene is staged; `enter` adds its programs and returns the one that makes requests.

    `sent_bytes` tells of each tenant what it has had so far, given how many requests were answered.
    """

    name: str
    scene: RateScene
    host_table: str
    tenant_table: str  # with {floor} in it
    laid: Callable[[], AbstractContextManager[object]]
    caps: str
    capped: Callable[[Path], AbstractContextManager[object]]
    enter: Callable[[Cast, Sequence[float]], Requests]
    sent_bytes: Callable[[Cast, int], Mapping[str, float]]
    limits: Callable[[], Mapping[str, Limit]]


@dataclass(frozen=True, slots=True)
class _Reading:
    taken_at_s: float
    sent_bytes: Mapping[str, float]
    idle_core_s: float
    daemon_core_s: float

    def rates_since(self, before: "_Reading") -> dict[str, float]:
        elapsed_s = self.taken_at_s - before.taken_at_s
        return {
            name: (sent - before.sent_bytes[name]) / elapsed_s
            for name, sent in self.sent_bytes.items()
        }


def play(
    out: Console, acts: Sequence[Act], names: Collection[str], seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Play each act under the regimes of these names, and return everything measured, by act.

    All share one stage and one start of the agent, which is configured for all of them.
    """
    played: dict[str, list[RateFigures]] = {act.name: [] for act in acts}
    service.configure(tenant_files(acts), divided=divided(acts))
    for act in acts:
        rate_show.bill(out, act.scene)
    with ExitStack() as stack:
        for act in acts:
            stack.enter_context(act.laid())
        for regime in _regimes(acts):
            if regime.name in names:
                for figures, act in zip(_perform(out, acts, regime, seed), acts, strict=True):
                    played[act.name].append(figures)
    for act in acts:
        rate_show.closing(out, act.scene, played[act.name])
    return {name: [asdict(figures) for figures in found] for name, found in played.items()}


def divided(acts: Sequence[Act]) -> str:
    """Return what the host's file says of what the acts are about."""
    return "".join(act.host_table for act in acts)


def tenant_files(acts: Sequence[Act]) -> dict[str, str]:
    """Return each tenant's file, with the floor that was sold."""
    return {
        part.name: f'qos = "{part.qos}"\n\n' + act.tenant_table.format(floor=part.floor_bytes_per_s)
        for act in acts
        for part in act.scene.parts
    }


def _regimes(acts: Sequence[Act]) -> tuple[Regime, ...]:
    @contextmanager
    def capped(root: Path) -> Iterator[None]:
        with ExitStack() as stack:
            for act in acts:
                stack.enter_context(act.capped(root))
            yield

    says = "fixed at what was sold: " + ", ".join(act.caps for act in acts)
    return NO_CONTROL, Regime("static caps", says, capped), TIDEGATE


def _perform(out: Console, acts: Sequence[Act], regime: Regime, seed: int) -> Iterator[RateFigures]:
    """Play each act once from nothing: new cgroups for all, new processes."""
    rate_show.opening(out, regime)
    arrivals_s = rates.arrivals_s(seed=seed)
    tenants = [part.name for act in acts for part in act.scene.parts]
    with stage.new_cgroups(tenants), regime.over(stage.ROOT):
        for act in acts:
            rate_show.heads(out, act.scene)
            with closing(Cast()) as cast:
                requests = act.enter(cast, arrivals_s)
                yield _measured(act, regime, cast, requests, out)


def _measured(
    act: Act, regime: Regime, cast: Cast, requests: Requests, out: Console
) -> RateFigures:
    start_at_s = cast.start()
    timeline: list[RateMoment] = []
    asked: list[tuple[bytes, ...]] = []
    now, seen = _read(act, cast, 0), 0
    begun = now
    for at_s in beats_s(start_at_s, rates.END_S):
        ended = requests.answers()
        before, now = now, _read(act, cast, Waits.of(ended).answered)
        if at_s <= rates.PRELUDE_S:
            begun = now
        limits, waits = act.limits(), Waits.of(ended[seen:])
        timeline.append(RateMoment(at_s, waits, now.rates_since(before), limits))
        seen = len(ended)
        asked.append(regime.asked())
        out.print(rate_show.line(act.scene, timeline[-1]))
    rate_show.account(out, act.scene, asked[-1])
    requests.wait()
    counted = [a for a in requests.answers() if a.arrival_s >= rates.PRELUDE_S]
    bytes_per_s = now.rates_since(begun)
    return RateFigures(
        regime=regime.name,
        waits=Waits.of(counted),
        bytes_per_s=bytes_per_s,
        used_fraction=sum(bytes_per_s.values()) / act.scene.carries_bytes_per_s,
        idle_core_s=now.idle_core_s - begun.idle_core_s,
        daemon_core_s=now.daemon_core_s - begun.daemon_core_s,
        timeline=timeline,
        asked=asked,
    )


def _read(act: Act, cast: Cast, answered: int) -> _Reading:
    return _Reading(
        taken_at_s=time.monotonic(),
        sent_bytes=act.sent_bytes(cast, answered),
        idle_core_s=gauge.idle_core_s(),
        daemon_core_s=gauge.daemon_core_s(),
    )
