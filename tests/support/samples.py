"""Host samples and usage from a few numbers; what is not given is unknowable (NaN)."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from agent.usage import Usage
from enforce.columns import COUNTERS, DiskColumns, Floats, HostSample, Limits, NetColumns, Vitals

NAN, INF = float("nan"), float("inf")
MIB = float(1 << 20)


def column(*values: float) -> Floats:
    """Return a column of float64."""
    return np.array(values, dtype=np.float64)


def limits(size: int, **given: Sequence[float]) -> Limits:
    """Return limits in force, by the names of their columns."""
    unknown = [NAN] * size
    return Limits(**{f.name: column(*given.get(f.name, unknown)) for f in fields(Limits)})


def sample(
    taken_at_s: float,
    *,
    cgroup_id: Sequence[int] = (1,),
    in_force: Limits | None = None,
    disks: DiskColumns | None = None,
    **given: Sequence[float],
) -> HostSample:
    """Return a sample of as many tenants as there are cgroup ids."""
    size = len(cgroup_id)
    counters = {name: column(*given.get(name, [NAN] * size)) for name in COUNTERS}
    return HostSample(
        taken_at_s=taken_at_s,
        cgroup_id=np.array(cgroup_id, dtype=np.int64),
        in_force=in_force or limits(size),
        disks=disks or DiskColumns(),
        vitals=Vitals(),
        network=NetColumns(),
        anew=frozenset(),
        disk_limits=DiskColumns(),
        **counters,
    )


def usage(
    *,
    cores: Sequence[float],
    elapsed_s: float = 1.0,
    host_idle_fraction: float = NAN,
    **given: Sequence[float],
) -> Usage:
    """Return what tenants used, by the names of its columns; all of them are present."""
    size = len(cores)
    of_all = ("elapsed_s", "network_elapsed_s", "host_idle_fraction")
    apart = (*of_all, "is_present", "cpu_cores", "disks_per_s", "network")
    rates: dict[str, Any] = {
        f.name: column(*given.get(f.name, [NAN] * size))
        for f in fields(Usage)
        if f.name not in apart
    }
    return Usage(
        elapsed_s=elapsed_s,
        is_present=np.ones(size, dtype=np.bool_),
        cpu_cores=column(*cores),
        disks_per_s=DiskColumns(),
        network=NetColumns(),
        host_idle_fraction=host_idle_fraction,
        **rates,
    )
