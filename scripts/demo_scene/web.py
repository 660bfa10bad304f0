"""The platinum web service: a small threaded HTTP server that packs pages off its disk.

python -m scripts.demo_scene.web PROGRESS FILE
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.demo_scene.answering import BACKLOG, answer_for_ever
from scripts.demo_scene.progress import Progress
from scripts.demo_scene.work import pack, page_reader

ADDRESS = ("127.0.0.1", 8080)
_THREADS = 4


def _pages(file: int, seed: int) -> Callable[[], bytes]:
    read = page_reader(file, seed=seed)
    return lambda: pack(read())


def main(page: str, path: str) -> None:
    """Warm the page cache as databases do, then serve for ever; the visitors count."""
    file = os.open(path, os.O_RDONLY)
    while os.read(file, 1 << 20):
        pass
    with socket.create_server(ADDRESS, backlog=BACKLOG) as listener:
        threads = answer_for_ever(listener, [_pages(file, seed) for seed in range(_THREADS)])
        Progress(Path(page)).wait_for_start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
