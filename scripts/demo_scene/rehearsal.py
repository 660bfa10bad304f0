"""The rehearsal: what one unit of each tenant's work costs on the idle host."""

import socket
import statistics
import time
import zlib
from collections.abc import Callable
from contextlib import closing

from scripts.demo_scene import scene, stage
from scripts.demo_scene.eater import READ_BYTES
from scripts.demo_scene.perform import WEB_PROGRAM
from scripts.demo_scene.play import Cast
from scripts.demo_scene.record import Costs
from scripts.demo_scene.web import ADDRESS
from scripts.demo_scene.work import CHUNK_BYTES, pack, text

_ROUNDS, _REPEATS = 3, 60


def costs() -> Costs:
    """Measure with nothing else running in the lab: the best round of each.

    Other work on the machine only ever adds to a time, and would make the whole scene easier.
    """
    chunk = text(CHUNK_BYTES)
    rounds = []
    with (
        stage.new_cgroups(scene.NAMES),
        stage.SCAN_FILE.open("rb", buffering=0) as file,
        closing(Cast()) as cast,
    ):
        cast.tenants(WEB_PROGRAM)
        cast.start()
        for _ in range(_ROUNDS):
            request_s, chunk_s = _time_s(_ask), _time_s(lambda: pack(chunk))
            scan_s = _time_s(lambda: zlib.crc32(file.read(READ_BYTES)))
            rounds.append(Costs(request_s, chunk_s, scan_s / READ_BYTES))
    return Costs(
        min(one.request_core_s for one in rounds),
        min(one.chunk_core_s for one in rounds),
        min(one.scan_core_s_per_byte for one in rounds),
    )


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
    return statistics.median(times_s)
