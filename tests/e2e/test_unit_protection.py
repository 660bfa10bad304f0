"""Our units above the tenants: systemd itself sets what tenants need of them, and no more."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tenants import wait_until

from enforce.bus import Bus
from enforce.capability import probe
from enforce.systemd import UnitProtection, give_back, own_units
from enforce.units import UnitWriter

pytestmark = pytest.mark.e2e
SLICE = Path("/sys/fs/cgroup/tidegate.slice")
TENANTS = SLICE / "tidegate-tenants.service"
MIB = 1 << 20


@pytest.fixture
def writer() -> Iterator[UnitWriter]:
    with closing(Bus()) as bus, closing(UnitWriter(bus)) as writer:
        yield writer


@pytest.fixture
def protection(installed: Path, writer: UnitWriter) -> UnitProtection:
    assert installed.is_dir()
    subprocess.run(["systemctl", "start", TENANTS.name], check=True)
    return UnitProtection(TENANTS, writer)


def low_mib(path: Path) -> float:
    text = (path / "memory.low").read_text().strip()
    return float("inf") if text == "max" else int(text) / MIB


def settled(
    protection: UnitProtection,
    needed_bytes: float,
    is_done: Callable[[], bool],
    *,
    is_enforcing: bool = False,
) -> None:
    """Tick until `is_done`."""

    def is_done_by_now() -> bool:
        if is_done():
            return True
        protection.settle(needed_bytes, is_enforcing=is_enforcing)
        return False

    wait_until(is_done_by_now)


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
    assert protection.settle(needed_mib * MIB, is_enforcing=False) is None


def test_release_takes_the_protection_back(protection: UnitProtection, writer: UnitWriter) -> None:
    settled(protection, 80 * MIB, lambda: min(low_mib(SLICE), low_mib(TENANTS)) >= 80)
    writer.close()  # as by the end of the agent: nothing that is asked for comes later
    given_back = [(one.unit, one.file, one.why) for one in give_back(TENANTS)]
    assert given_back == [(path.name, "memory.low", None) for path in (SLICE, TENANTS)]
    assert (low_mib(SLICE), low_mib(TENANTS)) == (0, 0)
    assert give_back(TENANTS) == []
    (found,) = [each for each in probe(TENANTS) if each.name == "memory.low"]
    assert found.state == "ok"


def weight() -> int:
    return int((SLICE / "cpu.weight").read_text())


def test_the_slice_outweighs_its_neighbours_only_while_limits_are_set(
    protection: UnitProtection, writer: UnitWriter
) -> None:
    assert weight() == 100, "as shipped"
    settled(protection, 0.0, lambda: weight() == 1000, is_enforcing=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert weight() == 1000
    settled(protection, 0.0, lambda: weight() == 100, is_enforcing=False)
    settled(protection, 0.0, lambda: weight() == 1000, is_enforcing=True)
    writer.close()  # as by the end of the agent: nothing that is asked for comes later
    (given_back,) = give_back(TENANTS)
    assert (given_back.file, given_back.text, given_back.why) == ("cpu.weight", "100", None)
    assert weight() == 100


def test_a_weight_that_the_operator_chose_stays(protection: UnitProtection) -> None:
    set_weight = ["systemctl", "set-property", "--runtime", SLICE.name]
    subprocess.run([*set_weight, "CPUWeight=300"], check=True)
    try:
        for is_enforcing in (True, False):
            for _ in range(3):
                assert protection.settle(0.0, is_enforcing=is_enforcing) is None
        assert give_back(TENANTS) == []
        assert weight() == 300
    finally:
        subprocess.run([*set_weight, "CPUWeight=100"], check=True)


@pytest.mark.usefixtures("protection")
def test_what_systemd_refuses_keeps_nothing_else_from_being_set(writer: UnitWriter) -> None:
    unknown = SLICE / "tidegate-unknown.service"
    unknown.mkdir()
    refused = UnitProtection(unknown, writer)
    try:
        settled(refused, 50 * MIB, lambda: weight() == 1000, is_enforcing=True)
    finally:
        writer.close()
        unknown.rmdir()
        give_back(TENANTS)


@pytest.mark.usefixtures("protection")
def test_a_refusal_is_told(writer: UnitWriter) -> None:
    unknown = SLICE / "tidegate-unknown.service"
    unknown.mkdir()
    try:
        refused = UnitProtection(unknown, writer)

        def said() -> str | None:
            return refused.settle(50 * MIB, is_enforcing=False)

        settled(refused, 50 * MIB, lambda: said() is not None)
        assert "tidegate-unknown.service: systemd refused" in str(said())
    finally:
        unknown.rmdir()
