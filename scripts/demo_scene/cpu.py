"""The CPU's scene from the rehearsal to the verdict: four tenants, four regimes."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from rich.console import Console

from scripts.demo_scene import cpu_show, scene, service, show
from scripts.demo_scene.perform import perform
from scripts.demo_scene.regimes import REGIMES, tenant_files
from scripts.demo_scene.rehearsal import costs as rehearse


def play(out: Console, names: Collection[str], seed: int) -> dict[str, Any]:
    """Play it under the regimes of these names, and return everything measured."""
    service.configure(tenant_files())
    costs = rehearse()
    arrivals = scene.arrivals_s(costs.request_core_s, seed=seed)
    cpu_show.bill(out, costs)
    played = []
    for regime in REGIMES:
        if regime.name in names:
            cpu_show.opening(out, regime)
            figures = perform(regime, costs, arrivals, lambda now: out.print(cpu_show.line(now)))
            played.append(figures)
            cpu_show.account(out, figures)
    show.closing(out, cpu_show.table(played), cpu_show.verdicts(played, costs))
    return {"costs": asdict(costs), "regimes": [asdict(figures) for figures in played]}
