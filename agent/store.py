"""What outlives the agent: balances in SQLite, bounded to the tenants that there are.

A damaged file is set aside and the agent starts fresh; a full disk costs memory of balances,
never a tick.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent.database import Database, DatabaseError, Schema, opened
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
_RECALL = """
SELECT tenant, resource,
    balance_tokens, issued_tokens, spent_tokens, expired_tokens, left_fraction FROM ledger
"""
_INSERT = "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)"
_MOST_TOKENS = 1e24  # a terabyte a second for 30,000 years
_CLOSE_WAIT_S = 1.0
_Row = tuple[str, str, *tuple[float, ...]]


class Store:
    """The state file; every method keeps the agent going whatever the file does.

    `problem` says why balances would not outlive the agent now, None while they would.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem: str | None = None
        self._opener: threading.Thread | None = None
        self._database: Database | None = None
        self._open()

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
        if self._opener is not None and self._opener.is_alive():
            return
        if self._database is None:
            self._opener = threading.Thread(target=self._try_again, args=(rows,), daemon=True)
            with suppress(RuntimeError):  # no room for a thread now
                self._opener.start()
        else:
            self._write(self._database, rows)

    def load(self, roster: Roster) -> dict[Resource, Ledger]:
        """Return the ledgers as they were saved; a tenant that is not stored opens at zero."""
        at = {name: position for position, name in enumerate(roster.names)}
        columns = {
            str(resource): np.zeros((len(_columns(Ledger.opened(0))), len(roster)))
            for resource in roster.terms
        }
        passed_over = 0
        for tenant, resource, *numbers in self._rows():
            is_sound = _are_sound(numbers)
            passed_over += not is_sound
            if is_sound and tenant in at and resource in columns:
                columns[resource][:, at[tenant]] = numbers
        if passed_over:
            log.warning("rows of no sense passed over", path=str(self._path), rows=passed_over)
        for rows in columns.values():
            rows[-1] = np.clip(rows[-1], 0.0, 1.0)
        return {resource: Ledger(*columns[str(resource)]) for resource in roster.terms}

    def close(self) -> None:
        """Close the file, once what is being saved has been or a second has passed."""
        if self._opener is not None and self._opener.ident is not None:
            self._opener.join(_CLOSE_WAIT_S)
            if self._opener.is_alive():
                return  # it still uses the file, and ends with the process
        if self._database is not None:
            self._database.close()

    def _rows(self) -> list[tuple[Any, ...]]:
        if self._database is None:
            return []
        try:
            return self._database.rows(_RECALL)
        except DatabaseError as error:
            log.warning("balances not read", path=str(self._path), problem=str(error))
            return []

    def _try_again(self, rows: Sequence[_Row]) -> None:
        """Open the file beside the ticks, which no disk keeps waiting, and save what there is."""
        self._open()
        if self._database is not None:
            self._write(self._database, rows)

    def _write(self, database: Database, rows: Sequence[_Row]) -> None:
        try:
            with database.transaction():
                database.run("DELETE FROM ledger")
                database.run_many(_INSERT, rows)
        except DatabaseError as error:
            self._failed("balances not saved", error)
        else:
            if self.problem is not None:
                log.info("balances saved again", path=str(self._path))
            self.problem = None

    def _open(self) -> None:
        try:
            self._database = opened(self._path, _SCHEMA, is_shared=True)
        except (OSError, DatabaseError) as error:
            self._failed("state kept in memory only", error)

    def _failed(self, what: str, error: Exception) -> None:
        if self.problem is None:  # said once, not every step
            log.warning(what, path=str(self._path), problem=str(error))
        self.problem = f"{self._path}: {error}"


def _are_sound(numbers: Sequence[object]) -> bool:
    """Say whether these are numbers of a ledger; totals are never less than nothing."""
    found = [one for one in numbers if isinstance(one, float) and math.isfinite(one)]
    if len(found) != len(numbers):
        return False
    balance, *totals, _ = found
    return abs(balance) <= _MOST_TOKENS and all(0 <= one <= _MOST_TOKENS for one in totals)


def _columns(ledger: Ledger) -> Sequence[Floats]:
    return (ledger.balance, ledger.issued, ledger.spent, ledger.expired, ledger.left_fraction)
