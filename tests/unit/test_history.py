"""agent.recorder writes, agent.history reads: real files, whole, damaged, full and foreign."""

import math
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elapsed import least_s
from samples import NAN, column
from scarcity import no_more_threads
from tenants import wait_until

from agent.history import COARSE_STEPS, HistoryError, Past, SeriesNames, packed, read_past, unpacked
from agent.recorder import Recorder, pooled
from agent.steps import ClosedStep
from agent.tenant import Kind, Resource

NAMES = SeriesNames(("acme", "beta"), ("cpu", "memory"))
MACHINE = column(4, 4, 1e9, 1e9)
BEGAN_S = 1_700_000_000.0
STEP_S = 60.0
MANY = 10_000  # steps that may wait to be written


def step_at(number: int) -> ClosedStep:
    demand = column(1 + number, NAN, 100e6, 200e6)
    return ClosedStep(demand, 2 * demand, demand - 0.25, column(2, 4, NAN, 300e6))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def record(
    path: Path,
    numbers: list[int],
    *,
    names: SeriesNames = NAMES,
    step_s: float = STEP_S,
    apart_s: float | None = None,
) -> Recorder:
    """Record steps, each at its time, a step apart unless said; return the recorder, closed."""
    recorder = Recorder(path, most_waiting=MANY)
    for number in numbers:
        recorder.add(
            step_at(number),
            names,
            machine=MACHINE,
            ended_at_s=BEGAN_S + number * (apart_s or step_s),
            step_s=step_s,
        )
    recorder.close()
    return recorder


def everything(path: Path) -> Past:
    return read_past(path, since_s=0.0)


