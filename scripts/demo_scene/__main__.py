"""Play the scene under each regime and print what was measured; runs in the lab, as root."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from scripts.demo_scene import service, show, stage
from scripts.demo_scene.perform import perform
from scripts.demo_scene.record import Costs, Figures
from scripts.demo_scene.regimes import REGIMES
from scripts.demo_scene.rehearsal import costs as rehearse
from scripts.demo_scene.scene import arrivals_s

_NAMES = [regime.name for regime in REGIMES]


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Also write all figures."
)
@click.option("--regime", "names", type=click.Choice(_NAMES), multiple=True, default=_NAMES)
@click.option("--seed", default=1, show_default=True, help="Of the visitors' arrivals.")
def main(json_file: Path | None, names: tuple[str, ...], seed: int) -> None:
    """Show tidegate against its alternatives."""
    if "LAB_DISK" not in os.environ:
        raise click.ClickException("this sets up disks and cgroups: run it in the lab (make demo)")
    out = show.console()
    stage.set_up()
    service.configure()
    costs = rehearse()
    arrivals = arrivals_s(costs.request_core_s, seed=seed)
    show.bill(out, costs)
    played = []
    for regime in REGIMES:
        if regime.name in names:
            show.opening(out, regime)
            figures = perform(regime, costs, arrivals, lambda now: out.print(show.line(now)))
            played.append(figures)
            show.account(out, figures)
    show.closing(out, played, costs)
    if json_file is not None:
        json_file.write_text(_json(costs, played))


def _json(costs: Costs, played: list[Figures]) -> str:
    """Return everything measured; an endless wait and no limit are written as null."""
    document = {"costs": asdict(costs), "regimes": [asdict(figures) for figures in played]}
    text = json.dumps(document, default=json.loads)  # what a regime said of itself is JSON
    finite = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(finite, indent=2) + "\n"


main()
