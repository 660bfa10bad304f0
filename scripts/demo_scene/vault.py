"""Where the backup of the network scene is sent to, at the far end of the uplink: counts bytes.

python -m scripts.demo_scene.vault PROGRESS HOST PORT
"""

import selectors
import socket
import sys
from pathlib import Path

from scripts.demo_scene.progress import Progress


def main(page: str, host: str, port: str) -> None:
    """Receive for ever; done is what has arrived."""
    progress = Progress(Path(page))
    buffer = bytearray(1 << 18)
    done = 0
    with (
        socket.create_server((host, int(port))) as listener,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(listener, selectors.EVENT_READ)
        progress.wait_for_start()
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    selector.register(listener.accept()[0], selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    done += key.fileobj.recv_into(buffer)
            progress.report(wanted=done, done=done)


if __name__ == "__main__":
    main(*sys.argv[1:])