def rows_in(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    connection.close()
    return int(count)


def test_what_was_recorded_is_read_back_by_tenant_and_resource(path: Path) -> None:
    record(path, [0, 1, 2])
    past = everything(path)
    assert past.tenants == ("acme", "beta")
    assert past.step_s == STEP_S
    assert past.ended_at_s.tolist() == [BEGAN_S, BEGAN_S + 60, BEGAN_S + 120]
    cpu, memory = Resource.CPU, Resource.MEMORY
    wanted = np.array([[1, NAN], [2, NAN], [3, NAN]])
    assert past.demand[cpu] == pytest.approx(wanted, nan_ok=True)
    assert past.peak[cpu][:, 0].tolist() == pytest.approx([2, 4, 6])
    assert past.usage[cpu][:, 0].tolist() == pytest.approx([0.75, 1.75, 2.75])
    assert past.demand[memory][0].tolist() == pytest.approx([100e6, 200e6])
    assert past.limit[cpu][0].tolist() == [2, math.inf]  # all that the machine has is no limit
    assert past.limit[memory][0].tolist() == pytest.approx([NAN, 300e6], nan_ok=True)


def with_forecast(number: int) -> ClosedStep:
    step = step_at(number)
    expected, bound = column(1 / 3, NAN, 99e6, 150e6), column(2 / 3, NAN, 101e6, 300e6)
    return replace(step, expected=expected, bound=bound)


def test_what_had_been_forecast_of_a_step_is_kept_with_it(path: Path) -> None:
    recorder = Recorder(path, most_waiting=MANY)
    for number, step in enumerate((step_at(0), with_forecast(1))):
        recorder.add(
            step, NAMES, machine=MACHINE, ended_at_s=BEGAN_S + number * STEP_S, step_s=STEP_S
        )
    recorder.close()
    past = everything(path)
    for found, wanted in ((past.expected, 1 / 3), (past.bound, 2 / 3)):
        assert np.isnan(found[Resource.CPU][0]).all()
        assert found[Resource.CPU][1] == pytest.approx([wanted, NAN], rel=2**-11, nan_ok=True)
    assert past.bound[Resource.MEMORY][1] == pytest.approx([101e6, 300e6], rel=2**-11)


def test_forecasts_take_two_thirds_of_what_they_would_in_full() -> None:
    random = np.random.default_rng(1)
    numbers = random.lognormal(size=(3, 5000))
    step = ClosedStep(numbers[0], numbers[0], numbers[0], numbers[0])
    told = replace(step, expected=numbers[1], bound=numbers[2])
    machine = np.full(5000, 1e9)
    added = len(packed(told, machine)) - len(packed(step, machine))
    assert added < 2 * 5000 * 4 * 2 / 3


def test_a_file_of_the_first_version_is_read_and_written_on(path: Path) -> None:
    record(path, [0, 1])
    connection = sqlite3.connect(path)
    for number, body in connection.execute("SELECT id, body FROM fine").fetchall():
        whole = zlib.decompress(body)
        body_of_old = zlib.compress(whole[: 4 * len(NAMES) * 4])  # four measures of float32
        connection.execute("UPDATE fine SET body = ? WHERE id = ?", (body_of_old, number))
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    assert everything(path).demand[Resource.CPU][:, 0] == pytest.approx([1, 2])
    assert np.isnan(everything(path).bound[Resource.CPU]).all()
    assert record(path, [2]).problem is None
    assert everything(path).demand[Resource.CPU][:, 0] == pytest.approx([1, 2, 3])
    assert not list(path.parent.glob("*.damaged-*"))


def test_steps_in_which_nobody_recorded_are_gaps(path: Path) -> None:
    record(path, [0, 3])
    past = everything(path)
    assert len(past.ended_at_s) == 4
    assert past.demand[Resource.CPU][:, 0] == pytest.approx([1, NAN, NAN, 4], nan_ok=True)


def test_only_the_time_and_the_tenants_that_were_asked_for_are_returned(path: Path) -> None:
    record(path, list(range(10)))
    past = read_past(path, since_s=BEGAN_S + 180, now_s=BEGAN_S + 300, only=["beta", "nobody"])
    assert past.tenants == ("beta",)
    assert past.ended_at_s.tolist() == [BEGAN_S + 180, BEGAN_S + 240, BEGAN_S + 300]
    assert past.demand[Resource.MEMORY] == pytest.approx(np.full((3, 1), 200e6))


def test_only_the_resources_that_were_asked_for_are_returned(path: Path) -> None:
    record(path, [0, 1])
    whole, memory, disk = (
        read_past(path, since_s=0.0, resources=wanted)
        for wanted in (None, [Resource.MEMORY], [Resource(Kind.DISK_READ, "sda")])
    )
    assert list(whole.demand) == [Resource.CPU, Resource.MEMORY]
    assert (list(memory.demand), list(disk.demand)) == ([Resource.MEMORY], [])
    for measure in ("demand", "peak", "usage", "limit"):
        own = getattr(memory, measure)[Resource.MEMORY]
        np.testing.assert_array_equal(own, getattr(whole, measure)[Resource.MEMORY])
    assert (disk.tenants, len(disk.ended_at_s)) == (whole.tenants, 2)


def test_tenants_that_come_and_go_are_all_there(path: Path) -> None:
    record(path, [0])
    record(path, [1], names=SeriesNames(("beta", "carl"), ("cpu", "memory")))
    past = everything(path)
    assert past.tenants == ("acme", "beta", "carl")
    cpu = past.demand[Resource.CPU]
    assert cpu == pytest.approx(np.array([[1, NAN, NAN], [NAN, 2, NAN]]), nan_ok=True)


def test_a_clock_that_is_set_back_moves_no_step_over_another(path: Path) -> None:
    record(path, [5, 6, 1, 2])
    assert everything(path).demand[Resource.CPU][:, 0].tolist() == pytest.approx([6, 7, 2, 3])


@pytest.mark.parametrize("apart_s", [56.0, 63.0])
def test_steps_that_last_longer_or_shorter_than_they_should_are_told_when_they_were(
    path: Path, apart_s: float
) -> None:
    """Ticks that are left out move the ends of steps: an hour ago is still an hour ago."""
    record(path, list(range(601)), apart_s=apart_s)
    past = everything(path)
    known = ~np.isnan(past.demand[Resource.CPU][:, 0])
    said = past.ended_at_s[known]
    was = BEGAN_S + (past.demand[Resource.CPU][known, 0] - 1) * apart_s
    assert np.abs(said - was).max() <= STEP_S / 2 + 1
    assert known.sum() > 500


def test_steps_under_a_clock_that_was_wrong_for_a_while_hide_none_of_those_before(
    path: Path,
) -> None:
    record(path, [*range(100), 100 + 30_000, 101 + 30_000, *range(102, 200)])
    demand = everything(path).demand[Resource.CPU][:, 0]
    assert len(demand) == 200
    assert demand[:100].tolist() == pytest.approx([1 + n for n in range(100)])


def test_tenants_that_come_and_go_cost_no_coarse_history(path: Path) -> None:
    for number in range(90):
        names = SeriesNames(("acme", f"t{number // 10}"), ("cpu", "memory"))
        record(path, [number], names=names)
    coarse = read_past(path, since_s=0.0, only=["acme"], is_coarse=True)
    assert rows_in(path, "coarse") == 90 / COARSE_STEPS
    pooled_ = coarse.demand[Resource.CPU][:, 0]
    assert pooled_.tolist() == pytest.approx([8 + COARSE_STEPS * n for n in range(6)])


def test_very_many_series_are_kept_for_less_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.recorder._FINE_NUMBERS", 80)
    monkeypatch.setattr("agent.recorder._COARSE_NUMBERS", 8)
    record(path, list(range(100)))
    assert rows_in(path, "fine") == 80 / len(NAMES)
    assert rows_in(path, "coarse") == 8 / len(NAMES)


def test_a_clock_that_jumps_ahead_leaves_a_gap_that_is_bounded(path: Path) -> None:
    record(path, [0, 10**9])
    past = everything(path)
    assert past.demand[Resource.CPU][-1, 0] == pytest.approx(1 + 1e9)
    assert len(past.ended_at_s) <= 20_000


def test_steps_of_another_length_are_not_mixed_in(path: Path) -> None:
    record(path, [0, 1, 2])
    record(path, [100, 101], step_s=5.0)
    assert everything(path).step_s == 5.0
    assert len(everything(path).ended_at_s) == 2


def test_the_file_is_bounded_and_older_steps_are_kept_coarsely(path: Path) -> None:
    two_days = 2 * 24  # of hours
    record(path, list(range(3 * two_days)), step_s=3600.0)
    assert rows_in(path, "fine") == two_days
    coarse = read_past(path, since_s=0.0, is_coarse=True)
    assert rows_in(path, "coarse") == 3 * two_days // COARSE_STEPS
    assert coarse.step_s == COARSE_STEPS * 3600.0
    first = coarse.demand[Resource.CPU][0, 0]
    assert first == pytest.approx(np.mean([1 + n for n in range(COARSE_STEPS)]))
    assert coarse.peak[Resource.CPU][0, 0] == pytest.approx(2 * COARSE_STEPS)


def test_names_that_no_row_has_any_more_are_forgotten(path: Path) -> None:
    for number in range(60):
        names = SeriesNames((f"t{number}", "beta"), ("cpu", "memory"))
        record(path, [number], names=names, step_s=86400.0)
    assert rows_in(path, "series") <= 3


def test_what_the_forecaster_begins_with_ends_now(path: Path) -> None:
    record(path, [0, 1, 2])
    recorder = Recorder(path)
    now_s = BEGAN_S + 2 * STEP_S + 130
    names = SeriesNames(("beta", "acme"), ("cpu",))
    past = recorder.past_demand(names, step_s=STEP_S, most=4, now_s=now_s)
    wanted = [[NAN, 2], [NAN, 3], [NAN, NAN], [NAN, NAN]]
    assert past == pytest.approx(np.array(wanted), nan_ok=True)
    assert recorder.past_demand(names, step_s=30.0, most=4, now_s=now_s).shape == (0, 2)
    asleep = recorder.past_demand(names, step_s=STEP_S, most=4, now_s=now_s + 1e9)
    assert np.isnan(asleep).all()
    backwards = recorder.past_demand(names, step_s=STEP_S, most=4, now_s=0.0)
    assert backwards[-1, 1] == 3
    recorder.close()


@pytest.mark.parametrize("damage", [b"", b"no database, but long enough to be read as one" * 99])
def test_a_damaged_file_is_set_aside_and_recording_goes_on(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    assert record(path, [0]).problem is None
    assert len(everything(path).ended_at_s) == 1
    aside = list(path.parent.glob("history.db.damaged-*"))
    assert [file.read_bytes() for file in aside] == ([damage] if damage else [])


def _execute(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def bomb() -> bytes:
    return zlib.compress(bytes(100 << 20))


@pytest.mark.parametrize(
    ("column_", "value"),
    [
        ("body", b"not compressed"),
        ("body", zlib.compress(b"too short")),
        ("body", "text"),
        ("body", bomb()),
        ("ended_at_s", "yesterday"),
        ("ended_at_s", math.inf),
        ("step_s", -1.0),
        ("series", 99),
    ],
)
def test_a_row_that_is_not_what_was_stored_is_a_gap(
    path: Path, column_: str, value: object
) -> None:
    record(path, [0, 1, 2])
    _execute(path, f"UPDATE fine SET {column_} = ? WHERE id = 2", value)  # noqa: S608
    demand = everything(path).demand[Resource.CPU][:, 0]
    assert demand == pytest.approx([1, NAN, 3], nan_ok=True)
    recorder = Recorder(path)
    past = recorder.past_demand(NAMES, step_s=STEP_S, most=9, now_s=BEGAN_S)
    assert past[:, 0] == pytest.approx([1, NAN, 3], nan_ok=True)
    recorder.close()


@pytest.mark.parametrize(
    "names",
    [b"{", b'{"tenants":["\x1b[2J"],"resources":["cpu"]}', b'{"tenants":["a"],"resources":["x"]}'],
)
def test_names_that_nobody_would_have_stored_name_nothing(path: Path, names: bytes) -> None:
    record(path, [0])
    _execute(path, "UPDATE series SET names = ?", names)
    with pytest.raises(HistoryError, match="nothing was recorded"):
        everything(path)


def test_a_body_larger_than_it_should_be_is_never_unpacked_whole() -> None:
    assert unpacked(bomb(), 2) is None


def _no_file(path: Path) -> None:
    assert not path.exists()


def _a_pipe(path: Path) -> None:
    os.mkfifo(path)


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def _later(path: Path) -> None:
    record(path, [0])
    _execute(path, "PRAGMA user_version = 99")


def _words_that_are_no_text(path: Path) -> None:
    """What SQLite says of it quotes the file."""
    record(path, [0])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    content = path.read_bytes()
    place = content.index(b"tablefinefine") + len("table")
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])


@pytest.mark.parametrize(
    ("made", "said", "hint"),
    [
        (_no_file, "no such file", "a running agent records"),
        (_a_pipe, "not a regular file", "sets it aside"),
        (Path.mkdir, "not a regular file", "sets it aside"),
        (_garbage, "not a database", "sets it aside"),
        (_words_that_are_no_text, "damaged", "sets it aside"),
        (_later, "written by a newer agent: version 99", "the tidegate that wrote it"),
    ],
)
def test_a_reader_is_told_why_there_is_nothing_and_what_to_do(
    path: Path, made: Callable[[Path], None], said: str, hint: str
) -> None:
    made(path)
    with pytest.raises(HistoryError, match=said) as caught:
        everything(path)
    assert hint in caught.value.hint


def test_a_reader_of_a_file_that_is_held_is_told_to_try_again(path: Path) -> None:
    record(path, [0])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HistoryError, match="locked") as caught:
            everything(path)
    assert "try again" in caught.value.hint


