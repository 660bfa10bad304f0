"""Performs the scene under one regime, and measures it from the first tide's end to the last's."""

import time
from collections.abc import Callable, Sequence
from math import inf

from scripts.demo_scene import gauge, scene, stage
from scripts.demo_scene.play import Tenants, Visitors, programs, start
from scripts.demo_scene.progress import Counters
from scripts.demo_scene.record import Costs, Figures, Moment, quantile, work_done
from scripts.demo_scene.regimes import Regime

_EVERY_S = 2.0


def perform(
    regime: Regime, costs: Costs, arrivals_s: Sequence[float], show: Callable[[Moment], None]
) -> Figures:
    """Play the scene once from nothing: new processes, new cgroups, an empty page cache."""
    stage.drop_caches()
    with stage.new_cgroups(), regime.over(stage.ROOT):
        tenants = Tenants(programs(costs))
        visitors = Visitors(arrivals_s)
        try:
            return _measured(regime, costs, tenants, visitors, show)
        finally:
            visitors.close()
            tenants.close()


def _measured(
    regime: Regime,
    costs: Costs,
    tenants: Tenants,
    visitors: Visitors,
    show: Callable[[Moment], None],
) -> Figures:
    start_at_s = start([*tenants.progress.values(), visitors.progress])
    timeline: list[Moment] = []
    asked: list[tuple[bytes, ...]] = []
    readings: dict[float, tuple[gauge.Meters, dict[str, Counters]]] = {}
    meters, seen, at_s = gauge.read_meters(), 0, 0.0
    while at_s < scene.PRELUDE_S + scene.COUNTED_S:
        at_s += _EVERY_S
        time.sleep(max(0.0, start_at_s + at_s - time.monotonic()))
        last, meters = meters, gauge.read_meters()
        readings[at_s] = meters, tenants.counters()
        ended = visitors.answers()
        timeline.append(gauge.moment(last, meters, ended[seen:], start_at_s))
        seen = len(ended)
        asked.append(regime.asked())
        show(timeline[-1])
    visitors.wait()
    before, done_before = readings[scene.PRELUDE_S]
    after, done_after = readings[at_s]
    answers = [a for a in visitors.answers() if a.arrival_s >= scene.PRELUDE_S]
    latencies_s = [answer.latency_s for answer in answers]
    work = work_done(costs, answers, done_before, done_after)
    reports = round(scene.COUNTED_S / scene.REPORT_EVERY_S)
    return Figures(
        regime=regime.name,
        p50_s=quantile(latencies_s, 0.5),
        p99_s=quantile(latencies_s, 0.99),
        requests=len(answers),
        answered=sum(latency_s < inf for latency_s in latencies_s),
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
