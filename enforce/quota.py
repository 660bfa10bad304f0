"""Writes cpu.max past a burst that stands in its way (safety rule 2): the kernel refuses that pair.

Asking for the burst before each write would double what a write costs; hardly anybody sets one.
"""

import math
from collections.abc import Callable
from pathlib import Path

from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Control
from enforce.limits import PERIOD_US

BURST = "cpu.max.burst"


class Quotas:
    """Writes quotas; a burst that one had to lower comes back as quotas leave room for it.

    `record_burst` puts a cgroup's cpu.max.burst on disk before it is lowered.
    """

    def __init__(self, record_burst: Callable[[TenantCgroup], None]) -> None:
        self._record_burst = record_burst
        # Of each cgroup: the burst that was there, and what was made of it here.
        self._lowered: dict[Path, tuple[int, int]] = {}

    def put(self, cgroup: TenantCgroup, cores: float) -> float:
        """Write cpu.max and return what is kept; a burst above it is recorded and lowered first.

        Raises:
            CgroupGoneError: The cgroup vanished.
            LimitRejectedError: It is refused for another reason, or the burst cannot be lowered.

        """
        try:
            kept = cgroup.set_limit(Control.CPU_MAX, cores)
        except LimitRejectedError:
            if not _has_more_burst(cgroup, cores):
                raise
        else:
            if self._lowered and cgroup.path in self._lowered:
                self._give_back(cgroup, cores)
            return kept
        self._record_burst(cgroup)
        before_us, least_us = cgroup.cpu_max_burst_us, round(cores * PERIOD_US)
        cgroup.cpu_max_burst_us = least_us
        was_us, _ = self._lowered.get(cgroup.path, (before_us, 0))
        self._lowered[cgroup.path] = max(was_us, before_us), least_us
        return cgroup.set_limit(Control.CPU_MAX, cores)

    def _give_back(self, cgroup: TenantCgroup, cores: float) -> None:
        """Raise a burst again up to the quota, unless it is no longer what was made of it here."""
        was_us, made_us = self._lowered.pop(cgroup.path)
        if cgroup.cpu_max_burst_us != made_us:
            return
        now_us = was_us if math.isinf(cores) else min(was_us, round(cores * PERIOD_US))
        if now_us > made_us:
            cgroup.cpu_max_burst_us = now_us
        if now_us < was_us:
            self._lowered[cgroup.path] = was_us, now_us


def _has_more_burst(cgroup: TenantCgroup, cores: float) -> bool:
    """Say whether someone set a burst above the quota to come."""
    if not (math.isfinite(cores) and cgroup.has(BURST)):
        return False
    return cgroup.cpu_max_burst_us > round(cores * PERIOD_US)