def test_a_reader_who_may_not_read_is_told_who_may(path: Path) -> None:
    record(path, [0])
    path.parent.chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        with pytest.raises(HistoryError) as caught:
            everything(path)
    finally:
        if is_root:
            os.seteuid(0)
        path.parent.chmod(0o700)
    assert "as the user who runs the agent" in caught.value.hint


@pytest.mark.parametrize("at", ["first", "middle", "last but one", "last"])
@pytest.mark.parametrize("clock_s", [5.0, 9e10])
def test_a_step_of_a_wrong_clock_costs_that_step_and_no_other(
    path: Path, at: str, clock_s: float
) -> None:
    record(path, list(range(200)))
    number = {"first": 1, "middle": 100, "last but one": 199, "last": 200}[at]
    _execute(path, "UPDATE fine SET ended_at_s = ? WHERE id = ?", clock_s, number)
    now_s = BEGAN_S + 199 * STEP_S
    others = [1 + n for n in range(200) if n != number - 1]
    recorder = Recorder(path)
    past = recorder.past_demand(NAMES, step_s=STEP_S, most=1000, now_s=now_s)[:, 0]
    recorder.close()
    replayed = read_past(path, since_s=now_s - 3600 * 4, now_s=now_s)
    found = replayed.demand[Resource.CPU][:, 0]
    for column_ in (past, found):
        known = {round(float(one)) for one in column_ if not np.isnan(one)}
        assert known.issuperset(others), (len(known), len(column_))
    assert replayed.ended_at_s[-1] == pytest.approx(now_s)
    assert found[-100:-2].tolist() == pytest.approx(
        [one if one in others else found[one - 201] for one in range(101, 199)], nan_ok=True
    )


