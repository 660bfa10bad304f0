"""Reads the counters and the limits in force of all tenants: kernel files in, columns out.

Three paces: what each tick needs is read each tick; event counters when the kernel signals them;
the rest in turns, but for tenants close to their memory.high: what of theirs is unreclaimable is
read each tick.  Limits of which the kernel says who wrote them are read then, and in turns that are
seldom: it tells of all writes.  Whether a tenant has a process is only asked, in its turn, where it
used no cpu since the last one.  No rates are made here.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.closeness import DiskCloseness, close_to_high
from enforce.columns import COUNTERS, DiskColumns, Floats, HostSample, Ints, Limits, NetColumns
from enforce.counters import disk_weights, numbers, stalled_us, table
from enforce.descriptors import (
    FILES_PER_TENANT,
    KeptFiles,
    PolledFiles,
    raise_open_files_limit,
    read_once,
)
from enforce.disk_watch import DiskWatch
from enforce.disks import BFQ_FINENESS, BFQ_WEIGHT
from enforce.floor import swap_room_bytes
from enforce.links.reader import UplinkReader
from enforce.memory import STAT_KEYS, unreclaimable_bytes
from enforce.places import Places
from enforce.sources import (
    COLUMN,
    DISK_COLUMNS,
    EVERY_TICK,
    IN_TURN,
    LIMITS,
    ON_SIGNAL,
    ONCE_WRITTEN,
    WATCHED,
    disk_sources,
)
from enforce.vitals import read_vitals
from enforce.waiting import CpuWaits
from enforce.writes import WriteWatch

_VISITED_AT_ONCE = 16
_PRESSURE = Path("/proc/pressure/memory")
# Descriptors that the process needs beside those kept here.
_OTHER_FILES = 256 + _VISITED_AT_ONCE * FILES_PER_TENANT
_STAT_BYTES = 8192
_HELD_BYTES, _HIGH_BYTES = COLUMN["memory_current_bytes"], COLUMN["memory_high_bytes"]
_STUCK_BYTES = COLUMN["memory_unreclaimable_bytes"]
_SENT, _RECEIVED = COLUMN["net_out_bytes"], COLUMN["net_in_bytes"]
_USED_US, _POPULATED = COLUMN["cpu_usage_us"], COLUMN["populated"]
_MEMORY_STALL = [COLUMN["memory_stalled_us"], COLUMN["memory_stalled_at_us"]]
_CPU_STALL = [COLUMN["cpu_stalled_us"], COLUMN["cpu_stalled_at_us"]]
_CPU_WAIT = COLUMN["cpu_waited_us"]
_IO_STALL = [COLUMN["io_stalled_us"], COLUMN["io_stalled_at_us"]]
LIMITS_EVERY = 6  # turns of the other slow columns
_CLOSE_AT_ONCE = 64
_LASTING = [  # columns that keep their value until they are read again
    *(COLUMN[name] for source in (*ON_SIGNAL, *IN_TURN) for name in source.columns),
    _STUCK_BYTES,
    _POPULATED,
]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class Sampler:
    """Counters of the cgroups `names` directly below `root`; position in columns as in `names`.

    A file that is missing or cannot be read is NaN for its tenant.  A cgroup that was removed and
    made again is read under its new `cgroup_id`; one that is missing is looked for at each read.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        *,
        disks: Sequence[str] = (),
        slow_every: int = 10,
        uplinks: UplinkReader | None = None,
        places: Places | None = None,
    ) -> None:
        """Open no cgroup yet, which `read` does; raise the limit of open files as far as needed.

        `disks` are told apart as `DiskWatch` says.  A `slow_every`-th of the tenants gets its slow
        columns per read.  A reader of `uplinks` of the same tenants reads the network, where that
        is divided; it is closed elsewhere.
        """
        self._uplinks = uplinks
        self._root, self._slow_every, self._turn = root, max(slow_every, 1), 0
        self._places = places or Places(root, names)
        self._paths = [_text(self._places.path(place)) for place in range(len(names))]
        self.disks, self._closeness = DiskWatch(disks), DiskCloseness()
        self._weights = np.full((len(disks), len(names)), np.nan)
        self._sources = (*EVERY_TICK, *disk_sources(self.disks.numbers))
        self._each = [KeptFiles(s.file, size_bytes=s.size_bytes) for s in self._sources]
        self._polled = [PolledFiles(s.file, size_bytes=s.size_bytes) for s in ON_SIGNAL]
        self._writes = WriteWatch(WATCHED)
        self._cgroups: dict[int, TenantCgroup] = {}
        self._missing = {
            place
            for place, path in enumerate(self._paths)
            if path is not None or self._places.is_elsewhere(place)
        }
        self._visited: set[int] = set()  # for whom no descriptors are left to keep
        self._fresh: set[int] = set()  # slow columns not read since the cgroup was opened
        self._unread: set[int] = set()  # a limit was read before, and could not be the last time
        self._anew: set[int] = set()  # opened anew by the read that is under way
        self._cgroup_id = np.zeros(len(names), dtype=np.int64)
        n_columns = len(COLUMN) + 2 * DISK_COLUMNS * len(disks)
        self._lasting = np.full((n_columns, len(names)), np.nan)
        self._cpu_waits = CpuWaits(len(names)) if _PRESSURE.exists() else None
        self._used_before_us = np.full(len(names), np.nan)  # at the last turn
        self._controllers = self._controllers_of_children()
        wanted = _OTHER_FILES + len(names) * FILES_PER_TENANT
        self._room = raise_open_files_limit(wanted) - _OTHER_FILES

    def close(self) -> None:
        """Let go of all descriptors."""
        self._writes.close()
        for position in list(self._cgroups):
            self._close_files(position)
        for files in (*self._each, *self._polled):
            files.close_all()

    def opened(self, position: int) -> TenantCgroup | None:
        """Return the cgroup that was read last, open until the next read; None if it is not."""
        return self._cgroups.get(position)

    def path(self, position: int) -> str | None:
        """Return where a tenant's cgroup was as it was opened last, from any thread."""
        return self._paths[position]

    def is_sampled(self, position: int, cgroup_id: int) -> bool:
        """Say whether this is the cgroup that was read last."""
        return bool(self._cgroup_id[position] == cgroup_id)

    def touched(self) -> Mapping[str, Collection[int]]:
        """Return whose limits were written since the last read began, by file; see `WriteWatch`."""
        return self._writes.touched()

    def read(self, taken_at_s: float) -> HostSample:
        """Return the counters and limits of all tenants as of `taken_at_s` (CLOCK_MONOTONIC)."""
        self._anew.clear()
        written = self._writes.written()  # before anything is read: what comes later is told later
        self._notice_controllers()
        self._notice_files_elsewhere()
        self._notice_disks()
        if wanted := self._missing - self._visited:
            for position in wanted:
                self._keep(position)
            self._missing = set(self._missing)  # by itself a set keeps the room that it once took
        values = np.full(self._lasting.shape, np.nan)
        gone = self._read_kept(values, None) | self._read_signalled()
        self._read_visited(values)
        present = np.flatnonzero(self._cgroup_id)
        turn = self._in_turn(present, self._slow_every)
        told = set().union(*(written[file] for file in ONCE_WRITTEN)).intersection(present.tolist())
        due = self._in_turn(present, LIMITS_EVERY * self._slow_every)
        self._read_limits(told | due | self._unread)
        self._read_populated(sorted(turn), values)
        self._fresh = self._fresh - turn
        self._read_of_close(values, turn, taken_at_s)
        self._turn += 1
        if gone:
            self._reopen(gone, values)
        values[_LASTING] = self._lasting[_LASTING]
        return self._sample(taken_at_s, values)

    def _sample(self, taken_at_s: float, values: Floats) -> HostSample:
        network = NetColumns()
        if self._uplinks is not None:
            network = self._uplinks.read(self._cgroup_id.copy())
            values[_SENT], values[_RECEIVED] = network.out_bytes.sum(0), network.in_bytes.sum(0)
        counted, limited = (of_all.swapaxes(0, 1) for of_all in self._of_disks(values))
        return HostSample(
            taken_at_s=taken_at_s,
            cgroup_id=self._cgroup_id.copy(),
            in_force=Limits(**{name: values[COLUMN[name]] for name in LIMITS}),
            disks=DiskColumns(self.disks.names, *counted, anew=self.disks.anew),
            disk_limits=DiskColumns(self.disks.names, *limited),
            disk_weights=self._weights.copy(),
            vitals=read_vitals(),
            network=network,
            anew=frozenset(self._anew),
            **{name: values[COLUMN[name]] for name in COUNTERS},
        )

    def _read_kept(self, values: Floats, positions: Collection[int] | None) -> set[int]:
        """Read what each tick needs into `values`; return the positions of removed cgroups."""
        gone: set[int] = set()
        for source, files in zip(self._sources, self._each, strict=True):
            reading = files.read(positions)
            values[source.places, reading.positions] = source.parse(reading.rows).T
            gone.update(reading.gone)
        return gone

    def _read_signalled(self) -> set[int]:
        """Read the event counters that have changed; return the positions of removed cgroups."""
        gone: set[int] = set()
        for source, files in zip(ON_SIGNAL, self._polled, strict=True):
            reading = files.read(files.changed())
            self._lasting[source.places, reading.positions] = source.parse(reading.rows).T
            gone.update(reading.gone)
        return gone

    def _read_visited(self, values: Floats) -> None:
        """Open, read and close the files of those whose descriptors cannot be kept."""
        visited = sorted(self._visited)
        for start in range(0, len(visited), _VISITED_AT_ONCE):
            group = visited[start : start + _VISITED_AT_ONCE]
            for position in group:
                self._open(position)
            gone = self._read_kept(values, group) | self._read_signalled()
            for position in gone:
                self._forget(position)
            values[:, list(gone)] = np.nan
            for position in group:
                self._close_files(position)

    def _in_turn(self, present: Ints, every: int) -> set[int]:
        """Return whose turn it is, of which each has one in so many reads, and who is new."""
        return set(present[present % every == self._turn % every].tolist()) | self._fresh

    def _read_limits(self, wanted: set[int]) -> None:
        """Read the limits that are not read each tick.

        One that cannot be read now, for want of a descriptor, stands and is read with the next: a
        file that goes with its controller or cgroup is forgotten with the others there.
        """
        positions, lost = sorted(wanted), set[int]()
        for source in IN_TURN:
            rows = self._rows_below(positions, source.file, source.size_bytes)
            at, now = (source.places, positions), source.parse(rows).T
            is_lost = np.isnan(now) & ~np.isnan(self._lasting[at])
            self._lasting[at] = np.where(is_lost, self._lasting[at], now)
            lost |= {positions[place] for place in np.flatnonzero(is_lost.any(axis=0)).tolist()}
        self._unread = (self._unread - wanted) | lost
        for file in {file for file in self.disks.weight_files if file is not None}:
            self._read_weights(file, positions)

    def _read_weights(self, file: str, positions: Sequence[int]) -> None:
        """Read the weights on the disks that `file` divides."""
        at = [place for place, its in enumerate(self.disks.weight_files) if its == file]
        rows = self._rows_below(positions, file, 1024)
        read = disk_weights(rows, [self.disks.numbers[place] for place in at]).T
        self._weights[np.ix_(at, positions)] = read * (BFQ_FINENESS if file == BFQ_WEIGHT else 1)

    def _read_populated(self, positions: Sequence[int], values: Floats) -> None:
        """Say who has a process: who used cpu since its last turn did, the others are asked."""
        place = np.array(positions, dtype=np.int64)
        used_us = values[_USED_US, place]
        is_idle = ~(used_us > self._used_before_us[place])
        self._used_before_us[place] = used_us
        self._lasting[_POPULATED, place] = 1.0
        idle = place[is_idle]
        rows = self._rows_below(idle.tolist(), "cgroup.events", 256)
        self._lasting[_POPULATED, idle] = table(rows, (b"populated",))[:, 0]

    def _read_of_close(self, values: Floats, turn: set[int], taken_at_s: float) -> None:
        """Read what tenants close to a limit wait for, and what is unreclaimable, in turn too."""
        most = max(_CLOSE_AT_ONCE, len(self._cgroup_id) // self._slow_every)
        is_there, held = self._cgroup_id != 0, values[_HELD_BYTES]
        close = close_to_high(held, values[_HIGH_BYTES], is_there, most=most)
        self._read_unreclaimable(turn | set(close))
        if self._cpu_waits is not None:
            behind = self._cpu_waits.who(values[_USED_US], taken_at_s)
            self._read_stalls("cpu.pressure", b"full", _CPU_STALL, behind, values, _CPU_WAIT)
            self._read_stalls("memory.pressure", b"full", _MEMORY_STALL, close, values)
            counted, limited = self._of_disks(values)
            waiting = self._closeness.seen(counted, limited, taken_at_s, most=most, tick=self._turn)
            self._read_stalls("io.pressure", b"some", _IO_STALL, waiting, values)

    def _of_disks(self, values: Floats) -> Floats:
        """Return what is counted and what is limited, each of shape (disks, 4, tenants)."""
        shape = (2, len(self.disks.names), DISK_COLUMNS, values.shape[1])
        return values[len(COLUMN) :].reshape(shape)

    def _read_stalls(
        self,
        file: str,
        line: bytes,
        columns: list[int],
        positions: list[int],
        values: Floats,
        some: int | None = None,
    ) -> None:
        """Read how long these tenants have waited by now, and when that is.

        How long any task of theirs did goes into the column `some`.
        """
        rows = self._rows_below(positions, file, 256)
        values[columns[0], positions] = stalled_us(rows, line)
        if some is not None:
            values[some, positions] = stalled_us(rows, b"some")
        values[columns[1], positions] = time.monotonic() * 1e6

    def _read_unreclaimable(self, wanted: set[int]) -> None:
        """Read how much memory of these tenants cannot be reclaimed."""
        positions = sorted(wanted)
        stat = table(self._rows_below(positions, "memory.stat", _STAT_BYTES), STAT_KEYS)
        self._lasting[_STUCK_BYTES, positions] = unreclaimable_bytes(
            stat, self._swap_room_bytes(positions)
        )

    def _swap_room_bytes(self, positions: Sequence[int]) -> Floats:
        """Return how much of free swap each tenant may take: none where that cannot be read."""
        try:
            room = np.full(len(positions), swap_room_bytes(self._root))
        except LimitRejectedError:
            return np.zeros(len(positions))
        if not room.any():
            return room
        limit = numbers(self._rows_below(positions, "memory.swap.max", 64))[:, 0]
        current = numbers(self._rows_below(positions, "memory.swap.current", 64))[:, 0]
        room = np.fmin(room, limit - current)
        return np.where(room > 0, room, 0.0)

    def _rows_below(self, positions: Sequence[int], file: str, size_bytes: int) -> list[bytes]:
        """Read one file of each, or nothing where its controller is known to be missing."""
        controller = file.partition(".")[0]
        is_of_all = controller == "cgroup" or self._controllers is None
        is_known_missing = not is_of_all and controller not in (self._controllers or "")
        return [
            b""
            if is_known_missing and not self._places.is_elsewhere(position)
            else self._read_once(position, file, size_bytes)
            for position in positions
        ]

    def _read_once(self, position: int, file: str, size_bytes: int) -> bytes:
        cgroup = self._cgroups.get(position)
        if cgroup is None:  # only visited, or gone
            return read_once(f"{self._paths[position]}/{file}", size_bytes)
        return read_once(file, size_bytes, dir_fd=cgroup.descriptor)

    def _reopen(self, gone: set[int], values: Floats) -> None:
        """Drop removed cgroups, and read those that are there again under their new identity."""
        for position in gone:
            self._forget(position)
            self._keep(position)
        values[:, list(gone)] = np.nan
        gone_again = self._read_kept(values, gone - self._missing) | self._read_signalled()
        fresh, self._fresh = self._fresh, set()
        self._read_limits(fresh)
        self._read_populated(sorted(fresh), values)
        self._read_unreclaimable(fresh)
        for position in gone_again:
            self._forget(position)
            values[:, position] = np.nan

    def _keep(self, position: int) -> None:
        """Open one tenant's files for good, or for a visit each read where that is too many."""
        self._open(position)
        n_files = sum(map(len, (*self._each, *self._polled)))
        if n_files + len(self._cgroups) > self._room:
            self._close_files(position)
            self._visited.add(position)

    def _open(self, position: int) -> None:
        """Open one tenant's cgroup, if it is there; a symbolic link is not followed."""
        path = self._places.path(position)
        self._paths[position] = _text(path)
        try:
            cgroup = None if path is None else TenantCgroup(path)
        except (CgroupGoneError, LimitRejectedError):
            cgroup = None
        if cgroup is None:
            self._forget(position)
            return
        if cgroup.cgroup_id != self._cgroup_id[position]:
            self._forget(position)
            self._cgroup_id[position] = cgroup.cgroup_id
            self._fresh.add(position)
            self._anew.add(position)
            self._writes.watch(position, cgroup.descriptor)
        self._missing.discard(position)
        self._cgroups[position] = cgroup
        try:
            for files in (*self._each, *self._polled):
                files.open(position, cgroup.descriptor)
        except OSError:  # with half of its files it would pass for one that has no more
            self._forget(position)

    def _close_files(self, position: int) -> None:
        cgroup = self._cgroups.pop(position, None)
        if cgroup is not None:
            cgroup.close()
        for files in (*self._each, *self._polled):
            files.close(position)

    def _forget(self, position: int) -> None:
        """Let go of one tenant's cgroup; what was known of it is unknowable now."""
        self._close_files(position)
        self._writes.forget(position)
        self._fresh.discard(position)
        self._unread.discard(position)
        self._missing.add(position)
        self._cgroup_id[position] = 0
        self._lasting[:, position] = np.nan
        self._weights[:, position] = np.nan
        self._used_before_us[position] = np.nan

    def _notice_controllers(self) -> None:
        """Open the files anew when the root hands other controllers to its children."""
        controllers = self._controllers_of_children()
        if controllers == self._controllers:
            return
        self._controllers = controllers
        for position in np.flatnonzero(self._cgroup_id).tolist():
            self._forget(position)

    def _notice_files_elsewhere(self) -> None:
        """Open files anew that have come to a cgroup elsewhere: its controllers are not ours."""
        for position in self._places.elsewhere:
            if self._cgroup_id[position] == 0:
                continue
            missing = [f.name for f in self._each if position not in f]
            if any(Path(f"{self._paths[position]}/{name}").exists() for name in missing):
                self._forget(position)

    def _notice_disks(self) -> None:
        """Go by other numbers when a disk has come, or is gone: its limits are gone with it."""
        numbers, files = self.disks.numbers, self.disks.weight_files
        self.disks.look(self._root)
        if self.disks.numbers != numbers:
            self._sources = (*EVERY_TICK, *disk_sources(self.disks.numbers))
        if self.disks.weight_files != files:
            self._weights[:] = np.nan
            self._fresh |= set(np.flatnonzero(self._cgroup_id).tolist())

    def _controllers_of_children(self) -> str | None:
        try:
            return (self._root / "cgroup.subtree_control").read_text()
        except OSError:
            return None
