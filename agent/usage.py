"""What tenants used between two samples, as rates.  Pure; unknowable is NaN, never 0."""

from dataclasses import dataclass, fields

import numpy as np

from agent.tenant import Bools, Floats, Ints, carried_over
from enforce.columns import HostSample, Limits

_US_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Usage:
    """Rates over `elapsed_s` seconds; every column has shape (tenants,)."""

    elapsed_s: float
    is_present: Bools  # the cgroup exists now
    cpu_cores: Floats
    cpu_throttled_cores: Floats  # sums over CPUs: two waiting threads count twice
    cpu_throttled_fraction: Floats  # of the enforcement periods; NaN without any
    memory_bytes: Floats
    memory_high_events: Floats  # count in the interval
    memory_unreclaimable_bytes: Floats


def usage_between(earlier: HostSample, later: HostSample) -> Usage:
    """Return rates between two samples of one roster.

    A recreated cgroup, a counter that went backwards and an interval without time give NaN
    for that tenant: a spike made of two cgroups' counters is worse than a gap.
    """
    elapsed_s = later.taken_at_s - earlier.taken_at_s
    same = (earlier.cgroup_id == later.cgroup_id) & (later.cgroup_id != 0)

    def gained(before: Floats, after: Floats) -> Floats:
        difference = after - before
        with np.errstate(invalid="ignore"):
            knowable = same & (difference >= 0) & (elapsed_s > 0)
        return np.where(knowable, difference, np.nan)

    periods = gained(earlier.cpu_periods, later.cpu_periods)
    throttled = gained(earlier.cpu_throttled_periods, later.cpu_throttled_periods)
    scale = 1.0 / (_US_PER_S * elapsed_s) if elapsed_s > 0 else np.nan
    return Usage(
        elapsed_s=elapsed_s,
        is_present=later.cgroup_id != 0,
        cpu_cores=gained(earlier.cpu_usage_us, later.cpu_usage_us) * scale,
        cpu_throttled_cores=gained(earlier.cpu_throttled_us, later.cpu_throttled_us) * scale,
        cpu_throttled_fraction=np.divide(
            throttled, periods, out=np.full_like(periods, np.nan), where=periods > 0
        ),
        memory_bytes=later.memory_current_bytes,
        memory_high_events=gained(earlier.memory_high_events, later.memory_high_events),
        memory_unreclaimable_bytes=later.memory_unreclaimable_bytes,
    )


def rearranged(sample: HostSample, positions: Ints) -> HostSample:
    """Return `sample` in the order of a new roster; a tenant that was not there is absent."""
    counters = {
        field.name: carried_over(getattr(sample, field.name), positions)
        for field in fields(HostSample)
        if field.name not in ("taken_at_s", "cgroup_id", "in_force")
    }
    limits = {
        field.name: carried_over(getattr(sample.in_force, field.name), positions)
        for field in fields(Limits)
    }
    cgroup_id = carried_over(sample.cgroup_id.astype(np.float64), positions, 0.0).astype(np.int64)
    return HostSample(
        taken_at_s=sample.taken_at_s, cgroup_id=cgroup_id, in_force=Limits(**limits), **counters
    )
