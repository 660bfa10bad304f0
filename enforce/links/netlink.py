"""A routing socket for thousands of classes: many requests a send, and dumps read whole."""

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from enforce.links.classes import INNER, Classes, Update
from enforce.links.messages import (
    ACK,
    ERROR,
    GET_ADDRESS,
    GET_CLASS,
    GET_FILTER,
    GET_QDISC,
    HEADER,
    NEW_ADDRESS,
    NEW_FILTER,
    NEW_LINK,
    NEW_NAMESPACE,
    NEW_QDISC,
    Filter,
    Qdisc,
    Setting,
    address_of,
    class_message,
    classes_in,
    dump_message,
    end_of,
    filter_of,
    get_message,
    is_end_of_dump,
    is_up,
    kind_of,
    leaf_message,
    link_message,
    links_message,
    messages_in,
    namespace_in,
    namespace_message,
    qdisc_in,
    qdisc_message,
    qdisc_removal,
    removal_message,
    root_message,
)

Build = Callable[[int], bytes]  # sequence number in, request out

_PER_SEND = 256
_SEND_BYTES, _RECEIVE_BYTES = 4 << 20, 16 << 20
_BUFFER_BYTES = 1 << 20
_SOL_NETLINK, _CAP_ACK, _SO_RCVBUFFORCE = 270, 10, 33
# A kernel that does not answer for so long will not: the tick must go on.
_PATIENCE_S = 10


