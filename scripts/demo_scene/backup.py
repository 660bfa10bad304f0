"""The silver backup of the network scene: sends all that it can, over several connections.

python -m scripts.demo_scene.backup PROGRESS HOST PORT CONNECTIONS
"""

import socket
import sys
from pathlib import Path
from threading import Thread

from scripts.demo_scene.progress import Progress

_PART = bytes(1 << 18)


def _send(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        while True:
            connection.sendall(_PART)


def main(page: str, host: str, port: str, connections: str) -> None:
    """Send for ever; the vault counts."""
    Progress(Path(page)).wait_for_start()
    for _ in range(int(connections)):
        Thread(target=_send, args=((host, int(port)),)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
