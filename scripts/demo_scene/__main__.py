"""Play each scene under its regimes and print what was measured; runs in the lab, as root."""

import json
import os
from pathlib import Path
from typing import Any

import click

from scripts.demo_scene import cpu, disk, network, rate_play, regimes, show, stage

_NAMES = [regime.name for regime in regimes.REGIMES]
_SCENES = ("cpu", "network", "disk")


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Also write all figures."
)
@click.option("--scene", "scenes", type=click.Choice(_SCENES), multiple=True, default=_SCENES)
@click.option("--regime", "names", type=click.Choice(_NAMES), multiple=True, default=_NAMES)
@click.option("--seed", default=1, show_default=True, help="Of the moments of requests.")
def main(
    json_file: Path | None, scenes: tuple[str, ...], names: tuple[str, ...], seed: int
) -> None:
    """Show tidegate against its alternatives."""
    if "LAB_DISK" not in os.environ:
        raise click.ClickException("this sets up disks and cgroups: run it in the lab (make demo)")
    out = show.console()
    acts = [network.ACT, disk.act(stage.set_up())]
    measured: dict[str, Any] = {}
    if "cpu" in scenes:
        measured["cpu"] = cpu.play(out, names, seed)
    if asked := [act for act in acts if act.name in scenes]:
        measured |= rate_play.play(out, asked, names, seed)
    if json_file is not None:
        json_file.write_text(_json(measured))


def _json(measured: dict[str, Any]) -> str:
    """Return everything measured; an endless wait and no limit are written as null."""
    text = json.dumps(measured, default=json.loads)  # what a regime said of itself is JSON
    finite = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(finite, indent=2) + "\n"


main()
