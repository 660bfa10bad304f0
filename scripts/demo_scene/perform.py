"""Performs the CPU's scene under one regime, and measures it from the first tide's end on."""

from collections.abc import Callable, Sequence
from contextlib import closing

from scripts.demo_scene import gauge, scene, stage
from scripts.demo_scene.play import Cast, Requests, beats_s
from scripts.demo_scene.progress import Counters
from scripts.demo_scene.record import Costs, Figures, Moment, Waits, work_done
from scripts.demo_scene.regime import Regime
from scripts.demo_scene.web import ADDRESS

WEB_PROGRAM = {"web": (stage.WEB_FILE,)}


def perform(
    regime: Regime, costs: Costs, arrivals_s: Sequence[float], show: Callable[[Moment], None]
) -> Figures:
    """Play the scene once from nothing: new processes, new cgroups, an empty page cache."""
    stage.drop_caches()
    with (
        stage.new_cgroups(scene.NAMES),
        regime.over(stage.ROOT),
        closing(Cast()) as cast,
    ):
        cast.tenants(_programs(costs))
        visitors = cast.requests("visitors", arrivals_s, *ADDRESS, scene.REQUEST_TIMEOUT_S)
        return _measured(regime, costs, cast, visitors, show)


def _programs(costs: Costs) -> dict[str, Sequence[object]]:
    """Return every tenant's program with its arguments, by the tenant's name."""
    return {
        **WEB_PROGRAM,
        "report": (
            round(scene.REPORT_CORE_S / costs.chunk_core_s),
            scene.REPORT_EVERY_S,
            scene.REPORT_WITHIN_S,
        ),
        "hog": (),
        "eater": (stage.SCAN_FILE, scene.SCAN_TABLE_BYTES, scene.SCAN_BYTES_PER_S),
    }


def _measured(
    regime: Regime, costs: Costs, cast: Cast, visitors: Requests, show: Callable[[Moment], None]
) -> Figures:
    start_at_s = cast.start()
    timeline: list[Moment] = []
    asked: list[tuple[bytes, ...]] = []
    readings: dict[float, tuple[gauge.Meters, dict[str, Counters]]] = {}
    meters, seen, end_s = gauge.read_meters(), 0, scene.PRELUDE_S + scene.COUNTED_S
    for at_s in beats_s(start_at_s, end_s):
        last, meters = meters, gauge.read_meters()
        readings[at_s] = meters, cast.counters()
        ended = visitors.answers()
        timeline.append(gauge.moment(last, meters, ended[seen:], start_at_s))
        seen = len(ended)
        asked.append(regime.asked())
        show(timeline[-1])
    visitors.wait()
    before, done_before = readings[scene.PRELUDE_S]
    after, done_after = readings[end_s]
    answers = [a for a in visitors.answers() if a.arrival_s >= scene.PRELUDE_S]
    work = work_done(costs, answers, done_before, done_after)
    reports = round(scene.COUNTED_S / scene.REPORT_EVERY_S)
    return Figures(
        regime=regime.name,
        waits=Waits.of(answers),
        reports=reports,
        reports_in_time=reports - round(done_after["report"].late - done_before["report"].late),
        work=work,
        idle_core_s=after.idle_core_s - before.idle_core_s,
        daemon_core_s=after.daemon_core_s - before.daemon_core_s,
        web_refaults=after.web_refaults - before.web_refaults,
        chunk_core_s=(after.usage_core_s["hog"] - before.usage_core_s["hog"]) / work["hog"].done,
        timeline=timeline,
        asked=asked,
    )
