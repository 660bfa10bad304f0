"""The tenants' programs and maps: loaded, attached to their parent cgroup, pinned, and adopted.

Pins outlive the agent, and with them classification and counting.  An agent that starts again takes
the pinned maps as they are and puts its programs in the place of the attached ones.
"""

import errno
import os
import struct
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from enforce.columns import Bools, Ints, Restored
from enforce.links.classes import FIRST_TENANT, MAJOR
from enforce.links.libbpf import BpfError, Library

BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "tidegate"
WITHOUT_DROP_IN = "as a service the agent needs the drop-in network.conf (docs/network.md)"
OBJECT = Path(__file__).parent.parent / "bpf" / "tenants.bpf.o"
MAPS = ("tenants", "counters", "uplinks", "veths", "addresses", "owners")
FORWARDED_OUT, CLASSIFY_IN, MARK_BRIDGED = "forwarded_out", "classify_in", "mark_bridged"
BY_MARK = (1 << 64) - 1  # in the place of a veth's cgroup: of a bridge, whose packets tell it
# BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET_SOCK_CREATE
_ATTACH = {"count_in": 0, "count_out": 1, "note_owner": 2}
_ID, _INTERFACE, _TENANT = struct.Struct("=Q"), struct.Struct("=I"), struct.Struct("=II")
_TENANT_VALUE = np.dtype([("classid", "u4"), ("apart", "u4")])
_TENANT_ROW = np.dtype([("cgroup", "u8"), ("classid", "u4"), ("apart", "u4")])
_COUNTER_KEY = np.dtype([("cgroup", "u8"), ("ifindex", "u4"), ("zero", "u4")])
_COUNTER = np.dtype(
    [(name, "u8") for name in ("out_bytes", "out_packets", "in_bytes", "in_packets")]
)
_PROGRAM_INFO = struct.Struct("=II")  # the beginning of struct bpf_prog_info
_MAP_INFO = struct.Struct("=IIII")  # of struct bpf_map_info: type, id, sizes of key and value
_HASH = 1
_LINK_INFO = struct.Struct("=III4xQI")  # struct bpf_link_info, of a cgroup
_LINK_INFO_BYTES = 128
_ADDRESS_BYTES = 16
_PATIENCE = 64
# Of a pinned map that another version of tidegate made.
_UNFIT = (errno.EINVAL, errno.EEXIST)


@dataclass(frozen=True, slots=True)
class Counters:
    """What programs have counted, a row for each tenant and uplink that saw a packet."""

    cgroup: NDArray[np.uint64]
    ifindex: NDArray[np.uint32]
    value: NDArray[np.void]  # fields out_bytes, out_packets, in_bytes, in_packets

    def of(self, field: str, ids: Ints, ifindex: int) -> NDArray[np.float64]:
        """Return one count of the cgroups `ids` on one uplink: 0 where nothing was seen."""
        is_its = self.ifindex == ifindex
        cgroup, count = self.cgroup[is_its], self.value[field][is_its]
        order = np.argsort(cgroup)
        cgroup, count = cgroup[order], count[order]
        if not len(cgroup):
            return np.zeros(len(ids))
        wanted = ids.astype(np.uint64)
        place = np.minimum(np.searchsorted(cgroup, wanted), len(cgroup) - 1)
        return np.where(cgroup[place] == wanted, count[place], 0).astype(np.float64)


