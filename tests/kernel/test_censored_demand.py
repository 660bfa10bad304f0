"""What a tenant that is held at its limit would use, estimated from what the kernel counts."""

import time
from pathlib import Path

import numpy as np
import pytest
from tenants import SPIN_TWICE, cpu_used_s, living_in, wait_until

from agent.demand import cpu_demand
from agent.usage import Usage, usage_between
from enforce.columns import HostSample
from enforce.made import ensure
from enforce.sampler import Sampler


@pytest.mark.qemu
def test_two_spinners_held_to_one_core_demand_two(cgroup_root: Path) -> None:
    assert ensure(cgroup_root, ["a"]) == {}
    tenant = cgroup_root / "a"
    (tenant / "cpu.max").write_text("100000 100000")
    sampler = Sampler(cgroup_root, ["a"])
    with living_in(tenant, SPIN_TWICE):
        wait_until(lambda: cpu_used_s(tenant) > 2.0, limit_s=60.0)  # both have started
        earlier = later = sampler.read(time.monotonic())
        # A host that takes the guest's CPU away meanwhile leaves a debt, which is paid over time.
        for _ in range(4):
            time.sleep(6.0)
            later = sampler.read(time.monotonic())
            if usage_between(earlier, later).cpu_cores[0] == pytest.approx(1.0, rel=0.05):
                break
    sampler.close()
    usage = usage_between(earlier, later)
    demand = cpu_demand(usage, ceiling=np.array([4.0]), fair=np.array([2.0]), capacity=100.0)
    assert usage.cpu_cores[0] == pytest.approx(1.0, rel=0.05)
    assert demand.is_censored[0]
    # On a busy host a spinner also waits its turn unthrottled: 1.88 to 1.98 was measured.
    assert demand.value[0] == pytest.approx(2.0, abs=0.25)


@pytest.mark.qemu
def test_two_spinners_that_wait_behind_others_demand_more_within_two_ticks_and_then_no_more(
    cgroup_root: Path,
) -> None:
    """Nothing throttles them, and tenants use half of what there is: the others are none."""
    assert ensure(cgroup_root, ["a", "others"]) == {}
    sampler = Sampler(cgroup_root, ["a"])
    usages: list[Usage] = []

    def tick() -> HostSample:
        time.sleep(1.5)
        return sampler.read(time.monotonic())

    def used(cores: float, within: float) -> Usage:
        """Return what is used between two ticks, at best two in which nobody else was busy."""
        earlier, later = tick(), tick()
        for _ in range(3):
            if usage_between(earlier, later).cpu_cores[0] == pytest.approx(cores, abs=within):
                break
            earlier, later = later, tick()
        return usage_between(earlier, later)

    with living_in(cgroup_root / "a", SPIN_TWICE):
        with living_in(cgroup_root / "others", SPIN_TWICE):
            before = cpu_used_s(cgroup_root / "others")
            wait_until(lambda: cpu_used_s(cgroup_root / "others") > before + 1.0, limit_s=60.0)
            sampler.read(time.monotonic())
            usages += [used(1.0, 0.15)]
        tick()
        usages += [used(2.0, 0.1)]
    sampler.close()
    held, free = (
        cpu_demand(one, ceiling=np.array([4.0]), fair=np.array([2.0]), capacity=100.0)
        for one in usages
    )
    assert usages[0].cpu_throttled_cores[0] == 0
    assert usages[0].cpu_cores[0] == pytest.approx(1.0, abs=0.15)
    # Two, unless the scheduler keeps them on one CPU: none waits alone there.
    assert 1.15 <= held.value[0] <= 2.5
    assert (held.is_censored[0], free.is_censored[0]) == (True, False)
    assert free.value[0] == pytest.approx(2.0, abs=0.1)
