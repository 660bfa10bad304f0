"""The gold job: a report of a fixed number of chunks every few seconds, given up when late.

python -m scripts.demo_scene.report PROGRESS CHUNKS EVERY_S WITHIN_S
"""

import sys
import time
from itertools import count
from pathlib import Path

from scripts.demo_scene.progress import Progress, wait_until
from scripts.demo_scene.work import CHUNK_BYTES, pack, text


def main(page: str, chunks: str, every_s: str, within_s: str) -> None:
    """Count chunks wanted and done in time, and the reports that came too late."""
    chunk = text(CHUNK_BYTES)
    progress = Progress(Path(page))
    start_at_s = progress.wait_for_start()
    wanted = done = late = 0
    for number in count():
        due_at_s = start_at_s + number * float(every_s)
        wait_until(due_at_s)
        wanted += int(chunks)
        for _ in range(int(chunks)):
            pack(chunk)
            if time.monotonic() > due_at_s + float(within_s):
                late += 1
                break
            done += 1
            progress.report(wanted=wanted, done=done, late=late)
        progress.report(wanted=wanted, done=done, late=late)


if __name__ == "__main__":
    main(*sys.argv[1:])
