"""memory.low of our units, set by systemd itself, follows what tenants need."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enforce.capability import probe
from enforce.systemd import UnitProtection, own_units, unprotect

pytestmark = pytest.mark.e2e
SLICE = Path("/sys/fs/cgroup/tidegate.slice")
TENANTS = SLICE / "tidegate-tenants.service"
MIB = 1 << 20
PATIENCE_S = 20.0


@pytest.fixture
def protection(installed: Path) -> Iterator[UnitProtection]:
    assert installed.is_dir()
    subprocess.run(["systemctl", "start", TENANTS.name], check=True)
    protection = UnitProtection(TENANTS)
    yield protection
    protection.close()


def low_mib(path: Path) -> float:
    text = (path / "memory.low").read_text().strip()
    return float("inf") if text == "max" else int(text) / MIB


def settled(protection: UnitProtection, needed_bytes: float, is_done: Callable[[], bool]) -> None:
    """Tick until `is_done`."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < deadline_s
        protection.settle(needed_bytes)
        time.sleep(0.01)


def test_only_our_units_above_the_tenants_are_ours_to_set(installed: Path) -> None:
    assert installed.is_dir()
    assert own_units(TENANTS) == [SLICE, TENANTS]
    assert own_units(Path("/sys/fs/cgroup/system.slice/tidegate-x.service/tenants")) == [
        Path("/sys/fs/cgroup/system.slice/tidegate-x.service")
    ]


@pytest.mark.parametrize("needed_mib", [100, 300, 20])
def test_slice_and_unit_are_given_what_tenants_need_and_little_more(
    protection: UnitProtection, needed_mib: int
) -> None:
    def is_done() -> bool:
        return all(needed_mib <= low_mib(path) <= 1.06 * needed_mib for path in (SLICE, TENANTS))

    settled(protection, needed_mib * MIB, is_done)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert is_done()
    assert protection.settle(needed_mib * MIB) is None


def test_release_takes_the_protection_back(protection: UnitProtection) -> None:
    settled(protection, 80 * MIB, lambda: min(low_mib(SLICE), low_mib(TENANTS)) >= 80)
    assert unprotect(TENANTS) == [(SLICE, None), (TENANTS, None)]
    assert (low_mib(SLICE), low_mib(TENANTS)) == (0, 0)
    assert unprotect(TENANTS) == []
    (found,) = [each for each in probe(TENANTS) if each.name == "memory.low"]
    assert found.state == "ok"


def test_a_refusal_is_told(protection: UnitProtection) -> None:
    unknown = SLICE / "tidegate-unknown.service"
    unknown.mkdir()
    try:
        refused = UnitProtection(unknown)
        settled(refused, 50 * MIB, lambda: refused.settle(50 * MIB) is not None)
        assert "tidegate-unknown.service: systemd refused MemoryLow" in str(refused.settle(1.0))
    finally:
        unknown.rmdir()
