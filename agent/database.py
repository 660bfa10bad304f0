"""SQLite files that outlive the agent: opened with care, set aside where they are damaged.

Nothing here knows what is kept in them.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

log = structlog.get_logger()

_PATIENCE_S = 0.5  # where another process reads


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file holds; `migrations` lead from a version to the one after it."""

    version: int
    tables: Sequence[str]
    migrations: Mapping[int, str] = field(default_factory=dict)


def opened(path: Path, schema: Schema, *, is_shared: bool = False) -> sqlite3.Connection:
    """Open a file, made where there is none; a damaged one is set aside, and a fresh one made.

    One that `is_shared` may be used by several threads, of which one at a time does.

    Raises:
        sqlite3.Error: It can neither be used nor set aside.
        OSError: It is damaged, and cannot be set aside.

    """
    try:
        return connected(path, schema, is_shared=is_shared)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = _set_aside(path)
        connection = connected(path, schema, is_shared=is_shared)
        log.warning("file damaged: set aside, starting fresh", path=aside, problem=str(error))
        return connection


def connected(path: Path, schema: Schema, *, is_shared: bool = False) -> sqlite3.Connection:
    """Open and check one file.

    Raises:
        sqlite3.DatabaseError: It is damaged, or of a version that this agent does not know.

    """
    if path.exists() and not path.is_file():  # opening a pipe waits for who writes it
        raise sqlite3.DatabaseError("not a regular file")
    connection = sqlite3.connect(path, timeout=_PATIENCE_S, check_same_thread=not is_shared)
    try:
        _prepare(connection, schema)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, schema: Schema) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in range(schema.version + 1):
        raise sqlite3.DatabaseError(f"version {version}, expected {schema.version}")
    (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict.partition("\n")[0])
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode: no fsync but at checkpoints
    with connection:
        # Version 0 is a file that was just made.
        for before in range(version or schema.version, schema.version):
            connection.execute(schema.migrations[before])
        for table in schema.tables:
            connection.execute(table)
        connection.execute(f"PRAGMA user_version = {schema.version}")


def _set_aside(path: Path) -> str:
    """Rename a damaged file and its journals, so that nothing is lost and nothing is reused."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{path}{suffix}").exists():
            os.replace(f"{path}{suffix}", f"{path}.damaged-{stamp}{suffix}")  # noqa: PTH105
    return f"{path}.damaged-{stamp}"
