"""The silver memory eater: scans a file larger than its share, again and again, at a pace.

python -m scripts.demo_scene.eater PROGRESS FILE TABLE_BYTES BYTES_PER_S
"""

import mmap
import os
import random
import sys
import time
import zlib
from pathlib import Path

from scripts.demo_scene.progress import Progress, wait_until

READ_BYTES = 1 << 18
_PACE_S = 0.1


def main(page: str, file: str, table_bytes: str, bytes_per_s: str) -> None:
    """Count bytes wanted (by the clock) and read; what is behind is caught up with."""
    table = mmap.mmap(-1, int(table_bytes), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, len(table), mmap.PAGESIZE):
        table[offset] = 1
    data = os.open(file, os.O_RDONLY)
    reads = os.fstat(data).st_size // READ_BYTES
    draw = random.Random(3)
    progress = Progress(Path(page))
    start_at_s = progress.wait_for_start()
    done = 0
    while True:
        wanted = int((time.monotonic() - start_at_s) * float(bytes_per_s))
        while done < wanted:
            zlib.crc32(os.pread(data, READ_BYTES, draw.randrange(reads) * READ_BYTES))
            done += READ_BYTES
            progress.report(wanted=max(wanted, done), done=done)
        wait_until(time.monotonic() + _PACE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
