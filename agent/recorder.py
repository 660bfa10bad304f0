"""Records each closed step in SQLite, bounded: fine for two days, coarse for four weeks.

Whatever the file does, the agent goes on: what cannot be recorded is a problem that is told.  A
thread writes, so that no tick waits for a disk that tenants keep busy.
"""

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import structlog

from agent.database import Database, DatabaseError, opened
from agent.history import (
    COARSE_S,
    COARSE_STEPS,
    FINE,
    FINE_S,
    MOST_ROWS,
    SCHEMA,
    Measure,
    SeriesNames,
    Singles,
    closed_step,
    is_same_step,
    on_grid,
    packed,
    read_rows,
)
from agent.steps import ClosedStep
from agent.tenant import Floats

log = structlog.get_logger()

_MOST_WAITING = 4  # steps; what comes while the disk is further behind is lost
_CLOSE_WAIT_S = 5.0
# Rows x series that are kept, of six numbers each: very many series are kept for less long.
_FINE_NUMBERS, _COARSE_NUMBERS = 66_000_000, 33_000_000
_INSERT_FINE = "INSERT INTO fine (ended_at_s, step_s, series, body) VALUES (?, ?, ?, ?)"
_INSERT_COARSE = "INSERT INTO coarse VALUES (?, ?, ?, ?, ?)"
# A coarse row has the id of the last fine one that it was made of.
_UNPOOLED = (
    "SELECT count(*), max(id) FROM fine WHERE id > (SELECT coalesce(max(id), 0) FROM coarse)"
)
_FORGET_FINE = "DELETE FROM fine WHERE id <= (SELECT max(id) FROM fine) - ?"
_FORGET_COARSE = "DELETE FROM coarse WHERE id <= (SELECT max(id) FROM fine) - ?"
_FORGET_NAMES = (
    "DELETE FROM series WHERE id NOT IN (SELECT series FROM fine UNION SELECT series FROM coarse)"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One step to be written."""

    ended_at_s: float
    step_s: float
    names: SeriesNames
    step: ClosedStep
    machine: Floats


class Recorder:
    """The history file, written by the agent alone; every method keeps the agent going.

    `problem` says why steps are not recorded now, None while they are.
    """

    def __init__(self, path: Path, *, most_waiting: int = _MOST_WAITING) -> None:
        self._path = path
        self.problem: str | None = None
        self._names: SeriesNames | None = None
        self._names_id = 0
        self._waiting: queue.Queue[_Entry | None] = queue.Queue(most_waiting)
        self._writer: threading.Thread | None = None
        self._database: Database | None = None
        self._open()

    def _open(self) -> None:
        """Open the file, now or with a later step: what is in the way may go."""
        try:
            self._database = opened(self._path, SCHEMA, is_shared=True)
        except (OSError, DatabaseError) as error:
            self._failed(error)

    def add(
        self,
        step: ClosedStep,
        names: SeriesNames,
        *,
        machine: Floats,
        ended_at_s: float,
        step_s: float,
    ) -> None:
        """Have one step recorded and what is too old forgotten, in one transaction.

        `machine` (series,) is what the machine has of each resource; `ended_at_s` is UNIX time.
        """
        entry = _Entry(ended_at_s, step_s, names, step, machine)
        if not self._has_writer():
            self._write(entry)
            return
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._failed(OSError("the disk is too slow: a step was left out"))

    def _has_writer(self) -> bool:
        """Start the thread that writes; without room for one a step is written at once."""
        if self._writer is None:
            writer = threading.Thread(target=self._run, name="history", daemon=True)
            with suppress(RuntimeError):
                writer.start()
                self._writer = writer
        return self._writer is not None

    def _run(self) -> None:
        while (entry := self._waiting.get()) is not None:
            self._write(entry)

    def _write(self, entry: _Entry) -> None:
        if self._database is None:
            self._open()
        database = self._database
        if database is None:
            return
        try:
            with database.transaction():
                series = self._id_of(database, entry.names)
                body = packed(entry.step, entry.machine)
                row = (entry.ended_at_s, entry.step_s, series, body)
                database.run(_INSERT_FINE, row)
                _pool(database, entry.names, row, entry.machine)
                _forget(database, entry.step_s, len(entry.names))
        except (OSError, ValueError, DatabaseError) as error:
            self._names = None  # what it had stored may be gone with the transaction
            self._failed(error)
        else:
            self.problem = None

    def past_demand(self, names: SeriesNames, *, step_s: float, most: int, now_s: float) -> Singles:
        """Return what these series wanted in the last steps, shape (at most `most`, series).

        A step in which the agent did not run is a gap (NaN), as one of who was not there is.
        """
        nothing = np.empty((0, len(names)), dtype=np.float32)
        if self._database is None:
            return nothing
        try:
            rows = read_rows(self._database, FINE, most=most, now_s=now_s)
        except DatabaseError as error:
            self._failed(error)
            return nothing
        if not rows or not is_same_step(rows[-1].step_s, step_s):
            return nothing
        last_s = rows[-1].ended_at_s + rows[-1].place * step_s
        missed = min(max(int((now_s - last_s) / step_s), 0), most)
        (known,) = on_grid(rows, names, [Measure.DEMAND])
        gap = np.full((missed, len(names)), np.nan, dtype=np.float32)
        return np.concatenate((known, gap))[-most:]

    def close(self) -> None:
        """Close the file, once what waits has been written or a few seconds have passed."""
        if self._writer is not None:
            with suppress(queue.Full):
                self._waiting.put(None, timeout=_CLOSE_WAIT_S)
            self._writer.join(_CLOSE_WAIT_S)
            if self._writer.is_alive():
                return  # it still uses the file, and ends with the process
        if self._database is not None:
            self._database.close()

    def _id_of(self, database: Database, names: SeriesNames) -> int:
        """Return the number under which these names are stored; a reload brings others."""
        if names == self._names:
            return self._names_id
        database.run(_FORGET_NAMES)
        text = msgspec.json.encode(names)
        found = database.rows("SELECT id FROM series WHERE names = ?", (text,))
        if found:
            number = int(found[0][0])
        else:
            number = database.run("INSERT INTO series (names) VALUES (?)", (text,))
        self._names, self._names_id = names, number
        return self._names_id

    def _failed(self, error: Exception) -> None:
        if self.problem is None:  # said once, not every step
            log.warning("history not recorded", path=str(self._path), problem=str(error))
        self.problem = f"{self._path}: {error}"


def pooled(steps: Sequence[ClosedStep]) -> ClosedStep:
    """Return what several steps came to together; what none of them knew is NaN."""
    return ClosedStep(
        demand=_mean_of_known([step.demand for step in steps]),
        peak=np.fmax.reduce([step.peak for step in steps]),
        usage=_mean_of_known([step.usage for step in steps]),
        limit=_mean_of_known([step.limit for step in steps]),
        expected=_mean_if_any([step.expected for step in steps]),
        bound=_mean_if_any([step.bound for step in steps]),
    )


def _mean_if_any(columns: Sequence[Floats | None]) -> Floats | None:
    known = [column for column in columns if column is not None]
    return _mean_of_known(known) if known else None


def _mean_of_known(columns: Sequence[Floats]) -> Floats:
    stacked = np.stack(columns)
    known = ~np.isnan(stacked)
    total, count = np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _pool(
    database: Database,
    names: SeriesNames,
    row: tuple[float, float, int, bytes],
    machine: Floats,
) -> None:
    """Add a coarse row where enough steps have come since the last; who has left is left out."""
    ended_at_s, step_s, series, _ = row
    ((count, last_id),) = database.rows(_UNPOOLED)
    if count < COARSE_STEPS:
        return
    rows = read_rows(database, FINE, most=COARSE_STEPS)
    if not rows:
        return
    grid = on_grid(rows, names, list(Measure))
    body = packed(pooled([closed_step(grid[:, at]) for at in range(grid.shape[1])]), machine)
    coarse = (last_id, ended_at_s, COARSE_STEPS * step_s, series, body)
    database.run(_INSERT_COARSE, coarse)


def _forget(database: Database, step_s: float, n_series: int) -> None:
    for statement, lasts_s, numbers, each in (
        (_FORGET_FINE, FINE_S, _FINE_NUMBERS, 1),
        (_FORGET_COARSE, COARSE_S, _COARSE_NUMBERS, COARSE_STEPS),
    ):
        rows = min(lasts_s / (step_s * each), numbers / max(n_series, 1), MOST_ROWS)
        database.run(statement, (max(int(rows), 1) * each,))
