"""agent.store: balances that outlive the agent, whatever becomes of the file."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elapsed import least_s
from structlog.testing import capture_logs
from tenants import wait_until

from agent.settings import DEFAULT_QOS
from agent.store import Store
from agent.tenant import BASIC, Kind, Resource, Roster, Tenant
from agent.tokens import Ledger

COLUMNS = [np.array([1.5, -1.0]), *(np.array([1.5, 1.0]) * scale for scale in (10.0, 20.0, 30.0))]
LEDGER = Ledger(*[*COLUMNS, np.array([0.5, 0.25])])


def roster(*names: str) -> Roster:
    return Roster.of(Tenant(name, DEFAULT_QOS[0], {}) for name in names)


def saved(path: Path) -> None:
    store = Store(path)
    store.save(roster("acme", "beta"), {Resource.CPU: LEDGER})
    store.close()


def balances(path: Path, *names: str) -> list[float]:
    store = Store(path)
    loaded = store.load(roster(*names))
    store.close()
    return [float(balance) for balance in loaded[Resource.CPU].balance]


def test_balances_come_back_bit_for_bit_by_name(tmp_path: Path) -> None:
    saved(tmp_path / "state.db")
    store = Store(tmp_path / "state.db")
    loaded = store.load(roster("acme", "beta"))[Resource.CPU]
    store.close()
    for column in ("balance", "issued", "spent", "expired", "left_fraction"):
        assert getattr(loaded, column).tolist() == getattr(LEDGER, column).tolist()
    assert balances(tmp_path / "state.db", "aaa", "beta") == [0.0, -1.0]


def test_the_file_holds_only_todays_tenants(tmp_path: Path) -> None:
    saved(tmp_path / "state.db")
    store = Store(tmp_path / "state.db")
    store.save(roster("beta"), {Resource.CPU: Ledger.opened(1)})
    store.close()
    assert balances(tmp_path / "state.db", "acme", "beta") == [0.0, 0.0]


def test_an_agent_without_tenants_forgets_nobody(tmp_path: Path) -> None:
    """Their files may not be mounted yet."""
    saved(tmp_path / "state.db")
    store = Store(tmp_path / "state.db")
    store.save(roster(), {Resource.CPU: Ledger.opened(0)})
    store.close()
    assert balances(tmp_path / "state.db", "acme", "beta") == [1.5, -1.0]


@pytest.mark.parametrize("damage", [b"", b"not a database at all, but long enough to be read" * 99])
def test_a_damaged_file_is_set_aside_and_the_agent_starts_fresh(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(damage)
    assert balances(path, "acme") == [0.0]
    aside = list(tmp_path.glob("state.db.damaged-*"))
    assert [file.read_bytes() for file in aside] == ([damage] if damage else [])


def test_files_set_aside_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for content in (b"first" * 999, b"second" * 999):
        path.write_bytes(content)
        assert balances(path, "acme") == [0.0]
    kept = sorted(file.read_bytes()[:5] for file in tmp_path.glob("state.db.damaged-?"))
    assert kept == [b"first", b"secon"]


def test_a_page_overwritten_in_the_middle_never_stops_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    saved(path)
    content = bytearray(path.read_bytes())
    content[4096:4400] = b"\xff" * 304
    path.write_bytes(content)
    assert balances(path, "acme") == [0.0]


def test_a_file_of_a_later_version_is_set_aside_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE ledger (something_else)")
    connection.commit()
    connection.close()
    with capture_logs() as logs:
        assert balances(path, "acme") == [0.0]
    assert len(list(tmp_path.glob("state.db.version-99-*"))) == 1
    assert "written by a newer agent" in logs[0]["problem"]
    assert "damaged" not in str(logs)


def test_a_file_of_the_first_version_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    numbers = ", ".join(f"{name}_tokens REAL" for name in ("balance", "issued", "spent", "expired"))
    key = "PRIMARY KEY (tenant, resource)"
    connection.execute(
        f"CREATE TABLE ledger (tenant TEXT, resource TEXT, {numbers}, {key}) WITHOUT ROWID"
    )
    connection.execute("INSERT INTO ledger VALUES ('acme', 'cpu', 1.5, 15.0, 30.0, 45.0)")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    assert balances(path, "acme") == [1.5]
    assert list(tmp_path.glob("state.db.damaged-*")) == []
    saved(path)
    assert balances(path, "acme") == [1.5]


def test_ledgers_of_every_spent_resource_come_back_each_by_its_name(tmp_path: Path) -> None:
    disks = [Resource(Kind.DISK_READ, name) for name in ("sda", "sdb")]
    who = Roster.of([Tenant("acme", DEFAULT_QOS[0], {})], [*BASIC, *disks])
    one = Ledger(*[np.array([0.5])] * 5)
    two = replace(one, balance=np.array([-0.25]))
    store = Store(tmp_path / "state.db")
    store.save(who, {disks[0]: one, disks[1]: two, Resource.MEMORY: one})
    loaded = store.load(who)
    store.close()
    assert [loaded[disk].balance[0] for disk in disks] == [0.5, -0.25]
    assert loaded[Resource.CPU].balance[0] == 0.0
    assert loaded[Resource.MEMORY].balance[0] == 0.0  # held, not spent


def test_a_share_that_can_be_none_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    saved(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ledger SET left_fraction = 1e300 WHERE tenant = 'acme'")
    connection.commit()
    connection.close()
    store = Store(path)
    ledger = store.load(roster("acme"))[Resource.CPU]
    store.close()
    assert ledger.allowance.tolist() == [2.0]


def test_a_state_folder_that_cannot_be_used_costs_memory_not_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "state.db"
    saved(path)
    assert balances(path, "acme") == [0.0]


def test_numbers_that_are_none_are_not_taken_for_balances(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    saved(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ledger SET balance_tokens = 'much' WHERE tenant = 'acme'")
    connection.commit()
    connection.close()
    assert balances(path, "acme", "beta") == [0.0, -1.0]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_set_aside_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "state.db"
    make(path)
    saved(path)
    assert balances(path, "acme") == [1.5]
    assert len(list(tmp_path.glob("state.db.damaged-*"))) == 1


def test_a_damaged_file_that_cannot_be_moved_costs_memory_not_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(old: str, new: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "state.db"
    path.mkdir()
    monkeypatch.setattr(os, "replace", refused)
    assert balances(path, "acme") == [0.0]
    assert path.is_dir()


def test_a_store_says_why_balances_would_not_outlive_the_agent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    lost = Store(tmp_path / "file" / "state.db")
    lost.save(roster("acme", "beta"), {Resource.CPU: LEDGER})  # into memory: no remedy
    assert lost.problem is not None
    assert "unable to open" in lost.problem
    lost.close()


def test_a_save_that_fails_is_a_problem_until_one_goes_well(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store, told = Store(path), []
    other = sqlite3.connect(path, isolation_level=None)
    for step in ("BEGIN", "BEGIN EXCLUSIVE", "ROLLBACK"):
        other.execute(step)
        store.save(roster("acme", "beta"), {Resource.CPU: LEDGER})
        told.append(store.problem)
        if step == "BEGIN":
            other.execute("ROLLBACK")
    assert told == [None, f"{path}: database is locked", None]
    other.close()
    store.close()


def test_a_file_that_is_locked_at_the_start_is_saved_to_once_it_is_not(tmp_path: Path) -> None:
    path, who = tmp_path / "state.db", roster("acme", "beta")
    saved(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store = Store(path)
        assert "locked" in str(store.problem)
        # No save waits for whoever has the file.
        others: list[Store] = []

        def another() -> Store:
            others.append(Store(path))
            return others[-1]

        def save(one: Store) -> None:
            one.save(who, {Resource.CPU: LEDGER})

        assert least_s(save, of=another, below_s=0.2) < 0.2
        for one in others:
            one.close()
        save(store)
        assert "locked" in str(store.problem)

    def is_saved() -> bool:
        store.save(who, {Resource.CPU: LEDGER})
        return store.problem is None

    with capture_logs() as logs:
        wait_until(is_saved)
    store.close()
    assert [one["event"] for one in logs] == ["balances saved again"]
    assert balances(path, "acme", "beta") == [1.5, -1.0]


def test_the_last_balances_of_an_agent_that_stops_are_saved_where_they_can_be_by_then(
    tmp_path: Path,
) -> None:
    path, who = tmp_path / "state.db", roster("acme", "beta")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store = Store(path)
        assert store.problem is not None
    store.save(who, {Resource.CPU: LEDGER})
    store.close()
    assert balances(path, "acme", "beta") == [1.5, -1.0]


def _execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        for statement in statements:
            other.execute(statement)


_SEVEN = "SELECT 'acme' tenant, 'cpu' resource, 7.0 balance_tokens"


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER TABLE ledger ADD COLUMN more REAL DEFAULT 0"],
        ["DROP TABLE ledger", f"CREATE TABLE ledger AS {_SEVEN}"],
        [
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'spent_tokens REAL', 'spent_tokens SEAL')",
        ],
        ["DROP TABLE ledger", f"CREATE VIEW ledger AS {_SEVEN}"],
        ["DROP TABLE ledger", "PRAGMA user_version = 1"],
        ["DROP TABLE ledger", "PRAGMA user_version = 0", f"CREATE TABLE ledger AS {_SEVEN}"],
    ],
)
def test_a_table_that_no_agent_made_is_set_aside(tmp_path: Path, statements: list[str]) -> None:
    path = tmp_path / "state.db"
    saved(path)
    _execute(path, *statements)
    assert balances(path, "acme") == [0.0]
    assert len(list(tmp_path.glob("state.db.damaged-*"))) == 1
    saved(path)
    assert balances(path, "acme") == [1.5]


@pytest.mark.parametrize(
    "number", ["balance_tokens = 1e300", "balance_tokens = -1e25", "issued_tokens = -1.0"]
)
def test_numbers_that_no_ledger_comes_to_are_told_and_cost_no_other_tenant(
    tmp_path: Path, number: str
) -> None:
    path = tmp_path / "state.db"
    saved(path)
    _execute(path, f"UPDATE ledger SET {number} WHERE tenant = 'acme'")  # noqa: S608
    with capture_logs() as logs:
        assert balances(path, "acme", "beta") == [0.0, -1.0]
    assert [one["rows"] for one in logs] == [1]


def test_a_file_that_says_itself_that_nobody_may_write_it_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    saved(path)
    content = bytearray(path.read_bytes())
    content[18] = 0xFF  # the version of the format that it takes to write it
    path.write_bytes(content)
    saved(path)
    assert len(list(tmp_path.glob("state.db.damaged-*"))) == 1
    assert balances(path, "acme") == [1.5]


def test_a_name_that_is_no_text_costs_no_other_tenant(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    saved(path)
    _execute(path, "UPDATE ledger SET tenant = CAST(x'ff00' AS TEXT) WHERE tenant = 'acme'")
    assert balances(path, "acme", "beta") == [0.0, -1.0]
