"""Keeps pins in SQLite: they outlive the agent, and end when their time is over.

Threads of the control socket put them there, the tick reads them.  A damaged file is set aside;
whatever the file does, the agent goes on.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from agent.database import Database, DatabaseError, Schema, connected, opened
from agent.pins import Origin, Pin, Pins
from agent.tenant import Roster
from enforce.boot_record import boot_id
from enforce.columns import AnyControl, control_named

log = structlog.get_logger()

PINS_NAME = "pins.db"
_TABLE = """
CREATE TABLE IF NOT EXISTS pin (
    tenant TEXT NOT NULL,
    control TEXT NOT NULL,
    value REAL NOT NULL,
    ends_at_s REAL NOT NULL,
    for_s REAL NOT NULL,
    origin TEXT NOT NULL,
    cgroup_id INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    PRIMARY KEY (tenant, control)
) WITHOUT ROWID
"""
_SCHEMA = Schema(version=1, tables=(_TABLE,))
_INSERT = "INSERT OR REPLACE INTO pin VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_RECALL = "SELECT tenant, control, value, ends_at_s, for_s, origin, cgroup_id, boot_id FROM pin"
_DELETE = "DELETE FROM pin WHERE tenant = ? AND control = ?"
_Key = tuple[str, AnyControl]


class PinBoard:
    """The pins that hold; `problem` says why they would not outlive the agent, if that is so."""

    def __init__(self, path: Path, *, unix_now_s: Callable[[], float]) -> None:
        self._path, self._unix_now_s = path, unix_now_s
        self._boot_id = boot_id()
        self._lock = threading.Lock()
        self.problem: str | None = None
        self._database = self._opened()
        self._pins: dict[_Key, Pin] = {}
        self._columns: tuple[Roster, Pins] | None = None
        self._next_end_s = math.inf
        self._recall(time.monotonic())

    def pins(self, roster: Roster, now_s: float) -> Pins:
        """Return the pins of these tenants that hold at `now_s` (CLOCK_MONOTONIC)."""
        with self._lock:
            if self._next_end_s <= now_s:
                self._end_those_over(now_s)
            if self._columns is None or self._columns[0] is not roster:
                self._columns = roster, Pins.of(self._pins.values(), roster)
            return self._columns[1]

    def of(self, tenant: str) -> tuple[Pin, ...]:
        """Return one tenant's pins."""
        with self._lock:
            found = [pin for pin in self._pins.values() if pin.tenant == tenant]
        return tuple(sorted(found, key=lambda pin: str(pin.control)))

    def put(self, pins: Iterable[Pin]) -> None:
        """Put pins in place of those of the same files; on disk when this returns."""
        found, now_s, unix_now_s = list(pins), time.monotonic(), self._unix_now_s()
        rows = [
            (
                pin.tenant,
                str(pin.control),
                pin.value,
                unix_now_s + pin.until_s - now_s,
                pin.until_s - now_s,
                str(pin.origin),
                pin.cgroup_id,
                self._boot_id,
            )
            for pin in found
        ]
        with self._lock:
            self._changed({**self._pins, **{(pin.tenant, pin.control): pin for pin in found}})
            self._write(_INSERT, rows)

    def drop(self, pins: Iterable[_Key]) -> None:
        """Forget pins, by tenant and file, without a word."""
        with self._lock:
            self._forget(list(pins))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _forget(self, keys: Sequence[_Key]) -> None:
        gone = set(keys)
        self._changed({key: pin for key, pin in self._pins.items() if key not in gone})
        self._write(_DELETE, [(tenant, str(control)) for tenant, control in keys])

    def _changed(self, pins: dict[_Key, Pin]) -> None:
        self._pins, self._columns = pins, None
        self._next_end_s = min((pin.until_s for pin in pins.values()), default=math.inf)

    def _end_those_over(self, now_s: float) -> None:
        over = [pin for pin in self._pins.values() if pin.until_s <= now_s]
        self._forget([(pin.tenant, pin.control) for pin in over])
        for pin in over:
            log.info("pin ends", tenant=pin.tenant, control=str(pin.control), set_by=pin.origin)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._database.transaction():
                self._database.run_many(statement, rows)
        except DatabaseError as error:
            if self.problem is None:
                log.warning("pins not saved", path=str(self._path), problem=str(error))
            self.problem = f"{self._path}: {error}"

    def _recall(self, now_s: float) -> None:
        """Read what an earlier agent kept: what is over is gone, and what a reboot took with it.

        A wall clock that was set meanwhile makes no pin longer than it was.
        """
        try:
            rows = self._database.rows(_RECALL)
        except DatabaseError as error:
            log.warning("pins not read", path=str(self._path), problem=str(error))
            return
        unix_now_s = self._unix_now_s()
        found = {}
        for tenant, control, value, ends_at_s, for_s, origin, cgroup_id, boot in rows:
            try:
                left_s = min(float(ends_at_s) - unix_now_s, float(for_s))
                pin = Pin(
                    str(tenant),
                    control_named(str(control)),
                    float(value),
                    now_s + left_s,
                    Origin(origin),
                    int(cgroup_id),
                )
            except (OverflowError, TypeError, ValueError):  # of no agent's writing
                continue
            is_of_this_boot = pin.origin is Origin.OPERATOR or boot == self._boot_id
            if left_s > 0 and pin.value >= 0 and is_of_this_boot:
                found[pin.tenant, pin.control] = pin
        self._changed(found)
        gone = [row[:2] for row in rows if (row[0], row[1]) not in found]
        self._write(_DELETE, gone)

    def _opened(self) -> Database:
        try:
            return opened(self._path, _SCHEMA, is_shared=True)
        except (OSError, DatabaseError) as error:
            self.problem = f"{self._path}: {error}"
            log.warning("pins kept in memory only", path=str(self._path), problem=str(error))
            return connected(Path(":memory:"), _SCHEMA, is_shared=True)
