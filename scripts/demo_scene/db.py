"""The platinum database of the disk scene: small reads, each due at its own time.

python -m scripts.demo_scene.db PROGRESS ARRIVALS ANSWERS FILE

ARRIVALS and ANSWERS are as the visitors have them.  None of these reads is given up.
"""

import mmap
import os
import random
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from scripts.demo_scene.progress import Progress, wait_until
from scripts.demo_scene.visitors import PAIR
from scripts.demo_scene.work import BLOCK_BYTES

_READERS = 16  # reads under way at most; one that is due waits for a reader, and that counts


def _read(
    file: int, schedule: Iterator[float], answers: BinaryIO, start_at_s: float, seed: int
) -> None:
    buffer = mmap.mmap(-1, BLOCK_BYTES)  # aligned, as O_DIRECT has it
    blocks = os.fstat(file).st_size // BLOCK_BYTES
    draw = random.Random(seed)
    for due_s in schedule:  # all readers take from this one
        wait_until(start_at_s + due_s)
        os.preadv(file, [buffer], draw.randrange(blocks) * BLOCK_BYTES)
        answers.write(PAIR.pack(due_s, time.monotonic() - start_at_s - due_s))


def main(page: str, arrivals: str, answers: str, path: str) -> None:
    """Play the whole schedule once."""
    schedule = iter(array("d", Path(arrivals).read_bytes()))
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    with Path(answers).open("ab", buffering=0) as log:
        start_at_s = Progress(Path(page)).wait_for_start()
        readers = [
            Thread(target=_read, args=(file, schedule, log, start_at_s, seed))
            for seed in range(_READERS)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
