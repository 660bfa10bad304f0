"""The silver hog: packs one chunk after the other, for ever.

python -m scripts.demo_scene.hog PROGRESS
"""

import sys
from pathlib import Path

from scripts.demo_scene.progress import Progress
from scripts.demo_scene.work import CHUNK_BYTES, pack, text


def main(page: str) -> None:
    """Count each chunk packed."""
    chunk = text(CHUNK_BYTES)
    progress = Progress(Path(page))
    progress.wait_for_start()
    done = 0
    while True:
        pack(chunk)
        done += 1
        progress.report(wanted=done, done=done)


if __name__ == "__main__":
    main(*sys.argv[1:])
