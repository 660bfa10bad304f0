"""A link to a peer in a network namespace of its own, and endless streams over it."""

import signal
import subprocess
import sys
from pathlib import Path

MBIT = 125_000.0
LINK, PEER, NETNS, OURS, THEIRS, PORT = "up0", "up1", "peer", "10.7.0.1", "10.7.0.2", 5000
NAMES = ("acme", "bits")
SERVER = """
import socket, sys
open(sys.argv[1], "w").write(str(__import__("os").getpid())) if sys.argv[1] else None
listener = socket.create_server((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
while True:
    connection = listener.accept()[0]
    try:
        while connection.recv(1 << 20):
            pass
    except OSError:
        pass
"""
CLIENT = """
import socket, sys
open(sys.argv[1], "w").write(str(__import__("os").getpid())) if sys.argv[1] else None
connection = socket.create_connection((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
chunk = bytes(1 << 18)
try:
    while True:
        connection.sendall(chunk)
except OSError:
    pass
"""


def sh(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def lay_link(root: Path) -> None:
    """Lay a link to a peer; make the cgroups of two tenants below `root`."""
    sh(f"ip netns add {NETNS}")
    sh(f"ip link add {LINK} type veth peer name {PEER} netns {NETNS}")
    for where, name, address in (("", LINK, OURS), (f"-n {NETNS}", PEER, THEIRS)):
        sh(f"ip {where} addr add {address}/24 dev {name}")
        sh(f"ip {where} link set {name} up")
    for name in NAMES:
        (root / name).mkdir(exist_ok=True)


class Traffic:
    """TCP streams between tenants and the peer."""

    def __init__(self, root: Path) -> None:
        self._root, self._processes, self._port = root, [], PORT  # type: ignore[var-annotated]

    def stream(self, tenant: str, way: str) -> None:
        """Let a tenant send to the peer or receive from it from now on."""
        self._port += 1
        ours = [str(self._root / tenant / "cgroup.procs"), THEIRS if way == "out" else OURS]
        theirs = ["", ours[1]]
        server, client = (theirs, ours) if way == "out" else (ours, theirs)
        self._start(SERVER, server)
        self._start(CLIENT, client)

    def _start(self, program: str, words: list[str]) -> None:
        where = [] if words[0] else ["ip", "netns", "exec", NETNS]
        argv = [*where, sys.executable, "-c", program, *words, str(self._port)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        """End all streams."""
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()
