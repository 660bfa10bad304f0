"""Limits of disks on a real kernel: written, obeyed within 10 %, and put back as they were."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from blocks import (
    READ_DIRECT,
    SIZE,
    WRITE_BUFFERED,
    WRITE_DIRECT,
    counted,
    lab_disk,
    mounted,
    rate,
    stacked_on,
)
from measuring import comes_to
from tenants import MIB, living_in

from agent.demand import rate_demand, reached, waited
from agent.tenant import Kind, Resource
from agent.usage import measured, usage_between
from enforce.apply import Applier
from enforce.columns import Changes, DiskControl, DiskWeight, IoNumber, Outcomes, Result
from enforce.elsewhere import Elsewhere
from enforce.made import ensure
from enforce.originals import Originals
from enforce.places import Places
from enforce.sampler import Sampler

pytestmark = pytest.mark.kernel

NAMES = ("a", "b")


@pytest.fixture
def disk() -> Path:
    return lab_disk()


@pytest.fixture
def applier(cgroup_root: Path, tmp_path: Path) -> Iterator[Applier]:
    assert ensure(cgroup_root, NAMES) == {}
    originals = Originals(tmp_path / "originals.json")
    with closing(Applier(cgroup_root, NAMES, originals, memory_margin_bytes=0)) as applier:
        yield applier


def write(applier: Applier, disk: str, values: dict[IoNumber, float]) -> list[Outcomes]:
    """Limit the first tenant."""
    return [
        applier.apply(
            Changes(DiskControl(disk, number), np.array([0]), np.array([np.inf]), np.array([value]))
        )
        for number, value in values.items()
    ]


def line(cgroup: Path) -> str:
    """Return what the only line of io.max says, without the disk's number."""
    return (cgroup / "io.max").read_text().strip().partition(" ")[2]


