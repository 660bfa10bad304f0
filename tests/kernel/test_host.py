"""What the machine has, as it is read while a CPU goes offline and comes back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.host import read_machine
from agent.tenant import Resource

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(
        os.environ.get("TIDEGATE_LAB") != "1", reason="takes a CPU offline: in the lab only"
    ),
]

ONLINE = Path("/sys/devices/system/cpu/cpu1/online")


@pytest.fixture
def second_cpu() -> Iterator[Path]:
    if not ONLINE.exists():
        pytest.skip("this kernel takes no CPU offline")
    yield ONLINE
    ONLINE.write_text("1")


def test_a_cpu_that_is_offline_is_not_there_to_be_divided(second_cpu: Path) -> None:
    before = read_machine()
    second_cpu.write_text("0")
    after = read_machine()
    assert after[Resource.CPU] == before[Resource.CPU] - 1
    assert after[Resource.MEMORY] > 0
    second_cpu.write_text("1")
    assert read_machine()[Resource.CPU] == before[Resource.CPU]
