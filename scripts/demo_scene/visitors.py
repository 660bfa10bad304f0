"""A service's visitors: requests sent on a schedule, however slow the answers are.

Run as: python -m scripts.demo_scene.visitors PROGRESS ARRIVALS ANSWERS HOST PORT TIMEOUT_S

ARRIVALS holds float64 seconds; ANSWERS gets a pair of float64 as each request ends: when it was
to arrive, and how long from then to the whole answer (inf: given up).  Latency counts from the
scheduled arrival, so that a slow service cannot hide behind its own slowness.
"""

import selectors
import socket
import struct
import sys
import time
from array import array
from collections import deque
from math import inf
from pathlib import Path
from typing import BinaryIO

from scripts.demo_scene.progress import Progress

_IDLE_S = 1.0
PAIR = struct.Struct("=2d")


class Visitors:
    """All requests under way; one thread, no request waits for another."""

    def __init__(
        self, address: tuple[str, int], answers: BinaryIO, start_at_s: float, timeout_s: float
    ) -> None:
        self._address, self._answers = address, answers
        self._start_at_s, self._timeout_s = start_at_s, timeout_s
        self._selector = selectors.DefaultSelector()
        self._open: dict[socket.socket, float] = {}
        self._answered: set[socket.socket] = set()

    def run(self, arrivals_s: deque[float]) -> None:
        """Send each request when it is due, until the last is answered or given up."""
        while arrivals_s or self._open:
            now_s = time.monotonic() - self._start_at_s
            while arrivals_s and arrivals_s[0] <= now_s:
                self._send(arrivals_s.popleft())
            self._give_up(now_s)
            for key, _ in self._selector.select(self._idle_s(arrivals_s)):
                if isinstance(key.fileobj, socket.socket):
                    self._advance(key.fileobj, key.events)

    def _idle_s(self, arrivals_s: deque[float]) -> float:
        due_s = next(iter(self._open.values()), inf) + self._timeout_s
        if arrivals_s:
            due_s = min(due_s, arrivals_s[0])
        return min(_IDLE_S, max(0.0, due_s + self._start_at_s - time.monotonic()))

    def _send(self, arrival_s: float) -> None:
        visitor = socket.socket()
        visitor.setblocking(False)
        visitor.connect_ex(self._address)
        self._open[visitor] = arrival_s
        self._selector.register(visitor, selectors.EVENT_WRITE)

    def _advance(self, visitor: socket.socket, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                visitor.send(b"GET / HTTP/1.0\r\n\r\n")
                self._selector.modify(visitor, selectors.EVENT_READ)
            elif part := visitor.recv(1 << 18):
                if part.startswith(b"HTTP/1.0 200"):
                    self._answered.add(visitor)
            else:
                took_s = time.monotonic() - self._start_at_s - self._open[visitor]
                self._end(visitor, took_s if visitor in self._answered else inf)
        except OSError:  # refused or reset
            self._end(visitor, inf)

    def _give_up(self, now_s: float) -> None:
        late = [v for v, arrival_s in self._open.items() if now_s - arrival_s > self._timeout_s]
        for visitor in late:
            self._end(visitor, inf)

    def _end(self, visitor: socket.socket, latency_s: float) -> None:
        self._selector.unregister(visitor)
        self._answered.discard(visitor)
        visitor.close()
        self._answers.write(PAIR.pack(self._open.pop(visitor), latency_s))


def main(page: str, arrivals: str, answers: str, *address: str) -> None:
    """Play the whole schedule once."""
    schedule = array("d", Path(arrivals).read_bytes())
    host, port, timeout_s = address
    with Path(answers).open("ab", buffering=0) as file:
        start_at_s = Progress(Path(page)).wait_for_start()
        Visitors((host, int(port)), file, start_at_s, float(timeout_s)).run(deque(schedule))


if __name__ == "__main__":
    main(*sys.argv[1:])
