"""The silver batch job of the disk scene: reads a file in large parts, several at a time.

python -m scripts.demo_scene.batch PROGRESS FILE PART_BYTES READERS
"""

import mmap
import os
import random
import sys
from pathlib import Path
from threading import Thread

from scripts.demo_scene.progress import Progress


def _read(file: int, part_bytes: int, seed: int) -> None:
    buffer = mmap.mmap(-1, part_bytes)  # aligned, as O_DIRECT has it
    parts = os.fstat(file).st_size // part_bytes
    draw = random.Random(seed)
    while True:
        os.preadv(file, [buffer], draw.randrange(parts) * part_bytes)


def main(page: str, path: str, part_bytes: str, readers: str) -> None:
    """Read for ever; the kernel counts."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    Progress(Path(page)).wait_for_start()
    for seed in range(int(readers)):
        Thread(target=_read, args=(file, int(part_bytes), seed)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
