"""What the last tick knew, for an agent that is started after a kill: balances and counters.

Two files of the runtime folder take turns, so that a kill in the middle of a write leaves the
other; they are as good as memory, and gone with the next boot.  The counters say what was used
until the last tick: what is used since is booked once, by whoever ticks next.
"""

import errno
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np
import structlog

from agent.tenant import Floats, Resource, Roster, carried_over, positions_among
from agent.tokens import Ledger
from enforce.boot_record import boot_id
from enforce.columns import COUNTERS, Control, DiskColumns, HostSample, Limits, Vitals

log = structlog.get_logger()

_NAMES = ("tick.0", "tick.1")
_MAGIC = b"tidegate tick 1\n"
# Magic, number, when the sample was taken, bytes of the head, bytes of the columns; and, behind
# it, the checksum of all else.
_START, _CHECKSUM = struct.Struct("<16sQdQQ"), struct.Struct("<I")
_MOST_BYTES = 1 << 28
_LEDGER = tuple(one.name for one in fields(Ledger))


class _Head(msgspec.Struct, frozen=True):
    """What the columns are of, in their order."""

    boot_id: str
    tenants: tuple[str, ...]
    ledgers: tuple[str, ...]
    counters: tuple[str, ...]
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """One file's content; `columns` has shape (columns, tenants)."""

    number: int
    taken_at_s: float
    head: _Head
    columns: Floats


class Checkpoint:
    """The two files; `problem` says why a kill would lose more than a tick, if that is so."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._boot_id = folder, boot_id()
        self.problem: str | None = None
        found = [_read(folder / name) for name in _NAMES]
        self._kept = max((one for one in found if one), key=lambda one: one.number, default=None)
        if self._kept is not None and self._kept.head.boot_id != self._boot_id:
            self._kept = None
        self.number = 0 if self._kept is None else self._kept.number
        self._encoded: tuple[_Head, bytes] | None = None

    def save(self, roster: Roster, ledgers: Mapping[Resource, Ledger], sample: HostSample) -> None:
        """Keep what a tick leaves; a fault in it costs a tick nothing."""
        spent = {r: ledger for r, ledger in ledgers.items() if r.is_spent}
        head = self._head(roster, [str(resource) for resource in spent], sample.disks.names)
        columns = np.stack(
            [getattr(ledger, name) for ledger in spent.values() for name in _LEDGER]
            + [sample.cgroup_id]
            + [getattr(sample, name) for name in COUNTERS]
            + _disk_rows(sample.disks),
            dtype=np.float64,
        )
        self.number += 1
        sizes = (len(head), columns.nbytes)
        start = _START.pack(_MAGIC, self.number, sample.taken_at_s, *sizes)
        checksum = _CHECKSUM.pack(_checksum(start, head, columns.data))
        path = self._folder / _NAMES[self.number % len(_NAMES)]
        try:
            _write(path, start + checksum + head, columns.data)
            self.problem = None
        except OSError as error:
            if self.problem is None:  # said once, not every tick
                log.warning("a kill would lose a step", path=str(path), problem=str(error))
            self.problem = f"{path}: {error.strerror}"
            for name in _NAMES:  # rather nothing than something old
                with suppress(OSError):
                    (self._folder / name).unlink()

    def ledgers(self, roster: Roster, before: Mapping[Resource, Ledger]) -> dict[Resource, Ledger]:
        """Return the ledgers as the last tick left them; as `before` of whom it did not know."""
        kept, found = self._kept, dict(before)
        if kept is None:
            return found
        positions = positions_among(roster.names, kept.head.tenants)
        for place, name in enumerate(kept.head.ledgers):
            rows = kept.columns[place * len(_LEDGER) : (place + 1) * len(_LEDGER)]
            resource = next((one for one in before if str(one) == name), None)
            if resource is not None and np.isfinite(rows).all():
                then = (carried_over(row, positions, 0.0) for row in rows)
                now = (getattr(before[resource], column) for column in _LEDGER)
                pairs = zip(then, now, strict=True)
                is_known = positions >= 0
                found[resource] = Ledger(*(np.where(is_known, one, two) for one, two in pairs))
        return found

    def sample(self, roster: Roster, disks: Sequence[str]) -> HostSample | None:
        """Return the counters that the last tick saw, None where there are none to compare with."""
        kept = self._kept
        if kept is None or kept.head.counters != COUNTERS or kept.head.disks != tuple(disks):
            return None
        positions = positions_among(roster.names, kept.head.tenants)
        rows = carried_over(kept.columns[len(kept.head.ledgers) * len(_LEDGER) :], positions)
        counters = dict(zip(COUNTERS, rows[1:], strict=False))
        by_disk = rows[1 + len(COUNTERS) :].reshape(4, len(disks), len(roster))
        nothing = np.full(len(roster), np.nan)
        return HostSample(
            taken_at_s=kept.taken_at_s,
            cgroup_id=np.nan_to_num(rows[0], nan=0.0).astype(np.int64),
            in_force=Limits(*(nothing for _ in Control)),
            disks=DiskColumns(tuple(disks), *by_disk),
            vitals=Vitals(),
            anew=frozenset(),
            **counters,
        )

    def _head(self, roster: Roster, ledgers: Sequence[str], disks: Sequence[str]) -> bytes:
        head = _Head(self._boot_id, roster.names, tuple(ledgers), COUNTERS, tuple(disks))
        if self._encoded is None or self._encoded[0] != head:
            self._encoded = head, msgspec.json.encode(head)
        return self._encoded[1]


def _disk_rows(disks: DiskColumns) -> list[Floats]:
    """Return the disks' counters, kind by kind, disks within; none where none are told apart."""
    if not disks.names:
        return []
    return [*disks.read_bytes, *disks.write_bytes, *disks.read_ops, *disks.write_ops]


def _write(path: Path, *parts: bytes | memoryview) -> None:
    with open(path, "r+b" if path.exists() else "wb", buffering=0) as file:
        if os.writev(file.fileno(), parts) < sum(memoryview(part).nbytes for part in parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read(path: Path) -> _Kept | None:
    """Return what a file holds, None where it is no whole checkpoint."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        content = path.read_bytes()
        magic, number, taken_at_s, head_bytes, column_bytes = _START.unpack_from(content)
        (checksum,) = _CHECKSUM.unpack_from(content, _START.size)
        behind = _START.size + _CHECKSUM.size
        # Behind that is what is left of a longer one: a file is written over, and not cut.
        head, rest = content[behind : behind + head_bytes], content[behind + head_bytes :]
        columns = rest[:column_bytes]
        if magic != _MAGIC or checksum != _checksum(content[:behind], head, columns):
            return None
        said = msgspec.json.decode(head, type=_Head)
        return _Kept(number, taken_at_s, said, _table(said, columns))
    except (OSError, ValueError, struct.error, msgspec.MsgspecError):
        return None


def _checksum(start: bytes, head: bytes, columns: bytes | memoryview) -> int:
    """Return the checksum of all but itself."""
    return zlib.crc32(columns, zlib.crc32(head, zlib.crc32(start[: _START.size])))


def _table(head: _Head, columns: bytes) -> Floats:
    """Return the columns.

    Raises:
        ValueError: There are more or fewer than the head says.

    """
    count = len(_LEDGER) * len(head.ledgers) + 1 + len(head.counters) + 4 * len(head.disks)
    return np.frombuffer(columns, dtype=np.float64).reshape(count, len(head.tenants))
