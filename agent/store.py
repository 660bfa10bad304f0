"""What outlives the agent: balances in SQLite, bounded to the tenants that there are.

A damaged file is set aside and the agent starts fresh; a full disk costs memory of balances,
never a tick.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog

from agent.database import Schema, connected, opened
from agent.tenant import Floats, Resource, Roster
from agent.tokens import Ledger

log = structlog.get_logger()

_TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    balance_tokens REAL NOT NULL,
    issued_tokens REAL NOT NULL,
    spent_tokens REAL NOT NULL,
    expired_tokens REAL NOT NULL,
    left_fraction REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, resource)
) WITHOUT ROWID
"""
_FROM_VERSION_1 = "ALTER TABLE ledger ADD COLUMN left_fraction REAL NOT NULL DEFAULT 0"
_SCHEMA = Schema(version=2, tables=(_TABLE,), migrations={1: _FROM_VERSION_1})
_INSERT = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)"


class Store:
    """The state file; every method keeps the agent going whatever the file does.

    `problem` says why balances would not outlive the agent now, None while they would.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_in_memory = False
        self.problem: str | None = None
        self._connection = self._opened()

    def save(self, roster: Roster, ledgers: Mapping[Resource, Ledger]) -> None:
        """Replace what is stored by the ledgers of today's tenants, in one transaction.

        Where there is no tenant, what is stored stays: their files may not be mounted yet.
        """
        if not len(roster):
            return
        rows = [
            (name, str(resource), *map(float, numbers))
            for resource, ledger in ledgers.items()
            if resource.is_spent
            for name, *numbers in zip(roster.names, *_columns(ledger), strict=True)
        ]
        try:
            with self._connection:
                self._connection.execute("DELETE FROM ledger")
                self._connection.executemany(_INSERT, rows)
        except sqlite3.Error as error:
            if self.problem is None:  # said once, not every step
                log.warning("balances not saved", path=str(self._path), problem=str(error))
            self.problem = f"{self._path}: {error}"
        else:
            self.problem = self.problem if self._is_in_memory else None

    def load(self, roster: Roster) -> dict[Resource, Ledger]:
        """Return the ledgers as they were saved; a tenant that is not stored opens at zero."""
        at = {name: position for position, name in enumerate(roster.names)}
        columns = {
            str(resource): np.zeros((len(_columns(Ledger.opened(0))), len(roster)))
            for resource in roster.terms
        }
        for tenant, resource, *numbers in self._rows():
            is_sound = all(isinstance(number, float) for number in numbers)
            if tenant in at and resource in columns and is_sound and np.all(np.isfinite(numbers)):
                columns[resource][:, at[tenant]] = numbers
        for rows in columns.values():
            rows[-1] = np.clip(rows[-1], 0.0, 1.0)
        return {resource: Ledger(*columns[str(resource)]) for resource in roster.terms}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self) -> list[tuple[str, str, *tuple[float, ...]]]:
        try:
            return self._connection.execute("SELECT * FROM ledger").fetchall()
        except sqlite3.Error as error:
            log.warning("balances not read", path=str(self._path), problem=str(error))
            return []

    def _opened(self) -> sqlite3.Connection:
        try:
            return opened(self._path, _SCHEMA)
        except (OSError, sqlite3.Error) as error:
            return self._in_memory(str(error))

    def _in_memory(self, problem: str) -> sqlite3.Connection:
        log.warning("state kept in memory only", path=str(self._path), problem=problem)
        self._is_in_memory, self.problem = True, f"{self._path}: {problem}"
        return connected(Path(":memory:"), _SCHEMA)


def _columns(ledger: Ledger) -> Sequence[Floats]:
    return (ledger.balance, ledger.issued, ledger.spent, ledger.expired, ledger.left_fraction)
