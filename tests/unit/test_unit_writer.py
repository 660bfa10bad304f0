"""What systemd is asked to set of a unit, when, and what is left alone: over a bus of its own."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from system_bus import UNSET, Systemd, make_unit, system_bus
from tenants import wait_until

from enforce.bus import Bus
from enforce.cgroup import LimitRejectedError, TenantCgroup
from enforce.columns import Control, Result
from enforce.originals import Original, Originals
from enforce.units import UnitWriter
from enforce.value_writer import ValueWriter

MIB = 1 << 20
UNIT = "acme.service"
WAIT_S = 10.0


@pytest.fixture(autouse=True)
def _lasting_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is offered once outlast a busy machine: no tick here repeats it."""
    monkeypatch.setattr("enforce.units._LIFETIME_S", 60.0)
    monkeypatch.setattr("enforce.lowering.LIFETIME_S", 60.0)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with system_bus(tmp_path, monkeypatch) as systemd:
        yield systemd


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[TenantCgroup]:
    with TenantCgroup(make_unit(tmp_path, UNIT)) as cgroup:
        yield cgroup


@pytest.fixture
def writer() -> Iterator[UnitWriter]:
    with closing(Bus(between_calls_s=0.0)) as bus, closing(UnitWriter(bus)) as writer:
        yield writer


@pytest.fixture
def values() -> Iterator[ValueWriter]:
    writer = ValueWriter(memory_margin_bytes=MIB, record_burst=lambda _: None)
    with closing(writer):
        yield writer


def busy(systemd: Systemd, writer: UnitWriter, folder: Path) -> None:
    """Have systemd take its time over another unit."""
    systemd.may_answer.clear()
    with TenantCgroup(make_unit(folder, "other.service")) as other:
        writer.offer(other, Control.MEMORY_LOW, 8.0 * MIB, found=0.0)
    assert systemd.asked.get(timeout=WAIT_S) == "other.service"


def seen(read: Callable[[], float]) -> float:
    """Read a file that stands for the kernel's: here a writer empties it for a moment first."""
    found: list[float] = []

    def is_whole() -> bool:
        with suppress(LimitRejectedError, ValueError):
            found.append(read())
        return bool(found)

    wait_until(is_whole)
    return found[-1]


def asked_of_acme(systemd: Systemd) -> list[dict[str, int]]:
    return [values for unit, values in systemd.calls if unit == UNIT]


def test_what_somebody_else_set_since_an_offer_was_made_is_left_alone(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup, tmp_path: Path
) -> None:
    busy(systemd, writer, tmp_path)
    writer.offer(cgroup, Control.CPU_MAX, 0.5, found=math.inf)
    writer.offer(cgroup, Control.MEMORY_LOW, 4.0 * MIB, found=0.0)
    (cgroup.path / "cpu.max").write_text("23000 100000")
    systemd.may_answer.set()
    wait_until(lambda: len(systemd.calls) == 2)
    assert asked_of_acme(systemd) == [{"MemoryLow": 4 * MIB}]
    assert (cgroup.path / "cpu.max").read_text() == "23000 100000"
    assert Control.CPU_MAX not in writer.written()


def test_a_value_that_is_asked_for_while_the_last_one_is_on_its_way_follows_it(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup
) -> None:
    systemd.may_answer.clear()
    writer.offer(cgroup, Control.MEMORY_LOW, 4.0 * MIB, found=0.0)
    assert systemd.asked.get(timeout=WAIT_S) == UNIT
    writer.offer(cgroup, Control.MEMORY_LOW, 8.0 * MIB, found=0.0)
    systemd.may_answer.set()
    wait_until(lambda: cgroup.memory_low == 8 * MIB)


