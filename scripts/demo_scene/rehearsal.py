"""The rehearsal: what one unit of each tenant's work costs on the idle host."""

import socket
import time
import zlib
from collections.abc import Callable

from scripts.demo_scene import stage
from scripts.demo_scene.eater import READ_BYTES
from scripts.demo_scene.play import WEB_PROGRAM, Tenants, start
from scripts.demo_scene.record import Costs, quantile
from scripts.demo_scene.web import ADDRESS
from scripts.demo_scene.work import CHUNK_BYTES, pack, text

_REPEATS = 120
_UNDISTURBED = 0.25  # other work on the machine only ever adds to a time


def costs() -> Costs:
    """Measure with nothing else running in the lab."""
    chunk = text(CHUNK_BYTES)
    chunk_s = _time_s(lambda: pack(chunk))
    with stage.SCAN_FILE.open("rb", buffering=0) as file:
        scan_s = _time_s(lambda: zlib.crc32(file.read(READ_BYTES)))
    return Costs(_request_s(), chunk_s, scan_s / READ_BYTES)


def _request_s() -> float:
    """Return how long an idle host takes for one request, its pages in memory."""
    with stage.new_cgroups():
        tenants = Tenants(WEB_PROGRAM)
        try:
            start([tenants.progress["web"]])
            return _time_s(_ask)
        finally:
            tenants.close()


def _ask() -> None:
    with socket.create_connection(ADDRESS) as visitor:
        visitor.send(b"GET / HTTP/1.0\r\n\r\n")
        while visitor.recv(1 << 18):
            pass


def _time_s(work: Callable[[], object]) -> float:
    times_s = []
    for _ in range(_REPEATS):
        begun_at_s = time.monotonic()
        work()
        times_s.append(time.monotonic() - begun_at_s)
    return quantile(times_s, _UNDISTURBED)
