"""The platinum shop of the network scene: small answers, which take the network and little else.

python -m scripts.demo_scene.shop PROGRESS HOST PORT ANSWER_BYTES
"""

import socket
import sys
from pathlib import Path

from scripts.demo_scene.answering import BACKLOG, answer_for_ever
from scripts.demo_scene.progress import Progress

_THREADS = 8  # each sends one answer at a time


def main(page: str, host: str, port: str, answer_bytes: str) -> None:
    """Serve for ever; the visitors count."""
    answer = bytes(int(answer_bytes))
    with socket.create_server((host, int(port)), backlog=BACKLOG) as listener:
        threads = answer_for_ever(listener, [lambda: answer] * _THREADS)
        Progress(Path(page)).wait_for_start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
