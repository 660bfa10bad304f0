"""SQLite files that outlive the agent: opened with care, set aside where they are damaged.

Nothing here knows what is kept in them, and nothing else uses SQLite: whatever it raises leaves
here as an error of ours.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from enforce.durable import aside_of

log = structlog.get_logger()

_PATIENCE_S = 0.5  # where another process reads
_READERS_PATIENCE_S = 2.0
_PRIMARY = 0xFF  # of an extended error code


class DatabaseError(Exception):
    """A file cannot be used now; the message says why."""


class DamagedError(DatabaseError):
    """It is not as an agent wrote it."""


class LaterVersionError(DatabaseError):
    """An agent of a later version wrote it."""

    def __init__(self, version: int, known: int) -> None:
        self.version = version
        super().__init__(f"written by a newer agent: version {version}, known up to {known}")


class HeldError(DatabaseError):
    """Another process holds it."""


class DeniedError(DatabaseError):
    """This user cannot open or write it."""


class ReadOnlyError(DeniedError):
    """It is not to be written, by itself or by what it is in."""


_KINDS = {
    sqlite3.SQLITE_BUSY: HeldError,
    sqlite3.SQLITE_LOCKED: HeldError,
    sqlite3.SQLITE_PROTOCOL: HeldError,
    sqlite3.SQLITE_PERM: DeniedError,
    sqlite3.SQLITE_AUTH: DeniedError,
    sqlite3.SQLITE_CANTOPEN: DeniedError,
    sqlite3.SQLITE_READONLY: DeniedError,
    sqlite3.SQLITE_FULL: DatabaseError,
    sqlite3.SQLITE_IOERR: DatabaseError,
    sqlite3.SQLITE_NOMEM: DatabaseError,
    sqlite3.SQLITE_INTERRUPT: DatabaseError,
}


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file holds; `migrations` lead from a version to the one after it."""

    version: int
    tables: Sequence[str]
    migrations: Mapping[int, str] = field(default_factory=dict)


class Database:
    """An open file; every method raises `DatabaseError`, and nothing of SQLite's own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # One name that is no text must not cost all the others.
        connection.text_factory = lambda text: text.decode(errors="replace")

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all that a statement finds."""
        with _own_errors():
            return self._connection.execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement; return the number of the row that it has added, if it has."""
        with _own_errors():
            return self._connection.execute(statement, values).lastrowid or 0

    def run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for each row."""
        with _own_errors():
            self._connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is run meanwhile, or nothing of it where anything is raised."""
        with _own_errors(), self._connection:
            yield

    def close(self) -> None:
        """Close the file."""
        with suppress(DatabaseError), _own_errors():
            self._connection.close()


def opened(path: Path, schema: Schema, *, is_shared: bool = False) -> Database:
    """Open a file, made where there is none; an unusable one is set aside, and a fresh one made.

    One that `is_shared` may be used by several threads, of which one at a time does.

    Raises:
        DatabaseError: It can neither be used nor set aside.
        OSError: It is unusable, and cannot be set aside.

    """
    try:
        return connected(path, schema, is_shared=is_shared)
    except (DamagedError, LaterVersionError, ReadOnlyError) as error:
        if isinstance(error, ReadOnlyError) and not _may_write(path):
            raise
        why = f"version-{error.version}" if isinstance(error, LaterVersionError) else "damaged"
        aside = _set_aside(path, why)
        database = connected(path, schema, is_shared=is_shared)
        log.warning("file not usable: set aside, starting fresh", path=aside, problem=str(error))
        return database


def connected(path: Path, schema: Schema, *, is_shared: bool = False) -> Database:
    """Open and check one file.

    Raises:
        DamagedError: It is not as an agent wrote it.
        LaterVersionError: An agent of a later version wrote it.
        DatabaseError: It cannot be used now.
        OSError: Nobody can say what it is.

    """
    _check_kind(path)
    with _own_errors():
        connection = sqlite3.connect(path, timeout=_PATIENCE_S, check_same_thread=not is_shared)
    return _checked(Database(connection), schema, _prepare)


def read_only(path: Path, schema: Schema) -> Database:
    """Open a file of this or an earlier version to be read; nothing of it is checked but that.

    Raises:
        DatabaseError: As `connected` does.
        OSError: Nobody can say what it is.

    """
    _check_kind(path)
    with _own_errors():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_READERS_PATIENCE_S
        )
    return _checked(Database(connection), schema, _version)


def _checked(
    database: Database, schema: Schema, check: Callable[[Database, Schema], object]
) -> Database:
    try:
        check(database, schema)
    except DatabaseError:
        database.close()
        raise
    return database


def _check_kind(path: Path) -> None:
    if path.exists() and not path.is_file():  # opening a pipe waits for who writes it
        raise DamagedError("not a regular file")


def _version(database: Database, schema: Schema) -> int:
    ((version,),) = database.rows("PRAGMA user_version")
    if version > schema.version:
        raise LaterVersionError(version, schema.version)
    if version < 0:
        raise DamagedError(f"version {version}, expected {schema.version}")
    return int(version)


def _prepare(database: Database, schema: Schema) -> None:
    version = _version(database, schema)
    ((verdict,), *_) = database.rows("PRAGMA quick_check")
    if verdict != "ok":
        raise DamagedError(verdict.partition("\n")[0])
    database.rows("PRAGMA journal_mode = WAL")
    database.run("PRAGMA synchronous = NORMAL")  # in WAL mode: no fsync but at checkpoints
    with database.transaction():
        # Version 0 is a file that was just made.
        for before in range(version or schema.version, schema.version):
            database.run(schema.migrations[before])
        for table in schema.tables:
            database.run(table)
        database.run(f"PRAGMA user_version = {schema.version}")
    _check_tables(database, schema)


def _check_tables(database: Database, schema: Schema) -> None:
    """Raise `DamagedError` where a table has other columns than an agent would have made."""
    plain = Database(sqlite3.connect(":memory:"))
    for table in schema.tables:
        plain.run(table)
    wanted, found = _columns_of(plain), _columns_of(database)
    plain.close()
    for name, columns in wanted.items():
        if found.get(name) != columns:
            raise DamagedError(f"table {name} is not as it should be")


def _columns_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return name, type and place in the primary key of each column, by table."""
    tables = database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    columns = "SELECT name, type, pk FROM pragma_table_xinfo(?) ORDER BY cid"
    return {name: database.rows(columns, (name,)) for (name,) in tables}


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise `DatabaseError` for whatever SQLite raises.

    What it quotes of a damaged file may be no text, for which its own error cannot be made.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _kind_of(getattr(error, "sqlite_errorcode", None))(str(error)) from error
    except OverflowError as error:  # a number that no column can hold
        raise DatabaseError(str(error)) from error
    except UnicodeDecodeError as error:
        raise DamagedError("damaged, and what is wrong with it is no text") from error


def _kind_of(code: int | None) -> type[DatabaseError]:
    if code is None:  # it was not the file that was at fault
        return DatabaseError
    if code == sqlite3.SQLITE_READONLY:
        return ReadOnlyError
    return _KINDS.get(code & _PRIMARY, DamagedError)


def _may_write(path: Path) -> bool:
    """Say whether the file says of itself that it is not to be written: its header is damaged."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _set_aside(path: Path, why: str) -> str:
    """Rename an unusable file and its journals, so that nothing is lost and nothing is reused."""
    aside = aside_of(path, why)
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{path}{suffix}").exists():
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")  # noqa: PTH105
    return str(aside)
