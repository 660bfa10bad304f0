"""Laws of files that outlive the agent: whatever bytes change, it starts, and goes on keeping."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.history import HistoryError, SeriesNames, read_past
from agent.learned_store import LearnedStore
from agent.pinboard import PinBoard
from agent.pins import Origin, Pin
from agent.recorder import Recorder
from agent.settings import DEFAULT_QOS
from agent.steps import ClosedStep
from agent.store import Store
from agent.tenant import Resource, Roster, Tenant
from agent.tokens import Ledger
from enforce.columns import Control

NAMES = SeriesNames(("acme", "beta"), ("cpu",))
ROSTER = Roster.of(Tenant(name, DEFAULT_QOS[0], {}) for name in NAMES.tenants)
NOW_S, STEP_S = 1_700_000_000.0, 60.0
FLIPS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4)


def balances(path: Path) -> bool:
    """Load, save and load again; say whether what was saved last is there."""
    with closing(Store(path)) as store:
        loaded = store.load(ROSTER)[Resource.CPU]
        assert np.isfinite([loaded.balance, loaded.issued, loaded.spent, loaded.expired]).all()
        store.save(ROSTER, {Resource.CPU: Ledger(*[np.array([3.0, 0.5])] * 5)})
        is_told = store.problem is not None
    with closing(Store(path)) as store:
        return is_told or store.load(ROSTER)[Resource.CPU].balance.tolist() == [3.0, 0.5]


def pins(path: Path) -> bool:
    """Do the same with a pin."""

    def board() -> "closing[PinBoard]":
        return closing(PinBoard(path, unix_now_s=lambda: NOW_S))

    with board() as first:
        until_s = time.monotonic() + 600.0
        first.pins(ROSTER, time.monotonic())
        first.put([Pin("acme", Control.CPU_MAX, 0.5, until_s, Origin.OPERATOR, 7)])
        is_told = first.problem is not None
    with board() as second:
        found = {one.control: one.value for one in second.of("acme")}
        return is_told or found.get(Control.CPU_MAX) == 0.5


def learned(path: Path) -> bool:
    """Do the same with what was learned."""
    row = ("match", "acme", "cpu", 1.5, 2.0, 3)
    with closing(LearnedStore(path)) as store:
        list(store.rows())
        store.save([row], NOW_S)
        is_told = store.problem is not None
    with closing(LearnedStore(path)) as store:
        return is_told or row in list(store.rows())


def history(path: Path) -> bool:
    """Do the same with a step of 42 cores; who only reads the file gets numbers, or words."""
    with suppress(HistoryError):
        read_past(path, since_s=0.0)
    with closing(Recorder(path)) as recorder:
        past = recorder.past_demand(NAMES, step_s=STEP_S, most=40, now_s=NOW_S)
        assert past.shape[0] <= 40
        number = np.array([42.0, 1.0])
        step = ClosedStep(number, number, number, number)
        machine, ended_at_s = np.array([64.0, 64.0]), NOW_S + 30 * STEP_S
        recorder.add(step, NAMES, machine=machine, ended_at_s=ended_at_s, step_s=STEP_S)
    is_told = recorder.problem is not None
    with closing(Recorder(path)) as recorder:
        past = recorder.past_demand(NAMES, step_s=STEP_S, most=40, now_s=ended_at_s)
        return is_told or past[-1:, 0].tolist() == [42.0]


USES = {"state": balances, "pins": pins, "events": learned, "history": history}
Use = Callable[[Path], bool]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder with each of the files as an agent leaves it."""
    with tempfile.TemporaryDirectory() as name:
        for kind, use in USES.items():
            path = Path(name) / f"{kind}.db"
            assert use(path)
            if kind == "history":
                with closing(Recorder(path, most_waiting=20)) as recorder:
                    for at in range(20):
                        number = np.array([1.0 + at, 2.0])
                        step = ClosedStep(number, number, number, number)
                        recorder.add(
                            step,
                            NAMES,
                            machine=np.array([64.0, 64.0]),
                            ended_at_s=NOW_S + at * STEP_S,
                            step_s=STEP_S,
                        )
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield Path(name)


@pytest.mark.parametrize("kind", sorted(USES))
@given(flips=FLIPS)
def test_bytes_that_changed_stop_no_agent_and_nothing_that_it_keeps_from_then_on(
    folder: Path, kind: str, flips: list[tuple[int, int]]
) -> None:
    content = bytearray((folder / f"{kind}.db").read_bytes())
    used = [at for at, one in enumerate(content) if one]  # most of a page is empty
    for at, change in flips:
        content[used[at % len(used)]] ^= change
    work = Path(tempfile.mkdtemp(dir=folder))
    try:
        (work / "file.db").write_bytes(content)
        assert USES[kind](work / "file.db")
    finally:
        shutil.rmtree(work)


@pytest.mark.parametrize("kind", sorted(USES))
def test_names_in_the_schema_that_are_no_text_stop_no_agent(folder: Path, kind: str) -> None:
    """SQLite's own words quote them, which Python cannot read then."""
    content = bytearray((folder / f"{kind}.db").read_bytes())
    kind_ends = content.rindex(b"table", 0, content.index(b"CREATE TABLE")) + len(b"table")
    content[kind_ends] = 0xFF
    work = Path(tempfile.mkdtemp(dir=folder))
    (work / "file.db").write_bytes(content)
    assert USES[kind](work / "file.db")
    assert list(work.glob("file.db.damaged-*"))
