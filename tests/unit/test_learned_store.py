"""What was learned of events, in its file: bounded, and sound whatever the file holds."""

import sqlite3
from contextlib import closing
from pathlib import Path

from structlog.testing import capture_logs

from agent.learned_store import LearnedStore


def test_rows_that_no_agent_writes_are_passed_over(tmp_path: Path) -> None:
    store = LearnedStore(tmp_path / "events.db")
    store.save([("match", "a", "cpu", 1.0, 1.0, 1)], 0.0)
    with closing(sqlite3.connect(tmp_path / "events.db")) as other, other:
        for tenant, log_sum, weight in (
            ("b", 1.0, float("inf")),
            ("c", 1.0, "x"),
            ("d", 1.0, -5.0),
            ("e", float("inf"), 1.0),
        ):
            row = ("match", tenant, "cpu", log_sum, weight, 1, 0.0)
            other.execute("INSERT INTO uplift VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        text = "INSERT INTO uplift VALUES (CAST(x'ff00' AS TEXT), 'f', 'cpu', 1.0, 1.0, 1, 0.0)"
        other.execute(text)
    with capture_logs() as logs:
        assert list(store.rows()) == [("match", "a", "cpu", 1.0, 1.0, 1)]
    assert [one["rows"] for one in logs] == [5]


def test_what_was_seen_longest_ago_is_forgotten_first(tmp_path: Path) -> None:
    store = LearnedStore(tmp_path / "events.db", most_rows=3)
    for at, tenant in enumerate("dcbad"):
        store.save([("match", tenant, "cpu", 1.0, 1.0, 1)], float(at))
    assert [row[1] for row in store.rows()] == ["b", "a", "d"]


def test_a_disk_that_takes_nothing_is_told_and_stops_nothing(tmp_path: Path) -> None:
    store = LearnedStore(tmp_path / "events.db")
    with closing(sqlite3.connect(tmp_path / "events.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        store.save([("match", "a", "cpu", 1.0, 1.0, 1)], 0.0)
    assert store.problem is not None
    assert "locked" in store.problem