class Programs:
    """The loaded programs of one parent cgroup, whose children are the tenants.

    Raises:
        BpfError: They cannot be loaded here, and the error says why.

    """

    def __init__(self, level: int, *, pins: Path = PINS, library: Library | None = None) -> None:
        """Load the programs for tenants at depth `level` below the hierarchy's root."""
        self._library, self._pins = library or Library(), pins
        if not OBJECT.exists():
            raise BpfError(errno.ENOENT, f"{OBJECT} was not built: see docs/network.md")
        if not is_bpffs(pins.parent):
            raise BpfError(errno.ENOENT, f"no BPF file system at {pins.parent}")
        _make_folder(pins)
        self._left: dict[int, int] = {}  # classes by cgroup, as a map of another version has them
        self._object = self._loaded(level)
        self._maps = {name: self._library.map(self._object, name) for name in MAPS}
        self._attached: dict[str, tuple[int, int]] = {}  # name -> ids of program and cgroup
        self._told: NDArray[np.void] | None = None  # rows of the map `tenants`, as left last
        self._watched: dict[str, dict[bytes, bytes]] = {}  # rows of other maps, as left last
        self._restored: list[Restored] = []

    def close(self) -> None:
        """Let go of everything; what is attached goes on."""
        if self._object:  # libbpf takes no object twice
            self._library.close(self._object)
        self._object = 0

    def program(self, name: str) -> int:
        """Return the descriptor of a loaded program, for a filter of an interface."""
        return self._library.program(self._object, name)

    def id_of(self, name: str) -> int:
        """Return the number that the kernel has given to a program."""
        info = self._library.info(self.program(name), _PROGRAM_INFO.size)
        return int(_PROGRAM_INFO.unpack(info)[1])

    def restored(self) -> list[Restored]:
        """Return what somebody else has changed of programs and maps since this was last asked."""
        found, self._restored = self._restored, []
        return found

    def attach(self, parent: Path) -> None:
        """Attach to `parent` what is not yet attached there: to be called each tick.

        Pins of maps that somebody removed are made anew: the next agent would know no class.

        Raises:
            BpfError: The kernel refused.
            OSError: There is no such cgroup.

        """
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _make_folder(self._pins)  # it may have been removed with them
            cgroup_id = os.fstat(directory).st_ino
            for name, kind in _ATTACH.items():
                if not self._is_attached(name, cgroup_id):
                    _, known_id = self._attached.get(name, (0, 0))
                    self._attach(name, kind, directory, cgroup_id)
                    if known_id == cgroup_id:  # else it went with its cgroup
                        self._restored.append(Restored(f"program {name}", "removed"))
        finally:
            os.close(directory)
        for name, descriptor in self._maps.items():
            if not (self._pins / name).exists():
                self._library.pin(descriptor, self._pins / name)
                self._restored.append(Restored(f"pin of the map {name}", "removed"))

    def tell(self, cgroup_id: Ints, classid: Ints, is_apart: Bools) -> int:
        """Tell the kernel each tenant's class (0: none) by cgroup (0: none), and of nobody else.

        To be called each tick: what others changed is put right.

        Returns:
            Of how many it could not be told yet: the next call goes on with them.

        """
        wanted = _rows_of(cgroup_id, classid, is_apart)
        found = self._tenant_rows()
        if self._told is not None and not np.array_equal(self._told, found):
            self._restored.append(Restored("map tenants", "changed"))
        if np.array_equal(wanted, found):
            self._told = wanted
            return 0
        self._told = None
        for one in np.setdiff1d(found["cgroup"], wanted["cgroup"]):
            self._library.drop(self._maps["tenants"], one.tobytes())
        known = {row.tobytes() for row in found}
        new = [row for row in wanted if row.tobytes() not in known]
        for place, row in enumerate(new):
            value = _TENANT.pack(int(row["classid"]), int(row["apart"]))
            if not self._is_told("tenants", row["cgroup"].tobytes(), value):
                return len(new) - place
        self._told = wanted
        return 0

    def _is_told(self, name: str, key: bytes, value: bytes) -> bool:
        """Put one entry of a map; say whether there was room for it.

        The kernel hands out entries from a small stock, which it fills up in an interrupt.
        """
        for _ in range(_PATIENCE):
            try:
                self._library.put(self._maps[name], key, value)
            except BpfError as error:
                if error.errno != errno.ENOMEM:
                    raise
                os.sched_yield()
            else:
                return True
        return False

    def classids(self) -> dict[int, int]:
        """Return the class that the kernel knows of each tenant, by cgroup id.

        What a map of another version said, in whose place ours came, holds until it is told anew.
        """
        rows = self._tenant_rows()
        known = dict(zip(rows["cgroup"].tolist(), rows["classid"].tolist(), strict=True))
        return self._left | known

    def _tenant_rows(self) -> NDArray[np.void]:
        rows = self._library.rows(self._maps["tenants"], _ID.size, _TENANT.size)
        values = np.frombuffer(rows.values, dtype=_TENANT_VALUE)
        ids = np.frombuffer(rows.keys, dtype=np.uint64)
        return _rows_of(ids.astype(np.int64), values["classid"], values["apart"])

    def watch(self, name: str, interfaces: Mapping[int, int]) -> int:
        """Set the map `uplinks` or `veths` to these interfaces and values, and no others.

        Returns:
            How many could not be set yet: the next call goes on with them.

        """
        size = _ID.size if name == "veths" else _INTERFACE.size
        wanted = {
            _INTERFACE.pack(ifindex): value.to_bytes(size, sys.byteorder)
            for ifindex, value in interfaces.items()
        }
        return self._set(name, wanted, _INTERFACE.size, size)

    def owners(self) -> dict[int, int]:
        """Return whose each veth is that the kernel was told of last: a cgroup by interface."""
        rows = self._library.rows(self._maps["veths"], _INTERFACE.size, _ID.size)
        keys, values = _split(rows.keys, _INTERFACE.size), _split(rows.values, _ID.size)
        return {
            int.from_bytes(key, sys.byteorder): int.from_bytes(value, sys.byteorder)
            for key, value in zip(keys, values, strict=True)
        }

    def watch_addresses(self, addresses: Collection[bytes]) -> None:
        """Set which addresses are this host's, 16 bytes each; at most 4,096.

        Raises:
            BpfError: They are more.

        """
        said = _INTERFACE.pack(1)
        self._set("addresses", dict.fromkeys(addresses, said), _ADDRESS_BYTES, len(said))

    def _set(self, name: str, wanted: Mapping[bytes, bytes], key_size: int, value_size: int) -> int:
        rows = self._library.rows(self._maps[name], key_size, value_size)
        keys, values = _split(rows.keys, key_size), _split(rows.values, value_size)
        before = dict(zip(keys, values, strict=True))
        for key in before.keys() - wanted.keys():
            self._library.drop(self._maps[name], key)
        if self._watched.get(name, before) != before:
            self._restored.append(Restored(f"map {name}", "changed"))
        self._watched.pop(name, None)
        new = [(key, value) for key, value in wanted.items() if before.get(key) != value]
        for place, (key, value) in enumerate(new):
            if not self._is_told(name, key, value):
                return len(new) - place
        self._watched[name] = dict(wanted)
        return 0

    def counters(self) -> Counters:
        """Return all counters, thousands with one call."""
        rows = self._library.rows(self._maps["counters"], _COUNTER_KEY.itemsize, _COUNTER.itemsize)
        keys = np.frombuffer(rows.keys, dtype=_COUNTER_KEY)
        return Counters(keys["cgroup"], keys["ifindex"], np.frombuffer(rows.values, dtype=_COUNTER))

    def forget(self, counters: Counters, ids: set[int]) -> None:
        """Remove the counters of cgroups that are none of `ids`: those that vanished."""
        is_left = np.isin(counters.cgroup, np.array(sorted(ids), dtype=np.uint64), invert=True)
        for cgroup_id, ifindex in zip(
            counters.cgroup[is_left].tolist(), counters.ifindex[is_left].tolist(), strict=True
        ):
            key = np.array((cgroup_id, ifindex, 0), dtype=_COUNTER_KEY).tobytes()
            self._library.drop(self._maps["counters"], key)

    def _loaded(self, level: int) -> int:
        """Load the object with the pinned maps, or with new ones where those do not fit."""
        try:
            return self._load(level)
        except BpfError as error:
            if error.errno not in _UNFIT or not any((self._pins / name).exists() for name in MAPS):
                raise
            self._left = self._left_classids()
            for name in MAPS:
                (self._pins / name).unlink(missing_ok=True)
        return self._load(level)

    def _left_classids(self) -> dict[int, int]:
        """Return what the pinned map of another version says; of each value the first word."""
        try:
            pinned = self._library.pinned(self._pins / "tenants")
        except BpfError:
            return {}
        try:
            info = self._library.info(pinned, _MAP_INFO.size)
            kind, _, key_bytes, value_bytes = _MAP_INFO.unpack(info)
            if (kind, key_bytes) != (_HASH, _ID.size) or value_bytes < _INTERFACE.size:
                return {}
            rows = self._library.rows(pinned, key_bytes, value_bytes)
        except BpfError:
            return {}
        finally:
            os.close(pinned)
        ids = [one for (one,) in _ID.iter_unpack(rows.keys)]
        values = _split(rows.values, value_bytes)
        classids = [int.from_bytes(one[: _INTERFACE.size], sys.byteorder) for one in values]
        return dict(zip(ids, classids, strict=True))

    def _load(self, level: int) -> int:
        handle = self._library.opened(OBJECT)
        try:
            for name in MAPS:
                self._library.pin_map(handle, name, self._pins / name)
            self._library.set_constants(handle, struct.pack("=III", level, MAJOR, FIRST_TENANT))
            self._library.load(handle)
        except BaseException:
            self._library.close(handle)
            raise
        return handle

    def _is_attached(self, name: str, cgroup_id: int) -> bool:
        """Say whether the pinned link still ties our own program to this very cgroup."""
        try:
            link = self._library.pinned(self._pins / _pin(name))
        except BpfError:
            return False
        try:
            _, _, program_id, where, _ = _LINK_INFO.unpack_from(
                self._library.info(link, _LINK_INFO_BYTES)
            )
        finally:
            os.close(link)
        return (program_id, where) == self._attached.get(name) and bool(where == cgroup_id)

    def _attach(self, name: str, kind: int, directory: int, cgroup_id: int) -> None:
        pin, program = self._pins / _pin(name), self.program(name)
        if not self._is_replaced(pin, program, cgroup_id):
            pin.unlink(missing_ok=True)
            self._library.attach(program, directory, kind, pin)
        link = self._library.pinned(pin)
        try:
            info = _LINK_INFO.unpack_from(self._library.info(link, _LINK_INFO_BYTES))
        finally:
            os.close(link)
        self._attached[name] = info[2], info[3]

    def _is_replaced(self, pin: Path, program: int, cgroup_id: int) -> bool:
        """Put our program in the place of an earlier agent's, if that is attached here."""
        try:
            link = self._library.pinned(pin)
        except BpfError:
            return False
        try:
            info = _LINK_INFO.unpack_from(self._library.info(link, _LINK_INFO_BYTES))
            if info[3] != cgroup_id:
                return False
            self._library.update_link(link, program)
        except BpfError:  # its cgroup is gone
            return False
        finally:
            os.close(link)
        return True


