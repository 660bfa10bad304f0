"""A host's files, and a history of what its tenants wanted as the agent would have recorded it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agent.history import HISTORY_NAME, SeriesNames
from agent.recorder import Recorder
from agent.steps import ClosedStep
from agent.tenant import Floats

STEP_S = 60.0
RESOURCES = ("cpu", "memory")
_NO_LIMIT = 1e18


def write_files(folder: Path, tenants: Mapping[str, str], *, host: str = "") -> Path:
    """Write the host's file and the tenants'; return the former's path.

    The host has one core and 1 GiB to divide, whatever the machine has that runs the tests.
    """
    (folder / "tenants.d").mkdir(exist_ok=True)
    path = folder / "tidegate.toml"
    path.write_text(
        f'[host]\nstate_dir = "{folder}"\ncpu_capacity_cores = 1.0\ncpu_reserve_cores = 0.1\n'
        f'memory_capacity_bytes = "1G"\nmemory_reserve_bytes = 0\n{host}'
    )
    for name, text in tenants.items():
        (folder / "tenants.d" / f"{name}.toml").write_text(text)
    return path


def record(
    folder: Path,
    demand: Mapping[str, Floats],
    *,
    ended_at_s: float,
    served_fraction: float = 1.0,
    limit: float = _NO_LIMIT,
) -> None:
    """Record cpu demand (steps,) of tenants, whose last step ends then; memory is as many GiB.

    Steps of which nothing is known of anybody are left out, as if no agent had run.
    """
    names = SeriesNames(tuple(sorted(demand)), RESOURCES)
    columns = np.stack([demand[name] for name in names.tenants], axis=1)
    recorder = Recorder(folder / HISTORY_NAME, most_waiting=len(columns))
    for number, row in enumerate(columns):
        if np.isnan(row).all():
            continue
        both = np.concatenate((row, row * 2.0**30))
        step = ClosedStep(both, both, served_fraction * both, np.full(len(both), limit))
        recorder.add(
            step,
            names,
            machine=np.full(len(both), _NO_LIMIT),
            ended_at_s=ended_at_s - STEP_S * (len(columns) - 1 - number),
            step_s=STEP_S,
        )
    recorder.close()
    assert recorder.problem is None
