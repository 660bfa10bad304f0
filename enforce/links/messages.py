"""Netlink messages about HTB classes and their leaves: numbers in, bytes out, and back.  Pure.

Layouts are those of linux/rtnetlink.h and linux/pkt_sched.h.  Dumps of thousands are read as
columns: classes of one host look alike, so what holds for the first holds for all of its length.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from enforce.columns import Floats, Ints
from enforce.links.classes import MAJOR, NUMBERS, Classes

REQUEST, ACK, ECHO, DUMP, CREATE, REPLACE = 0x1, 0x4, 0x8, 0x300, 0x400, 0x100
NEW_LINK, GET_LINK = 16, 18
NEW_NAMESPACE, GET_NAMESPACE = 88, 90
NEW_ADDRESS, GET_ADDRESS = 20, 22
NEW_QDISC, DEL_QDISC, GET_QDISC = 36, 37, 38
NEW_CLASS, DEL_CLASS, GET_CLASS = 40, 41, 42
NEW_FILTER, GET_FILTER = 44, 46
ERROR, DONE = 2, 3
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_TC = struct.Struct("=BBHiIII")  # family, pads, ifindex, handle, parent, info
_ATTRIBUTE = struct.Struct("=HH")
_RATE = struct.Struct("=BBHhHI")  # cell log, link layer, overhead, cell align, mpu, rate
_LINK = struct.Struct("=BxHiII")  # family, type, ifindex, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, ifindex
_PEER, _LOCAL = 1, 2
_NAMESPACE = struct.Struct("=Bxxx")  # family
_NSID, _PID = 1, 2
_NAME, _MASK, _PEERS_NSID, _WITHOUT_STATISTICS = 3, 29, 37, 8
_PAIRS = ("veth", "netkit")
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
_KIND, _OPTIONS, _STATS2 = 1, 2, 7
_BPF_NAME, _BPF_ID = 7, 11
ROOT = 0xFFFFFFFF
_IS_UP = 0x1
_LINK_INFO, _INFO_KIND = 18, 1
_ALIKE_BYTES = 6  # of a header: length and type
_DONE_BYTES = HEADER.size + 4
_PARMS, _RATE64, _CEIL64 = 1, 6, 7
_BASIC, _QUEUE, _PACKETS64 = 1, 3, 8
_LIMIT, _FLOWS, _MEMORY = 2, 5, 9
_NESTED = {_OPTIONS, _STATS2}
_TYPE_MASK = 0x3FFF
_U32 = 0xFFFFFFFF
_ETHERNET = 1  # the kernel reckons times itself and wants no table of them
_TICK_NS = 64
# At high rates a timer's slack costs throughput unless a burst spans it: where the host's CPU was
# contended, 4 ms let 95 % of 800 Mbit/s through, and 10 ms all.  At low rates two packets must fit.
_BURST_S, _LEAST_BURST_BYTES = 0.01, 3200
_LEAST_QUANTUM, _MOST_QUANTUM = 1514, 60_000
_LEAF_PACKETS, _LEAF_BYTES = 10_240, 4 << 20


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a link: its program's name and number, "" and 0 where it is no program.

    Filters of smaller `priority` are asked first, and may end the way of packets to others.
    """

    name: str
    program_id: int
    priority: int


@dataclass(frozen=True, slots=True)
class Setting:
    """One class of one link as it is to be: bytes per second, below the class `parent`."""

    ifindex: int
    minor: int
    parent: int
    rate: float
    ceil: float