def _make_folder(pins: Path) -> None:
    """Make the folder of the pins; where the service may not, say what it lacks."""
    try:
        pins.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        why = f"{pins} cannot be made ({error.strerror}): {WITHOUT_DROP_IN}"
        raise BpfError(error.errno, why) from error


def _rows_of(cgroup_id: Ints, classid: Ints, is_apart: Bools | Ints) -> NDArray[np.void]:
    """Return a row for each cgroup that is one, in the order of their ids."""
    is_one = cgroup_id != 0
    rows = np.zeros(int(is_one.sum()), dtype=_TENANT_ROW)
    rows["cgroup"], rows["classid"] = cgroup_id[is_one], classid[is_one]
    rows["apart"] = is_apart[is_one]
    ordered: NDArray[np.void] = np.sort(rows, order="cgroup")
    return ordered


def is_bpffs(path: Path) -> bool:
    """Say whether a BPF file system is mounted at `path`."""
    with suppress(OSError):
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return any(line.split()[1:3] == [str(path), "bpf"] for line in mounts)
    return False


def unpin(pins: Path = PINS) -> str | None:
    """Remove all pins, which ends classification and counting; return why that fails."""
    try:
        for name in (*map(_pin, _ATTACH), *MAPS):
            (pins / name).unlink(missing_ok=True)
        if pins.exists():
            pins.rmdir()
    except OSError as error:
        return f"{pins}: {error.strerror}"
    return None


def depth_of(cgroup: Path) -> int:
    """Return how deep a cgroup lies below the hierarchy's root, as the kernel counts.

    Raises:
        OSError: It is in no cgroup v2 hierarchy that is mounted here.

    """
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in mounts:
        words = line.split()
        if words[words.index("-") + 1] == "cgroup2" and cgroup.is_relative_to(words[4]):
            below = cgroup.relative_to(words[4]).parts
            return len(Path(words[3]).parts) - 1 + len(below)
    raise OSError(errno.ENODEV, f"{cgroup} is in no cgroup v2 hierarchy")


def _split(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def _pin(program: str) -> str:
    return f"link_{program}"
