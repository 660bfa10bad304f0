"""The platinum web service: a small threaded HTTP server that packs pages off its disk.

python -m scripts.demo_scene.web PROGRESS FILE
"""

import os
import socket
import sys
from pathlib import Path
from threading import Thread

from scripts.demo_scene.progress import Progress
from scripts.demo_scene.work import pack, page_reader

ADDRESS = ("127.0.0.1", 8080)
_THREADS = 4
_BACKLOG = 1024


def _serve(listener: socket.socket, file: int, seed: int) -> None:
    read = page_reader(file, seed=seed)
    while True:
        visitor, _ = listener.accept()
        with visitor:
            try:
                visitor.recv(4096)
                if _is_gone(visitor):
                    continue
                body = pack(read())
                visitor.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            except OSError:  # the visitor has gone away
                continue


def _is_gone(visitor: socket.socket) -> bool:
    """Say whether the visitor has hung up, so that no work is wasted on them."""
    try:
        return not visitor.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def main(page: str, path: str) -> None:
    """Warm the page cache as databases do, then serve for ever; the visitors count."""
    file = os.open(path, os.O_RDONLY)
    while os.read(file, 1 << 20):
        pass
    with socket.create_server(ADDRESS, backlog=_BACKLOG) as listener:
        threads = [Thread(target=_serve, args=(listener, file, n)) for n in range(_THREADS)]
        for thread in threads:
            thread.start()
        Progress(Path(page)).wait_for_start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