def test_an_offer_that_is_not_repeated_is_stale_whatever_is_offered_beside_it(
    systemd: Systemd,
    writer: UnitWriter,
    cgroup: TenantCgroup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enforce.units._LIFETIME_S", 0.3)
    busy(systemd, writer, tmp_path)
    writer.offer(cgroup, Control.CPU_MAX, 0.5, found=math.inf)
    is_stale_s = time.monotonic() + 0.5

    def is_answered() -> bool:
        writer.offer(cgroup, Control.MEMORY_LOW, 4.0 * MIB, found=0.0)
        if time.monotonic() > is_stale_s:
            systemd.may_answer.set()
        return len(systemd.calls) == 2

    wait_until(is_answered)
    assert asked_of_acme(systemd) == [{"MemoryLow": 4 * MIB}]


def why_not(writer: UnitWriter, cgroup: TenantCgroup) -> str:
    """Offer a quota, and return why it is not taken; nothing where it is."""
    try:
        writer.offer(cgroup, Control.CPU_MAX, 0.5, found=math.inf)
    except LimitRejectedError as error:
        return str(error)
    return ""


def test_one_value_that_is_refused_keeps_no_other_of_the_unit_waiting(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup, tmp_path: Path
) -> None:
    def refuse(values: dict[str, int]) -> None:
        if "CPUQuotaPerSecUSec" in values:
            raise ValueError("no such quota")

    systemd.before = refuse
    busy(systemd, writer, tmp_path)
    writer.offer(cgroup, Control.CPU_MAX, 0.5, found=math.inf)
    writer.offer(cgroup, Control.MEMORY_LOW, 4.0 * MIB, found=0.0)
    systemd.may_answer.set()
    wait_until(lambda: cgroup.memory_low == 4 * MIB)

    wait_until(lambda: "no such quota" in why_not(writer, cgroup))
    writer.offer(cgroup, Control.MEMORY_LOW, 8.0 * MIB, found=4.0 * MIB)
    wait_until(lambda: cgroup.memory_low == 8 * MIB)


@pytest.mark.parametrize("is_there", [True, False])
def test_what_the_kernel_has_otherwise_is_told_of_that_file_alone(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup, tmp_path: Path, is_there: bool
) -> None:
    systemd.untouched = {"CPUQuotaPerSecUSec"}
    busy(systemd, writer, tmp_path)
    writer.offer(cgroup, Control.CPU_MAX, 0.5, found=math.inf if is_there else None)
    writer.offer(cgroup, Control.MEMORY_LOW, 4.0 * MIB, found=0.0)
    if not is_there:
        (cgroup.path / "cpu.max").unlink()
    systemd.may_answer.set()
    wait_until(lambda: cgroup.memory_low == 4 * MIB)

    wait_until(lambda: "systemd took CPUQuotaPerSecUSec, but cpu.max" in why_not(writer, cgroup))
    writer.offer(cgroup, Control.MEMORY_LOW, 8.0 * MIB, found=4.0 * MIB)
    wait_until(lambda: cgroup.memory_low == 8 * MIB)


def test_a_file_that_does_not_come_is_asked_for_ever_less_often(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice may keep its units from a controller: each tick asks for the file, and PID 1 pays."""
    calm_s = 0.05
    monkeypatch.setattr("enforce.units._CALM_S", calm_s)
    systemd.untouched.add("CPUQuotaPerSecUSec")
    file = cgroup.path / "cpu.max"
    text = file.read_text()
    file.unlink()
    began_s = time.monotonic()

    def is_asked(times: int) -> bool:
        with suppress(LimitRejectedError):
            writer.offer(cgroup, Control.CPU_MAX, math.inf, found=None)
        return len(asked_of_acme(systemd)) >= times

    wait_until(lambda: is_asked(6))
    # What is offered during a call is asked for after it: every second wait may be left out.
    assert time.monotonic() - began_s >= calm_s * (2 + 8)
    # Once it is there a value waits no longer than after any call that failed.
    monkeypatch.setattr("enforce.units._CALM_S", 1.0)
    wait_until(lambda: is_asked(7))
    file.write_text(text)
    systemd.untouched.clear()
    wait_until(lambda: not why_not(writer, cgroup))  # rather than for 2 ** 6 s
    wait_until(lambda: cgroup.cpu_max == 0.5)


def test_a_value_that_is_in_force_already_takes_back_what_was_offered_before(
    systemd: Systemd, values: ValueWriter, cgroup: TenantCgroup
) -> None:
    systemd.may_answer.clear()
    low = Control.MEMORY_LOW
    assert values.write(cgroup, low, str(low), 4.0 * MIB).result == Result.PENDING
    assert systemd.asked.get(timeout=WAIT_S) == UNIT
    assert values.write(cgroup, low, str(low), 8.0 * MIB).result == Result.PENDING
    assert values.write(cgroup, low, str(low), 0.0).result == Result.APPLIED
    systemd.may_answer.set()
    high = Control.MEMORY_HIGH
    assert values.write(cgroup, high, str(high), 64.0 * MIB).result == Result.APPLIED
    wait_until(lambda: len(systemd.calls) == 2)
    assert systemd.calls[1] == (UNIT, {"MemoryHigh": 64 * MIB})


@pytest.mark.parametrize("usage_mib", [10, 100])
def test_memory_high_is_written_here_and_systemd_asked_for_what_costs_it_no_reclaim(
    systemd: Systemd, values: ValueWriter, cgroup: TenantCgroup, usage_mib: int
) -> None:
    """As if by a kernel that reclaims all that it is told to: what is in use is what it may be."""
    current, high = cgroup.path / "memory.current", cgroup.path / "memory.high"
    high.write_text(str(200 * MIB))
    current.write_text(str(usage_mib * MIB))
    if usage_mib > 40:
        high.write_text(str(usage_mib * MIB))
        current.unlink()
        current.symlink_to(high)
    excess_bytes: list[float] = []

    def look(asked: dict[str, int]) -> None:
        excess_bytes.append(seen(lambda: cgroup.memory_current) - asked["MemoryHigh"])

    def is_told() -> bool:  # as by ticks: systemd may put an earlier step over a later one
        values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 40.0 * MIB)
        return (UNIT, {"MemoryHigh": 40 * MIB}) in systemd.calls

    systemd.before = look
    wait_until(is_told)
    assert max(excess_bytes) <= MIB
    wait_until(lambda: is_told() and seen(lambda: cgroup.memory_high) == 40 * MIB)


def test_systemd_is_not_asked_for_a_limit_that_more_is_in_use_than(
    systemd: Systemd, values: ValueWriter, cgroup: TenantCgroup, tmp_path: Path
) -> None:
    current = cgroup.path / "memory.current"
    systemd.may_answer.clear()
    with TenantCgroup(make_unit(tmp_path, "other.service")) as other:
        values.write(other, Control.MEMORY_LOW, "memory.low", 8.0 * MIB)
    assert systemd.asked.get(timeout=WAIT_S) == "other.service"
    values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 40.0 * MIB)
    current.write_text(str(60 * MIB))  # grown since
    systemd.may_answer.set()
    wait_until(lambda: len(systemd.calls) == 1)
    threading.Event().wait(0.3)
    assert asked_of_acme(systemd) == []
    current.write_text(str(30 * MIB))
    wait_until(lambda: asked_of_acme(systemd) == [{"MemoryHigh": 40 * MIB}])


def test_what_systemd_writes_late_over_a_raise_is_raised_again(
    systemd: Systemd, values: ValueWriter, cgroup: TenantCgroup
) -> None:
    systemd.may_answer.clear()
    values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 40.0 * MIB)
    assert systemd.asked.get(timeout=WAIT_S) == UNIT
    values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 80.0 * MIB)
    assert cgroup.memory_high == 80 * MIB, "a raise waits for nobody"
    systemd.may_answer.set()
    wait_until(lambda: len(systemd.calls) == 2)
    assert systemd.calls[1] == (UNIT, {"MemoryHigh": 80 * MIB})
    wait_until(lambda: cgroup.memory_high == 80 * MIB)


def test_what_systemd_writes_of_memory_high_before_it_is_told_is_nobody_elses_change(
    systemd: Systemd, values: ValueWriter, cgroup: TenantCgroup
) -> None:
    """Asked for anything it may write all that it knows of the unit, and it knows no limit yet."""
    path = cgroup.path

    def asked_before_it_is_told(cgroup: TenantCgroup) -> None:
        systemd.may_answer.clear()
        values.write(cgroup, Control.CPU_MAX, "cpu.max", 0.5)
        assert systemd.asked.get(timeout=WAIT_S) == UNIT
        values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 40.0 * MIB)
        values.written_beside()
        systemd.before = lambda asked: (
            None if "MemoryHigh" in asked else setattr(cgroup, "memory_high", math.inf)
        )
        systemd.may_answer.set()
        wait_until(lambda: cgroup.cpu_max == 0.5)
        assert cgroup.memory_high == math.inf
        assert math.inf in values.written_beside()[Control.MEMORY_HIGH][path]

    asked_before_it_is_told(cgroup)
    values.write(cgroup, Control.MEMORY_HIGH, "memory.high", 40.0 * MIB)
    wait_until(lambda: (UNIT, {"MemoryHigh": 40 * MIB}) in systemd.calls)
    for cores in (0.4, 0.3):
        values.written_beside()  # with the second one all is noted that the call before took
        values.write(cgroup, Control.CPU_MAX, "cpu.max", cores)
        wait_until(lambda at=cores: cgroup.cpu_max == at)  # type: ignore[misc]
    assert math.inf not in values.written_beside()[Control.MEMORY_HIGH][path]
    path.rename(path.with_name("stopped"))
    while not systemd.asked.empty():
        systemd.asked.get()
    with TenantCgroup(make_unit(path.parent, UNIT)) as again:
        asked_before_it_is_told(again)


def test_a_release_asks_once_for_all_files_and_takes_its_weight_back(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup, tmp_path: Path
) -> None:
    path = cgroup.path
    originals = Originals(tmp_path / "originals.json")
    found = {"cpu.max": "max 100000", "memory.high": "max", "memory.low": "0"}
    originals.record(Original(str(path), 0, file, text) for file, text in found.items())
    writer.put(cgroup, {Control.CPU_MAX: 0.5, Control.MEMORY_LOW: 4.0 * MIB})
    cgroup.memory_high = 64 * MIB
    systemd.calls.clear()
    released = originals.release(tmp_path / "root")
    assert {one.result for one in released} == {Result.APPLIED}
    assert {file: (path / file).read_text() for file in found} == found
    quota = {"CPUQuotaPerSecUSec": UNSET, "MemoryHigh": UNSET, "MemoryLow": 0, "CPUWeight": 100}
    assert systemd.calls == [(UNIT, quota), (UNIT, {"CPUWeight": UNSET})]
    assert originals.is_empty


def test_a_release_ends_though_a_disk_of_the_unit_is_gone(
    systemd: Systemd, cgroup: TenantCgroup, tmp_path: Path
) -> None:
    originals = Originals(tmp_path / "originals.json")
    found = {"io.max 259:999": "wbps=4096", "memory.low": "8388608"}
    originals.record(Original(str(cgroup.path), 0, file, text) for file, text in found.items())
    released = originals.release(tmp_path / "root")
    assert {one.file: one.result for one in released} == {
        "io.max 259:999": Result.GONE,
        "memory.low": Result.APPLIED,
    }
    assert systemd.calls == [(UNIT, {"MemoryLow": 8 * MIB})]
    assert originals.is_empty


def test_a_weight_that_somebody_chose_stays(
    systemd: Systemd, writer: UnitWriter, cgroup: TenantCgroup
) -> None:
    cgroup.cpu_weight = 300
    writer.put(cgroup, {Control.CPU_MAX: 0.5})
    writer.give_back_weight(cgroup)
    assert [values.get("CPUWeight") for _, values in systemd.calls] == [300]