def class_message(sequence: int, setting: Setting) -> bytes:
    """Return the request that makes or changes one HTB class."""
    rate, ceil = int(setting.rate), int(setting.ceil)
    quantum = min(max(rate // 100, _LEAST_QUANTUM), _MOST_QUANTUM)
    parameters = (
        *(0, _ETHERNET, 0, -1, 0, min(rate, _U32)),
        *(0, _ETHERNET, 0, -1, 0, min(ceil, _U32)),
        *(_burst_ticks(rate), _burst_ticks(ceil), quantum, 0, 0),
    )
    options = _attribute(_PARMS, _HTB.pack(*parameters))
    options += _attribute(_RATE64, struct.pack("=Q", rate)) if rate >= _U32 else b""
    options += _attribute(_CEIL64, struct.pack("=Q", ceil)) if ceil >= _U32 else b""
    body = _TC.pack(0, 0, 0, setting.ifindex, _id(setting.minor), _id(setting.parent), 0)
    body += _attribute(_KIND, b"htb\0") + _attribute(_OPTIONS, options)
    return _request(NEW_CLASS, CREATE, sequence, body)


def leaf_message(sequence: int, ifindex: int, minor: int, flows: int) -> bytes:
    """Return the request that puts fq_codel of so many flows below one class."""
    options = b"".join(
        _attribute(kind, struct.pack("=I", value))
        for kind, value in ((_LIMIT, _LEAF_PACKETS), (_FLOWS, flows), (_MEMORY, _LEAF_BYTES))
    )
    body = _TC.pack(0, 0, 0, ifindex, minor << 16, _id(minor), 0)
    body += _attribute(_KIND, b"fq_codel\0") + _attribute(_OPTIONS, options)
    return _request(NEW_QDISC, CREATE | REPLACE, sequence, body)


def removal_message(sequence: int, ifindex: int, minor: int) -> bytes:
    """Return the request that removes one class, and its leaf with it."""
    return _request(DEL_CLASS, 0, sequence, _TC.pack(0, 0, 0, ifindex, _id(minor), 0, 0))


def dump_message(sequence: int, kind: int, ifindex: int, parent: int = 0) -> bytes:
    """Return the request for all qdiscs, classes or filters of one link, or for all addresses."""
    return _request(kind, DUMP, sequence, _TC.pack(0, 0, 0, ifindex, 0, parent, 0))


def get_message(sequence: int, ifindex: int, minor: int) -> bytes:
    """Return the request for one class; without an echo the answer goes to listeners only."""
    return _request(GET_CLASS, ECHO, sequence, _TC.pack(0, 0, 0, ifindex, _id(minor), 0, 0))


def link_message(sequence: int, ifindex: int) -> bytes:
    """Return the request for one link."""
    return _request(GET_LINK, 0, sequence, _LINK.pack(0, 0, ifindex, 0, 0))


def root_message(sequence: int, ifindex: int) -> bytes:
    """Return the request for the root qdisc of one link; see `get_message` on the echo."""
    return _request(GET_QDISC, ECHO, sequence, _TC.pack(0, 0, 0, ifindex, 0, ROOT, 0))


def links_message(sequence: int) -> bytes:
    """Return the request for all links."""
    mask = _attribute(_MASK, _WITHOUT_STATISTICS.to_bytes(4, "little"))
    return _request(GET_LINK, DUMP, sequence, _LINK.pack(0, 0, 0, 0, 0) + mask)


def namespace_message(sequence: int, pid: int) -> bytes:
    """Return the request for the number that the network namespace of a process has here."""
    return _request(
        GET_NAMESPACE, 0, sequence, _NAMESPACE.pack(0) + _attribute(_PID, pid.to_bytes(4, "little"))
    )


def namespace_in(message: bytes) -> int:
    """Return the number of a network namespace, -1 where it has none here."""
    start = HEADER.size + _NAMESPACE.size
    for kind, at, end in _attributes(message, start, len(message)):
        if kind == _NSID:
            return int.from_bytes(message[at:end], "little", signed=True)
    return -1


def end_of(message: bytes) -> tuple[int, str] | None:
    """Return where a link leads that has its other end in another network namespace, and its name.

    The former is that namespace's number here.  Of any other link nothing.
    """
    start = HEADER.size + _LINK.size
    found = {kind: (at, end) for kind, at, end in _attributes(message, start, len(message))}
    if not {_NAME, _PEERS_NSID} <= found.keys() or kind_of(message) not in _PAIRS:
        return None
    (at, end), (first, last) = found[_PEERS_NSID], found[_NAME]
    name = message[first:last].rstrip(b"\0").decode("utf-8", "surrogateescape")
    return int.from_bytes(message[at:end], "little", signed=True), name


def is_up(message: bytes) -> bool:
    """Say whether the link that a message tells of is up."""
    return bool(_LINK.unpack_from(message, HEADER.size)[3] & _IS_UP)


def kind_of(message: bytes) -> str:
    """Return of which kind the link is that a message tells of, "" where it is a device."""
    for kind, start, end in _attributes(message, HEADER.size + _LINK.size, len(message)):
        if kind == _LINK_INFO:
            for inner, at, last in _attributes(message, start, end):
                if inner == _INFO_KIND:
                    return message[at:last].rstrip(b"\0").decode("ascii", "replace")
    return ""


@dataclass(frozen=True, slots=True)
class Qdisc:
    """One qdisc; `options` are what it was told, as the kernel repeats it."""

    ifindex: int
    handle: int
    parent: int
    kind: str
    options: bytes

    @property
    def is_default(self) -> bool:
        """Say whether the kernel put it there by itself: such ones have no handle."""
        return self.handle == 0

    @property
    def is_ours(self) -> bool:
        """Say whether it is tidegate's."""
        return self.kind == "htb" and self.handle == MAJOR << 16


def qdisc_in(message: bytes) -> Qdisc:
    """Return the qdisc that a message tells of."""
    ifindex, handle, parent = _TC.unpack_from(message, HEADER.size)[3:6]
    found = {k: message[at:end] for k, at, end in _top(message)}
    kind = found.get(_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
    return Qdisc(ifindex, handle, parent, kind, found.get(_OPTIONS, b""))


def qdisc_message(sequence: int, qdisc: Qdisc) -> bytes:
    """Return the request that puts a qdisc there, in the place of another."""
    body = _TC.pack(0, 0, 0, qdisc.ifindex, qdisc.handle, qdisc.parent, 0)
    body += _attribute(_KIND, qdisc.kind.encode() + b"\0")
    body += _attribute(_OPTIONS, qdisc.options) if qdisc.options else b""
    return _request(NEW_QDISC, CREATE | REPLACE, sequence, body)


def qdisc_removal(sequence: int, qdisc: Qdisc) -> bytes:
    """Return the request that removes a qdisc and all below it."""
    body = _TC.pack(0, 0, 0, qdisc.ifindex, qdisc.handle, qdisc.parent, 0)
    return _request(DEL_QDISC, 0, sequence, body)


def filter_of(message: bytes) -> Filter | None:
    """Return what a filter is, as far as it is a BPF program's; None of a message of none.

    Filters of one kind and priority are preceded by one about all of them, which has no handle.
    """
    _, _, _, _, handle, _, info = _TC.unpack_from(message, HEADER.size)
    if not handle:
        return None
    name, program_id = "", 0
    for kind, start, end in _top(message):
        if kind == _OPTIONS:
            for inner, at, last in _attributes(message, start, end):
                if inner == _BPF_NAME:
                    name = message[at:last].rstrip(b"\0").decode("ascii", "replace")
                elif inner == _BPF_ID:
                    program_id = int.from_bytes(message[at:last], "little")
    return Filter(name, program_id, info >> 16)


def address_of(message: bytes) -> bytes | None:
    """Return the address that a message tells of as IPv6, None where it is of another family."""
    start = HEADER.size + _ADDRESS.size
    found = {kind: message[at:end] for kind, at, end in _attributes(message, start, len(message))}
    # On a link from point to point the first is the peer's; else there may be no second.
    address = found.get(_LOCAL, found.get(_PEER, b""))
    return {4: _MAPPED + address, 16: address}.get(len(address))


def messages_in(buffer: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield offset, length, type and sequence of each whole message in what was received."""
    offset = 0
    while offset + HEADER.size <= len(buffer):
        length, kind, _, sequence, _ = HEADER.unpack_from(buffer, offset)
        if length < HEADER.size or offset + length > len(buffer):
            return
        yield offset, length, kind, sequence
        offset += _padded(length)


def classes_in(buffers: Sequence[bytes]) -> Classes:
    """Return the HTB classes below our root that dumps tell of; others are left out."""
    by_length: dict[int, list[NDArray[np.uint8]]] = {}
    for buffer in buffers:
        for kind, rows in _runs(buffer):
            if kind == NEW_CLASS:
                by_length.setdefault(rows.shape[1], []).append(rows)
    found = [_columns(np.concatenate(rows)) for rows in by_length.values()]
    parts = [part for group in found for part in group]
    if not parts:
        return Classes.none()
    minor, leaf = (np.concatenate([part[k] for part in parts]) for k in ("minor", "leaf"))
    floats = {name: np.concatenate([part[name] for part in parts]) for name in NUMBERS}
    return Classes(minor=minor.astype(np.int64), leaf=leaf.astype(np.int64), **floats)


def is_end_of_dump(buffer: bytes, sequence: int) -> bool:
    """Say whether a dump ends with what was received: an error comes first, or a last word last."""
    for offset in (0, len(buffer) - _DONE_BYTES):
        if 0 <= offset <= len(buffer) - HEADER.size:
            _, kind, _, answered, _ = HEADER.unpack_from(buffer, offset)
            if kind in (ERROR, DONE) and answered == sequence:
                return True
    return False


def _runs(buffer: bytes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield messages that follow each other and are of one type and length, a row each."""
    view, offset = np.frombuffer(buffer, dtype=np.uint8), 0
    while offset + HEADER.size <= len(buffer):
        length, kind, *_ = HEADER.unpack_from(buffer, offset)
        step = _padded(length)
        count = (len(buffer) - offset) // max(step, HEADER.size)
        if length < HEADER.size or count == 0:
            return
        rows = view[offset : offset + count * step].reshape(count, step)
        is_like = (rows[:, :_ALIKE_BYTES] == rows[0, :_ALIKE_BYTES]).all(axis=1)
        alike = count if is_like.all() else int(np.argmin(is_like))
        yield kind, rows[:alike, :length]
        offset += alike * step


def _columns(rows: NDArray[np.uint8]) -> list[dict[str, Floats]]:
    """Return the columns of messages of one length; where their layouts differ, of each layout."""
    parts = []
    while len(rows):
        places = _places(rows[0].tobytes())
        is_alike = np.ones(len(rows), dtype=np.bool_)
        for at in places.values():
            is_alike &= (rows[:, at - 4 : at] == rows[0, at - 4 : at]).all(axis=1)
        parts.append(_values(rows[is_alike], places))
        rows = rows[~is_alike]
    return [part for part in parts if part is not None]


def _values(
    rows: NDArray[np.uint8], places: dict[tuple[int, int], int]
) -> dict[str, Floats] | None:
    handle = _number(rows, HEADER.size + 8, "<u4")
    is_ours = handle.astype(np.int64) >> 16 == MAJOR
    parameters, basic = places.get((_OPTIONS, _PARMS)), places.get((_STATS2, _BASIC))
    queue = places.get((_STATS2, _QUEUE))
    if parameters is None or basic is None or queue is None:
        return None
    wide = {name: places.get((_OPTIONS, kind)) for name, kind in _WIDE.items()}
    narrow = {"rate": parameters + 8, "ceil": parameters + 20}
    packets = places.get((_STATS2, _PACKETS64))
    columns = {
        "minor": handle.astype(np.int64) & 0xFFFF,
        "leaf": _number(rows, HEADER.size + 16, "<u4"),
        **{
            name: _number(rows, narrow[name], "<u4") if at is None else _number(rows, at, "<u8")
            for name, at in wide.items()
        },
        "bytes": _number(rows, basic, "<u8"),
        "packets": _number(rows, basic + 8, "<u4")
        if packets is None
        else _number(rows, packets, "<u8"),
        "backlog_bytes": _number(rows, queue + 4, "<u4"),
        "drops": _number(rows, queue + 8, "<u4"),
        "overlimits": _number(rows, queue + 16, "<u4"),
    }
    return {name: column[is_ours].astype(np.float64) for name, column in columns.items()}


_WIDE = {"rate": _RATE64, "ceil": _CEIL64}
_HTB = struct.Struct("=" + _RATE.format.lstrip("=") * 2 + "IIIII")


def _places(message: bytes) -> dict[tuple[int, int], int]:
    """Return where the content of each nested attribute of a message begins."""
    found: dict[tuple[int, int], int] = {}
    for kind, start, end in _top(message):
        if kind in _NESTED:
            for inner, at, _ in _attributes(message, start, end):
                found.setdefault((kind, inner), at)
    return found


def _top(message: bytes) -> Iterator[tuple[int, int, int]]:
    return _attributes(message, HEADER.size + _TC.size, len(message))


def _attributes(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, first byte and end of each attribute between two places."""
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if length < _ATTRIBUTE.size or start + length > end:
            return
        yield kind & _TYPE_MASK, start + _ATTRIBUTE.size, start + length
        start += _padded(length)


def _number(rows: NDArray[np.uint8], at: int, kind: str) -> Ints:
    size = np.dtype(kind).itemsize
    numbers: Ints = np.ascontiguousarray(rows[:, at : at + size]).view(kind)[:, 0]
    return numbers


def _burst_ticks(rate: int) -> int:
    burst_bytes = max(_LEAST_BURST_BYTES, rate * _BURST_S)
    return min(max(int(burst_bytes * 1e9 / rate / _TICK_NS), 1), _U32)


def _id(minor: int) -> int:
    return MAJOR << 16 | minor


def _attribute(kind: int, content: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(content)
    return _ATTRIBUTE.pack(length, kind) + content + bytes(_padded(length) - length)


def _request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, sequence, 0) + body


def _padded(length: int) -> int:
    return (length + 3) & ~3
