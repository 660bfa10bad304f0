"""What a tenant that is held at its limit would use, estimated from what the kernel counts."""

import time
from pathlib import Path

import numpy as np
import pytest
from tenants import SPIN_TWICE, cpu_used_s, living_in, wait_until

from agent.demand import cpu_demand
from agent.usage import usage_between
from enforce.cgroup import ensure
from enforce.sampler import Sampler


@pytest.mark.qemu
def test_two_spinners_held_to_one_core_demand_two(cgroup_root: Path) -> None:
    assert ensure(cgroup_root, ["a"]) == {}
    tenant = cgroup_root / "a"
    (tenant / "cpu.max").write_text("100000 100000")
    sampler = Sampler(cgroup_root, ["a"])
    with living_in(tenant, SPIN_TWICE):
        wait_until(lambda: cpu_used_s(tenant) > 2.0, limit_s=60.0)  # both have started
        earlier = sampler.read(time.monotonic())
        time.sleep(6.0)
        later = sampler.read(time.monotonic())
    sampler.close()
    usage = usage_between(earlier, later)
    demand = cpu_demand(usage, ceiling=np.array([4.0]), fair=np.array([2.0]), capacity=100.0)
    assert usage.cpu_cores[0] == pytest.approx(1.0, rel=0.05)
    assert demand.is_censored[0]
    # On a busy host a spinner also waits its turn unthrottled: 1.88 to 1.98 was measured.
    assert demand.value[0] == pytest.approx(2.0, abs=0.25)