class ClassSocket:
    """Requests about classes and their leaves, in the network namespace of the first request.

    That raises OSError where no such socket can be opened.
    """

    def __init__(self) -> None:
        self._opened: socket.socket | None = None
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; what was set stays."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _socket(self) -> socket.socket:
        if self._opened is None:
            self._opened = _opened_socket()
        return self._opened

    def set_classes(self, ifindex: int, update: Update, *, parent: int = INNER) -> dict[int, int]:
        """Make or change classes below `parent`; return the errno of each that failed, by place."""
        settings = [
            Setting(ifindex, minor, parent, rate, ceil)
            for minor, rate, ceil in zip(
                update.minor.tolist(), update.rate.tolist(), update.ceil.tolist(), strict=True
            )
        ]
        return self._batch([_Bound(class_message, setting) for setting in settings])

    def add_leaves(self, ifindex: int, minors: Sequence[int], flows: int) -> dict[int, int]:
        """Put a queue of its own below each class; return the errno of each that failed."""
        return self._batch([_Bound(leaf_message, ifindex, minor, flows) for minor in minors])

    def remove_classes(self, ifindex: int, minors: Sequence[int]) -> dict[int, int]:
        """Remove classes; return the errno of each that failed, by place."""
        return self._batch([_Bound(removal_message, ifindex, minor) for minor in minors])

    def classes(self, ifindex: int) -> Classes:
        """Return all classes of our HTB on one link; none where there is no such link or HTB.

        Raises:
            OSError: The kernel refused, or did not answer.

        """
        return classes_in(self._dump(_Bound(dump_message, GET_CLASS, ifindex)))

    def some_classes(self, ifindex: int, minors: Sequence[int]) -> Classes:
        """Return those of `minors` that are there: cheaper than all, where they are few.

        Raises:
            OSError: As `classes`.

        """
        buffers: list[bytes] = []
        for start in range(0, len(minors), _PER_SEND):
            part, first = minors[start : start + _PER_SEND], self._sequence + 1
            requests = [get_message(first + k, ifindex, minor) for k, minor in enumerate(part)]
            self._sequence += len(part)
            self._socket.send(b"".join(map(_with_ack, requests)))
            left = set(range(first, self._sequence + 1))
            while left:
                buffer = self._socket.recv(_BUFFER_BYTES)
                buffers.append(buffer)
                left -= {sequence for _, _, kind, sequence in messages_in(buffer) if kind == ERROR}
        return classes_in(buffers)

    def qdiscs(self, ifindex: int = 0) -> list[Qdisc]:
        """Return the qdiscs of one link, its root's and those below; of all links for 0.

        Raises:
            OSError: As `classes`.

        """
        found = self._told(GET_QDISC, NEW_QDISC, ifindex)
        return [one for one in map(qdisc_in, found) if ifindex in (0, one.ifindex)]

    def root(self, ifindex: int) -> Qdisc | None:
        """Return the qdisc that all of a link's packets out pass through, None without one."""
        answer = self._answer(_Bound(root_message, ifindex), NEW_QDISC)
        return None if answer is None else qdisc_in(answer)

    def filters(self, ifindex: int, parent: int) -> list[Filter]:
        """Return the filters below `parent`.

        Raises:
            OSError: As `classes`.

        """
        found = map(filter_of, self._told(GET_FILTER, NEW_FILTER, ifindex, parent))
        return [one for one in found if one is not None]

    def addresses(self) -> set[bytes]:
        """Return the addresses of all links, 16 bytes each: IPv4 as ::ffff:0:0/96.

        Raises:
            OSError: As `classes`.

        """
        found = map(address_of, self._told(GET_ADDRESS, NEW_ADDRESS, 0))
        return {one for one in found if one is not None}

    def namespace_of(self, pid: int) -> int:
        """Return the number that a process's network namespace has here, -1 where it has none.

        So it is with this very namespace, and with a process that is gone.

        Raises:
            OSError: The kernel did not answer.

        """
        answer = self._answer(_Bound(namespace_message, pid), NEW_NAMESPACE)
        return -1 if answer is None else namespace_in(answer)

    def ends(self) -> dict[int, list[str]]:
        """Return the links whose other end is in another network namespace, by its number here.

        Raises:
            OSError: As `classes`.

        """
        found: dict[int, list[str]] = {}
        for message in self._messages(links_message, NEW_LINK):
            end = end_of(message)
            if end is not None:
                found.setdefault(end[0], []).append(end[1])
        return found

    def is_up(self, ifindex: int) -> bool:
        """Say whether there is such a link, and it is up."""
        answer = self._answer(_Bound(link_message, ifindex), NEW_LINK)
        return answer is not None and is_up(answer)

    def kind(self, ifindex: int) -> str | None:
        """Return of which kind a link is, "" where it is a device, None where it is gone."""
        answer = self._answer(_Bound(link_message, ifindex), NEW_LINK)
        return None if answer is None else kind_of(answer)

    def _answer(self, request: Build, wanted: int) -> bytes | None:
        """Return the message that answers a request, None where there is none.

        Of some things the kernel says nothing, and reports no error either: hence the
        acknowledgement, which comes last.
        """
        self._sequence += 1
        self._socket.send(_with_ack(request(self._sequence)))
        answer = None
        while True:
            buffer = self._socket.recv(_BUFFER_BYTES)
            for offset, length, kind, sequence in messages_in(buffer):
                if sequence == self._sequence and kind == wanted:
                    answer = buffer[offset : offset + length]
                elif sequence == self._sequence and kind == ERROR:
                    return answer

    def put_back(self, qdisc: Qdisc) -> None:
        """Put a root qdisc there as it was found, in the place of what is there now.

        Raises:
            OSError: The kernel refused.

        """
        there = self.root(qdisc.ifindex)
        if there is not None and not there.is_default:  # of some kinds not all can be changed
            self._ask(_Bound(qdisc_removal, there))
        self._ask(_Bound(qdisc_message, qdisc))

    def _ask(self, request: Build) -> None:
        for code in self._batch([request]).values():
            _raise(code)

    def _told(self, get: int, new: int, ifindex: int, parent: int = 0) -> list[bytes]:
        return self._messages(_Bound(dump_message, get, ifindex, parent), new)

    def _messages(self, request: Build, new: int) -> list[bytes]:
        return [
            buffer[offset : offset + length]
            for buffer in self._dump(request)
            for offset, length, kind, _ in messages_in(buffer)
            if kind == new
        ]

    def _dump(self, request: Build) -> list[bytes]:
        self._sequence += 1
        self._socket.send(request(self._sequence))
        buffers = []
        while True:
            buffer = self._socket.recv(_BUFFER_BYTES)
            buffers.append(buffer)
            if is_end_of_dump(buffer, self._sequence):
                if HEADER.unpack_from(buffer)[1] == ERROR:
                    _raise(_errno_at(buffer, 0))
                return buffers

    def _batch(self, builds: Sequence[Build]) -> dict[int, int]:
        """Send requests, many at a time; return the errno of each that failed, by place.

        Errors come of each request, success only of the last of a send.
        """
        failed: dict[int, int] = {}
        for start in range(0, len(builds), _PER_SEND):
            part, first = builds[start : start + _PER_SEND], self._sequence + 1
            requests = [build(first + place) for place, build in enumerate(part)]
            self._sequence += len(part)
            self._socket.send(b"".join([*requests[:-1], _with_ack(requests[-1])]))
            for place, code in self._answers(first).items():
                failed[start + place] = code
        return failed

    def _answers(self, first: int) -> dict[int, int]:
        failed: dict[int, int] = {}
        while True:
            buffer = self._socket.recv(_BUFFER_BYTES)
            for offset, _, kind, sequence in messages_in(buffer):
                if kind != ERROR or sequence < first:
                    continue
                code = _errno_at(buffer, offset)
                if code:
                    failed[sequence - first] = code
                if sequence == self._sequence:
                    return failed


def _opened_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        opened.bind((0, 0))
        opened.settimeout(_PATIENCE_S)
        opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)  # errors without the request in them
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        with suppress(PermissionError):  # without it the default has to do
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except OSError:
        opened.close()
        raise
    return opened


class _Bound:
    """A request that still lacks its sequence number."""

    __slots__ = ("_build", "_words")

    def __init__(self, build: Callable[..., bytes], *words: object) -> None:
        self._build, self._words = build, words

    def __call__(self, sequence: int) -> bytes:
        return self._build(sequence, *self._words)


def _with_ack(request: bytes) -> bytes:
    length, kind, flags, sequence, port = HEADER.unpack_from(request)
    return HEADER.pack(length, kind, flags | ACK, sequence, port) + request[HEADER.size :]


def _errno_at(buffer: bytes, offset: int) -> int:
    (code,) = struct.unpack_from("=i", buffer, offset + HEADER.size)
    return -int(code)


def _raise(code: int) -> None:
    if code not in (0, errno.ENODEV):
        raise OSError(code, f"netlink: {os.strerror(code)}")
