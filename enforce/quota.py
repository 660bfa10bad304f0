"""Writes cpu.max past a burst that stands in its way (safety rule 2): the kernel refuses that pair.

Asking for the burst before each write would double what a write costs; hardly anybody sets one.
"""

import math
from collections.abc import Callable

from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Control
from enforce.limits import PERIOD_US

BURST = "cpu.max.burst"


def set_quota(
    cgroup: TenantCgroup, cores: float, record_burst: Callable[[TenantCgroup], None]
) -> float:
    """Write cpu.max and return what is kept; a burst above it is recorded and lowered first.

    Raises:
        CgroupGoneError: The cgroup vanished.
        LimitRejectedError: It is refused for another reason, or the burst cannot be lowered.

    """
    try:
        return cgroup.set_limit(Control.CPU_MAX, cores)
    except LimitRejectedError:
        if not _has_more_burst(cgroup, cores):
            raise
    record_burst(cgroup)
    cgroup.cpu_max_burst_us = round(cores * PERIOD_US)
    return cgroup.set_limit(Control.CPU_MAX, cores)


def _has_more_burst(cgroup: TenantCgroup, cores: float) -> bool:
    """Say whether someone set a burst above the quota to come."""
    if not (math.isfinite(cores) and cgroup.has(BURST)):
        return False
    return cgroup.cpu_max_burst_us > round(cores * PERIOD_US)