def test_steps_too_short_for_any_agent_are_no_steps(path: Path) -> None:
    record(path, [0, 1, 2])
    _execute(path, "UPDATE fine SET step_s = 1e-9 WHERE id = 3")
    assert everything(path).step_s == STEP_S
    assert everything(path).demand[Resource.CPU][:, 0] == pytest.approx([1, 2])


def test_a_folder_that_cannot_be_used_is_a_problem_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = record(tmp_path / "file" / "history.db", [0])
    assert recorder.problem is not None
    assert recorder.past_demand(NAMES, step_s=STEP_S, most=4, now_s=0.0).shape == (0, 4)


def test_a_step_that_cannot_be_written_is_a_problem_until_one_can(path: Path) -> None:
    recorder = Recorder(path)
    _execute(
        path, "CREATE TRIGGER full BEFORE INSERT ON fine BEGIN SELECT raise(ABORT, 'full'); END"
    )

    def add(number: int) -> None:
        recorder.add(
            step_at(number), NAMES, machine=MACHINE, ended_at_s=BEGAN_S + number, step_s=STEP_S
        )

    add(0)
    wait_until(lambda: "full" in str(recorder.problem))
    _execute(path, "DROP TRIGGER full")
    add(1)
    wait_until(lambda: recorder.problem is None)
    assert rows_in(path, "fine") == 1
    recorder.close()


