"""What is asked of systemd for our own units, and what is said where it does not do it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from system_bus import Systemd, make_unit, system_bus
from tenants import wait_until

from enforce import systemd
from enforce.bus import Bus
from enforce.systemd import UnitProtection, give_back
from enforce.units import UnitWriter

MIB = 1 << 20


@pytest.fixture
def slice_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a slice of ours, as on a host with systemd, which cannot be asked."""
    monkeypatch.setattr(systemd, "_SYSTEMD", tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    return make_unit(tmp_path, "tidegate.slice", **{"memory.low": str(64 * MIB)})


@pytest.fixture
def bus(slice_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with system_bus(slice_path.parent, monkeypatch) as bus:
        yield bus


@pytest.fixture
def protection(slice_path: Path) -> Iterator[UnitProtection]:
    with closing(Bus(between_calls_s=0.0)) as bus, closing(UnitWriter(bus)) as writer:
        yield UnitProtection(slice_path, writer)


def files(slice_path: Path) -> tuple[int, int]:
    """Return the weight, and memory.low in MiB."""
    texts = [(slice_path / name).read_text() for name in ("cpu.weight", "memory.low")]
    return int(texts[0]), round(int(texts[1]) / MIB)


@pytest.mark.usefixtures("bus")
def test_our_slice_is_given_what_tenants_need_and_a_weight_while_limits_are_set(
    slice_path: Path, protection: UnitProtection
) -> None:
    def is_done() -> bool:
        assert protection.settle(200 * MIB, is_enforcing=True) is None
        return files(slice_path) == (1000, 205)

    wait_until(is_done)
    released = [(one.file, one.text, one.why) for one in give_back(slice_path)]
    assert released == [("memory.low", "0", None), ("cpu.weight", "100", None)]
    assert files(slice_path) == (100, 0)


def test_what_is_refused_is_told_until_it_is_done_and_keeps_nothing_else_from_being_set(
    bus: Systemd, slice_path: Path, protection: UnitProtection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enforce.units._CALM_S", 0.1)
    is_willing = False

    def refuse(asked: dict[str, int]) -> None:
        if "MemoryLow" in asked and not is_willing:
            raise ValueError("not now")

    def problem() -> str:
        return protection.settle(200 * MIB, is_enforcing=True) or ""

    bus.before = refuse
    wait_until(lambda: "tidegate.slice: systemd refused: not now" in problem())
    wait_until(lambda: files(slice_path) == (1000, 64) and "not now" in problem())
    assert all("not now" in problem() for _ in range(100)), "also between two tries"
    is_willing = True
    wait_until(lambda: not problem())
    assert files(slice_path) == (1000, 205)


def test_where_systemd_cannot_be_asked_that_is_a_problem_and_no_error(
    slice_path: Path, protection: UnitProtection
) -> None:
    def problem() -> str:
        return protection.settle(200 * MIB, is_enforcing=False) or ""

    wait_until(lambda: "tidegate.slice: systemd cannot be asked" in problem())
    (kept,) = give_back(slice_path)
    assert (kept.unit, kept.file) == ("tidegate.slice", "memory.low")
    assert "systemd cannot be asked" in (kept.why or "")
