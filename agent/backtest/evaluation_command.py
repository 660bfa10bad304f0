"""`tidegate backtest --forecast`: hold it, print what was found."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agent.backtest.evaluation import Request, held, prepared, shortness
from agent.backtest.evaluation_report import report_lines
from agent.backtest.faults import TraceError
from agent.backtest.parallel import WorkerGoneError
from agent.backtest.progress import progress
from agent.backtest.protocol import ProtocolError
from agent.backtest.waiting import ForecasterError
from agent.exits import fail
from agent.output import print_value
from agent.quoting import meant
from agent.tenant import Kind, Resource
from forecast.panel import PANEL


def evaluate(trace: Path, chosen: Mapping[str, Any], *, as_json: bool, width: int) -> None:
    """Judge forecasts on a trace, and print how good they were."""
    try:
        evaluation = prepared(_request(trace, chosen))
    except TraceError as error:
        fail([str(error), error.hint])
    except ProtocolError as error:
        fail([str(error), "see `tidegate trace show FILE` and --tenants"])
    if said := shortness(evaluation):
        click.echo(f"Warning: {said}", err=True)
    try:
        with progress(evaluation.steps, "forecasting") as tell:
            report = held(evaluation, tell)
    except (ForecasterError, WorkerGoneError) as error:
        fail([str(error), "--jobs 1 needs the least memory"])
    if as_json:
        print_value(report)
    else:
        click.echo("\n".join(report_lines(report, width=width)))


def _request(trace: Path, chosen: Mapping[str, Any]) -> Request:
    wanted = tuple(dict.fromkeys(chosen["experts"]))
    if unknown := [name for name in wanted if name not in PANEL]:
        known, hint = ", ".join(PANEL), meant(unknown[0], PANEL)
        hint = f" ({hint})" if hint else ""
        raise click.UsageError(f"--expert: expected {known}; got {', '.join(unknown)}{hint}")
    return Request(
        path=trace,
        resource=Resource(Kind(chosen["resource"])),
        tenants=chosen["tenants"],
        seed=chosen["seed"],
        experts=wanted or tuple(PANEL),
        autoets_tenants=chosen["autoets_tenants"],
        scored_fraction=chosen["scored_pct"] / 100,
        jobs=chosen["jobs"] or os.cpu_count() or 1,
    )
