"""`tidegate backtest --since`: hold it, print what was found."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from agent.allocation import Mode
from agent.backtest.hindsight import HindsightError, OverrideError, Request, held, prepared
from agent.backtest.hindsight_report import hindsight_lines, hindsight_report
from agent.backtest.parallel import WorkerGoneError
from agent.backtest.progress import progress
from agent.backtest.waiting import ForecasterError
from agent.config import ConfigError
from agent.exits import fail
from agent.history import HistoryError
from agent.options import fault_lines, tenants_dir_of
from agent.output import print_value
from agent.tenant import Kind, Resource


def look_back(chosen: Mapping[str, Any], *, mode: str | None, as_json: bool, width: int) -> None:
    """Replay what this host recorded, and print it; `mode` is in place of the configured one."""
    with _faults_told():
        hindsight = prepared(_request(chosen, mode), now_s=datetime.now(UTC).timestamp())
    begun_s = time.monotonic()
    try:
        with progress(hindsight.steps, "replaying") as tell:
            replays = held(hindsight, tell)
    except (ForecasterError, WorkerGoneError) as error:
        fail([str(error), "--no-fits needs no forecaster, --jobs 1 the least memory"])
    report = hindsight_report(hindsight, replays, elapsed_s=time.monotonic() - begun_s)
    if as_json:
        print_value(report)
    else:
        click.echo("\n".join(hindsight_lines(report, width=width)))


def _request(chosen: Mapping[str, Any], mode: str | None) -> Request:
    return Request(
        config=chosen["config"],
        tenants_dir=tenants_dir_of(chosen["config"], chosen["tenants_dir"]),
        resource=Resource(Kind(chosen["resource"])),
        since_s=chosen["since_s"],
        overrides=chosen["overrides"],
        mode=None if mode is None else Mode(mode),
        are_fitted=not chosen["no_fits"],
        jobs=chosen["jobs"] or os.cpu_count() or 1,
    )


@contextmanager
def _faults_told() -> Iterator[None]:
    """End the command with a word where the files, or what was recorded, are at fault."""
    try:
        yield
    except (ConfigError, OverrideError) as error:
        fail(fault_lines(error.problems))
    except (HistoryError, HindsightError) as error:
        fail([str(error), error.hint])