def test_pooled_steps_know_what_any_of_them_knew() -> None:
    one = ClosedStep(column(1, NAN), column(1, NAN), column(1, NAN), column(math.inf, NAN))
    other = ClosedStep(column(3, 5), column(4, 6), column(2, 5), column(2, 7))
    both = pooled([one, other])
    assert both.demand.tolist() == [2, 5]
    assert both.peak.tolist() == [4, 6]
    assert both.usage.tolist() == [1.5, 5]
    assert both.limit.tolist() == [math.inf, 7]


def test_pooled_forecasts_are_means_of_those_that_there_were() -> None:
    steps = [step_at(0), with_forecast(1), replace(with_forecast(2), bound=column(1, 2, 3, 4))]
    whole = pooled(steps)
    assert whole.expected == pytest.approx(column(1 / 3, NAN, 99e6, 150e6), nan_ok=True)
    assert whole.bound == pytest.approx(column(5 / 6, 2, 50.5e6 + 1.5, 150e6 + 2), nan_ok=True)
    assert pooled(steps[:1]).expected is None


def test_a_disk_that_hangs_makes_nobody_wait_and_is_told(path: Path) -> None:
    """Somebody holds the file for longer than the writer has patience, over and over."""
    recorders, told = list[Recorder](), set[str | None]()

    def another() -> Recorder:
        recorders.append(Recorder(path))
        return recorders[-1]

    def add(recorder: Recorder) -> None:
        for number in range(50):
            recorder.add(step_at(number), NAMES, machine=MACHINE, ended_at_s=BEGAN_S, step_s=STEP_S)
            told.add(recorder.problem)  # before the writer says what it has met

    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        # One wait for the file would be longer.
        assert least_s(add, of=another, below_s=0.4) < 0.4
    assert any("too slow" in str(one) for one in told)
    for one in recorders:
        one.close()


def test_a_host_without_room_for_a_thread_records_all_the_same(path: Path) -> None:
    with no_more_threads():
        record(path, [0, 1])
    assert rows_in(path, "fine") == 2


def test_a_file_that_is_locked_at_the_start_is_used_once_it_is_not(path: Path) -> None:
    record(path, [0])
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        recorder = Recorder(path)
        assert recorder.problem is not None
    recorder.add(step_at(1), NAMES, machine=MACHINE, ended_at_s=BEGAN_S + STEP_S, step_s=STEP_S)
    wait_until(lambda: recorder.problem is None)
    recorder.close()
    assert len(everything(path).ended_at_s) == 2
