"""What was learned of events, in SQLite, bounded: what was seen longest ago goes first.

A damaged file is set aside; whatever the file does, the agent goes on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from agent.database import Database, DatabaseError, Schema, connected, opened

log = structlog.get_logger()

EVENTS_NAME = "events.db"
MOST_ROWS = 200_000  # of some 100 bytes
_MOST_NUMBER = 1e6
_TABLE = """
CREATE TABLE IF NOT EXISTS uplift (
    event TEXT NOT NULL,
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    log_sum REAL NOT NULL,
    weight REAL NOT NULL,
    occurrences INTEGER NOT NULL,
    seen_at_s REAL NOT NULL,
    PRIMARY KEY (event, tenant, resource)
) WITHOUT ROWID
"""
_SCHEMA = Schema(version=1, tables=(_TABLE,))
_INSERT = "INSERT OR REPLACE INTO uplift VALUES (?, ?, ?, ?, ?, ?, ?)"
_RECALL = """
SELECT CAST(event AS BLOB), CAST(tenant AS BLOB), CAST(resource AS BLOB),
    log_sum, weight, occurrences FROM uplift ORDER BY seen_at_s
"""
_FORGET = """
DELETE FROM uplift WHERE (event, tenant, resource) IN (
    SELECT event, tenant, resource FROM uplift ORDER BY seen_at_s LIMIT max(
        (SELECT count(*) FROM uplift) - ?, 0))
"""

# Event, tenant, resource; sum of logarithms, weight, number of occurrences: see `Learned`.
Row = tuple[str, str, str, float, float, int]


class LearnedStore:
    """The file; `problem` says why what is learned would not outlive the agent, if that is so."""

    def __init__(self, path: Path, *, most_rows: int = MOST_ROWS) -> None:
        self._path, self._most_rows = path, most_rows
        self.problem: str | None = None
        self._database = self._opened()

    def rows(self) -> Iterator[Row]:
        """Yield what was saved, the oldest first, without what no agent writes."""
        passed_over = 0
        try:
            for row in self._database.rows(_RECALL):
                sound = _sound(row)
                passed_over += sound is None
                if sound is not None:
                    yield sound
        except DatabaseError as error:
            log.warning("learned uplift not read", path=str(self._path), problem=str(error))
        if passed_over:
            log.warning("rows of no sense passed over", path=str(self._path), rows=passed_over)

    def save(self, rows: Sequence[Row], seen_at_s: float) -> None:
        """Put these rows in place of those of the same names, in one transaction."""
        try:
            with self._database.transaction():
                self._database.run_many(_INSERT, [(*row, seen_at_s) for row in rows])
                self._database.run(_FORGET, (self._most_rows,))
        except DatabaseError as error:
            log.warning("learned uplift not saved", path=str(self._path), problem=str(error))
            self.problem = f"{self._path}: {error}"

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _opened(self) -> Database:
        try:
            return opened(self._path, _SCHEMA)
        except (OSError, DatabaseError) as error:
            self.problem = f"{self._path}: {error}"
            log.warning("learned uplift kept in memory only", path=str(self._path))
            return connected(Path(":memory:"), _SCHEMA)


def _sound(row: tuple[Any, ...]) -> Row | None:
    """Return a row as an agent writes it; None where none has written this one.

    Names are read as bytes: one that is no text would cost all the others.
    """
    *names, log_sum, weight, count = row
    is_sound = (
        all(isinstance(name, bytes) for name in names)
        and isinstance(log_sum, float)
        and isinstance(weight, float)
        and isinstance(count, int)
        and abs(log_sum) <= _MOST_NUMBER  # not a NaN either
        and 0 < weight <= _MOST_NUMBER
        and 0 < count < 1 << 31
    )
    if not is_sound:
        return None
    try:
        event, tenant, resource = (name.decode() for name in names)
    except UnicodeDecodeError:
        return None
    return event, tenant, resource, log_sum, weight, count