def test_each_number_of_a_disk_is_kept_beside_the_others_and_put_back(
    applier: Applier, cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    tenant = cgroup_root / "a"
    number = Path(f"/sys/class/block/{disk.name}/dev").read_text().strip()
    found = f"{number} rbps=max wbps=7000000 riops=max wiops=max\n"
    (tenant / "io.max").write_text(found)
    (tenant / "child").mkdir()  # keeps it from being removed as empty
    outcomes = write(
        applier, disk.name, {"rbps": 5.5 * MIB, "wiops": 100.7, "riops": 1.0, "wbps": math.inf}
    )
    assert [int(one.result[0]) for one in outcomes] == [Result.APPLIED] * 4
    assert [float(one.kept[0]) for one in outcomes] == [5767168, 100, 16, math.inf]
    assert line(tenant) == "rbps=5767168 wbps=max riops=16 wiops=100"
    with closing(Sampler(cgroup_root, NAMES, disks=(disk.name,))) as sampler:
        limits = sampler.read(0.0).disk_limits
    assert limits.read_bytes.tolist() == [[5767168, math.inf]]
    assert limits.write_ops.tolist() == [[100, math.inf]]
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert (tenant / "io.max").read_text() == found


def test_what_another_writes_to_io_max_is_left_alone_until_it_is_seen(
    applier: Applier, cgroup_root: Path, disk: Path
) -> None:
    number = Path(f"/sys/class/block/{disk.name}/dev").read_text().strip()
    with closing(Sampler(cgroup_root, NAMES, disks=(disk.name,))) as sampler:
        applier.touched = sampler.touched
        sampler.read(0.0)
        # Both numbers are in one file: our own write of the one holds up none of the other.
        own = write(applier, disk.name, {"rbps": 2.0 * MIB, "wbps": 2.0 * MIB})
        applier.written_beside()
        sampler.read(1.0)
        (cgroup_root / "a" / "io.max").write_text(f"{number} wbps=7340032")
        (held,) = write(applier, disk.name, {"wbps": 3.0 * MIB})
        applier.written_beside()
        assert sampler.read(2.0).disk_limits.write_bytes[0, 0] == 7 * MIB
        (done,) = write(applier, disk.name, {"wbps": 3.0 * MIB})
    assert [int(one.result[0]) for one in own] == [Result.APPLIED] * 2
    assert [int(one.result[0]) for one in (held, done)] == [Result.HELD_BACK, Result.APPLIED]


def test_a_disk_that_is_not_there_is_refused_and_says_so(applier: Applier) -> None:
    (outcome,) = write(applier, "nowhere", {"rbps": MIB})
    assert outcome.result.tolist() == [Result.REFUSED]
    assert "no such disk" in outcome.why[0]


def test_disks_of_a_unit_are_asked_of_systemd_and_those_of_another_cgroup_are_written(
    cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    assert ensure(cgroup_root, ("acme.service", "pod")) == {}
    (cgroup_root / "pod" / "child").mkdir()  # keeps it from being removed as empty
    elsewhere = {name: Elsewhere(cgroup=name) for name in ("acme.service", "pod")}
    places = Places(cgroup_root / "own", list(elsewhere), elsewhere, mount=cgroup_root)
    originals = Originals(tmp_path / "originals.json")
    applier = Applier(places.root, list(elsewhere), originals, memory_margin_bytes=0, places=places)
    sampler = Sampler(places.root, list(elsewhere), disks=(disk.name,), places=places)
    with closing(applier), closing(sampler):
        before, after = np.full(2, np.inf), np.full(2, 8.0 * MIB)
        control = DiskControl(disk.name, "wbps")
        outcome = applier.apply(Changes(control, np.arange(2), before, after))
        weight = DiskWeight(disk.name)
        refused = applier.apply(Changes(weight, np.arange(1), before[:1], np.full(1, 200.0)))
        np.testing.assert_array_equal(sampler.read(0.0).limit(control), [np.inf, 8.0 * MIB])
    assert outcome.result.tolist() == [Result.PENDING, Result.APPLIED]
    assert "systemd is asked to set it for acme.service" in outcome.why[0]
    assert refused.result.tolist() == [Result.REFUSED]
    assert (cgroup_root / "acme.service" / "io.max").read_text() == ""
    originals.release(places.root)
    assert (cgroup_root / "pod" / "io.max").read_text() == ""


@pytest.mark.parametrize(
    ("program", "number", "key"),
    [(WRITE_DIRECT, "wbps", "wbytes"), (READ_DIRECT, "rbps", "rbytes")],
    ids=["write", "read"],
)
def test_what_bypasses_the_cache_is_held_within_10_percent(
    applier: Applier, cgroup_root: Path, disk: Path, program: str, number: IoNumber, key: str
) -> None:
    write(applier, disk.name, {number: 8.0 * MIB})
    with living_in(cgroup_root / "a", program, disk, SIZE):
        used = partial(rate, cgroup_root / "a", disk, key, over_s=2.5)
        assert comes_to(8 * MIB, used, within=0.1)


def test_operations_are_held_within_10_percent(
    applier: Applier, cgroup_root: Path, disk: Path
) -> None:
    write(applier, disk.name, {"wiops": 60.0})
    with living_in(cgroup_root / "a", WRITE_DIRECT, disk, SIZE):
        used = partial(rate, cgroup_root / "a", disk, "wios", over_s=2.5)
        assert comes_to(60, used, within=0.1)


def test_what_is_written_through_the_cache_is_held_within_10_percent_on_a_stacked_device(
    applier: Applier, cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    """Writeback is charged to who dirtied the pages, and to the device that is written to."""
    with (
        stacked_on(disk, "tide-data") as device,
        mounted(device, tmp_path / "data") as folder,
    ):
        (outcome,) = write(applier, "tide-data", {"wbps": 8.0 * MIB})
        assert outcome.result.tolist() == [Result.APPLIED]
        (cgroup_root / "a" / "memory.high").write_text(str(48 * MIB))  # dirty pages have an end
        with living_in(cgroup_root / "a", WRITE_BUFFERED, folder / "file", SIZE):
            written = partial(rate, cgroup_root / "a", device, "wbytes", over_s=4.0)
            assert comes_to(8 * MIB, written, within=0.1)


@pytest.mark.qemu
def test_a_disk_that_iocost_divides_goes_by_weight_and_gets_its_weights_back(
    applier: Applier, cgroup_root: Path, tmp_path: Path, disk: Path
) -> None:
    number = Path(f"/sys/class/block/{disk.name}/dev").read_text().strip()
    mount = Path("/sys/fs/cgroup")
    weight = DiskWeight(disk.name)
    changes = Changes(weight, np.arange(2), np.full(2, 100.0), np.array([600.0, 200.0]))
    with closing(Sampler(cgroup_root, NAMES, disks=(disk.name,), slow_every=99)) as sampler:
        assert np.isnan(sampler.read(0.0).limit(weight)).all()
        assert applier.apply(changes).result.tolist() == [Result.REFUSED] * 2
        model = "rbps=8388608 rseqiops=64 rrandiops=64 wbps=8388608 wseqiops=64 wrandiops=64"
        (mount / "io.cost.model").write_text(f"{number} ctrl=user model=linear {model}")
        (mount / "io.cost.qos").write_text(f"{number} enable=1 ctrl=user min=100 max=100")
        sample = sampler.read(1.0)
        assert sample.limit(weight).tolist() == [100, 100]
        assert sample.disks.anew == {disk.name}, "weights are the kernel's own"
        assert applier.apply(changes).result.tolist() == [Result.APPLIED] * 2
        assert sampler.read(2.0).limit(weight).tolist() == [600, 200]
        # What another writes is in the next sample, although it is not its turn.
        (cgroup_root / "b" / "io.weight").write_text(f"{number} 700")
        sample = sampler.read(3.0)
        assert sample.limit(weight).tolist() == [600, 700]
        assert sample.disks.anew == set()
        (cgroup_root / "b" / "io.weight").write_text(f"{number} 200")
    with (
        living_in(cgroup_root / "a", WRITE_DIRECT, disk, SIZE),
        living_in(cgroup_root / "b", WRITE_DIRECT, disk, SIZE),
    ):
        before = [counted(cgroup_root / name, disk, "wbytes") for name in NAMES]
        time.sleep(8.0)
        gained = [
            counted(cgroup_root / n, disk, "wbytes") - b for n, b in zip(NAMES, before, strict=True)
        ]
    assert gained[0] / gained[1] == pytest.approx(3.0, rel=0.2)
    for name in NAMES:
        (cgroup_root / name / "child").mkdir()  # keeps it from being removed as empty
    Originals(tmp_path / "originals.json").release(cgroup_root)
    assert [(cgroup_root / name / "io.weight").read_text() for name in NAMES] == [
        "default 100\n"
    ] * 2
    (mount / "io.cost.qos").write_text(f"{number} enable=0")


@pytest.mark.qemu
def test_who_waits_at_a_limit_is_known_to_wait_and_demands_more_within_a_tick(
    applier: Applier, cgroup_root: Path, disk: Path
) -> None:
    """A neighbour without a limit, as busy on the same disk, is not taken for held."""
    write(applier, disk.name, {"wbps": 1.0 * MIB})
    disks, resource = (disk.name,), Resource(Kind.DISK_WRITE, disk.name)
    with (
        closing(Sampler(cgroup_root, NAMES, disks=disks)) as sampler,
        living_in(cgroup_root / "a", WRITE_DIRECT, disk, SIZE),
        living_in(cgroup_root / "b", WRITE_DIRECT, disk, SIZE),
    ):
        samples = []
        for _ in range(3):
            time.sleep(1.0)
            samples.append(sampler.read(time.monotonic()))
    usage = usage_between(*samples[1:])
    used, limit = measured(resource, usage), samples[2].disk_limits.write_bytes[0]
    assert usage.io_stalled_fraction[0] > 0.5
    least, ceiling = reached(resource.kind, limit, elapsed_s=usage.elapsed_s), np.full(2, 1e9)
    demand = rate_demand(used, limit=least, ceiling=ceiling, fair=ceiling, capacity=1e12)
    demand = waited(demand, used, usage.io_stalled_fraction, limit=limit, ceiling=ceiling)
    assert demand.is_censored.tolist() == [True, False]
    assert demand.value[0] >= 1.8 * MIB
