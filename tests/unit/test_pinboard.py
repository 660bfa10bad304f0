"""Pins on disk: they outlive the agent, end in time, and a bad file costs no tick."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agent.pinboard import PinBoard
from agent.pins import Origin, Pin
from agent.settings import DEFAULT_QOS
from agent.tenant import Roster, Tenant
from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight

INF = float("inf")


def roster(*names: str) -> Roster:
    return Roster.of(Tenant(name, DEFAULT_QOS[0], {}) for name in names)


class Clock:
    """A wall clock that the test sets."""

    now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def restarted(path: Path, clock: Clock) -> PinBoard:
    return PinBoard(path / "pins.db", unix_now_s=clock)


def held(board: PinBoard, *, after_s: float = 0.0) -> list[float]:
    pins = board.pins(roster("a", "b"), time.monotonic() + after_s)
    return [float(value) for value in pins.value[Control.CPU_MAX]]


def pin(value: float, for_s: float, origin: Origin = Origin.OPERATOR) -> Pin:
    return Pin("b", Control.CPU_MAX, value, time.monotonic() + for_s, origin, 7)


def test_pins_outlive_the_agent_and_end_when_their_time_is_over(
    tmp_path: Path, clock: Clock
) -> None:
    board = restarted(tmp_path, clock)
    board.put([pin(0.5, 60.0)])
    assert np.isnan(held(board)[0])
    assert held(board)[1] == 0.5
    board.close()
    clock.now_s += 40.0
    board = restarted(tmp_path, clock)
    assert held(board)[1] == 0.5
    assert np.isnan(held(board, after_s=21.0)[1])
    board.close()
    board = restarted(tmp_path, clock)
    assert np.isnan(held(board)[1]), "what is over is not read again"
    board.close()


def test_pins_of_devices_outlive_the_agent_and_what_is_no_control_is_left_out(
    tmp_path: Path, clock: Clock
) -> None:
    controls: list[AnyControl] = [
        DiskControl("sda", "riops"),
        DiskWeight("dm-0"),
        ClassControl("eth0", "in", "rate"),
    ]
    board, until_s = restarted(tmp_path, clock), time.monotonic() + 60.0
    board.put(Pin("b", one, 64.0, until_s, Origin.ANOTHER, 7) for one in [*controls, *Control])
    board.close()
    with sqlite3.connect(tmp_path / "pins.db") as file:
        file.execute("UPDATE pin SET control = 'io.max sda ceil' WHERE control = 'memory.low'")
    file.close()
    board = restarted(tmp_path, clock)
    found = {one.control for one in board.of("b")}
    pins = board.pins(roster("a", "b"), time.monotonic())
    board.close()
    assert found == {*controls, *Control} - {Control.MEMORY_LOW}
    assert [pins.value[one].tolist()[1] for one in controls] == [64.0] * 3
    assert pins.is_foreign[controls[0]].tolist() == [False, True]


@pytest.mark.parametrize("jump_s", [-1e6, 1e6])
def test_a_wall_clock_that_is_set_makes_no_pin_longer(
    tmp_path: Path, clock: Clock, jump_s: float
) -> None:
    board = restarted(tmp_path, clock)
    board.put([pin(INF, 60.0)])
    board.close()
    clock.now_s += jump_s
    board = restarted(tmp_path, clock)
    assert np.isnan(held(board, after_s=61.0)[1])
    board.close()


def test_what_is_dropped_stays_dropped_and_the_last_of_a_file_counts(
    tmp_path: Path, clock: Clock
) -> None:
    board = restarted(tmp_path, clock)
    board.put([pin(0.5, 60.0)])
    board.put([pin(0.7, 60.0)])
    assert held(board)[1] == 0.7
    board.drop([("b", Control.CPU_MAX)])
    assert board.of("b") == ()
    board.close()
    board = restarted(tmp_path, clock)
    assert np.isnan(held(board)[1])
    board.close()


@pytest.mark.parametrize("origin", list(Origin))
def test_a_reboot_ends_what_somebody_wrote_and_not_what_an_operator_pinned(
    tmp_path: Path, clock: Clock, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = restarted(tmp_path, clock)
    board.put([pin(0.5, 60.0, origin)])
    board.close()
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr("enforce.boot_record.BOOT_ID", tmp_path / "boot_id")
    board = restarted(tmp_path, clock)
    assert (held(board)[1] == 0.5) is (origin is Origin.OPERATOR)
    board.close()


@pytest.mark.parametrize("column", ["control", "value", "ends_at_s", "origin"])
def test_a_row_of_no_agents_writing_is_no_pin(tmp_path: Path, clock: Clock, column: str) -> None:
    board = restarted(tmp_path, clock)
    board.put([pin(0.5, 60.0)])
    board.close()
    with closing(sqlite3.connect(tmp_path / "pins.db")) as other, other:
        other.execute(f"UPDATE pin SET {column} = '?'")  # noqa: S608 - of this list
    board = restarted(tmp_path, clock)
    assert board.of("b") == ()
    board.close()


def test_a_file_that_cannot_be_used_costs_the_next_agent_its_pins_and_this_one_nothing(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "no folder"
    board = PinBoard(path / "pins.db", unix_now_s=clock)
    assert board.problem is not None
    board.put([pin(0.5, 60.0)])
    assert held(board)[1] == 0.5
    board.close()
