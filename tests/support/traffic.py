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


BOX, VETH, INSIDE, BOX_ADDRESS = "box", "ve-bits", "ve-in", "10.8.0.2"


def lay_veth() -> None:
    """Put a network namespace behind a veth of this host, and let the peer find the way there."""
    sh(f"ip netns add {BOX}")
    sh(f"ip link add {VETH} type veth peer name {INSIDE} netns {BOX}")
    sh(f"ip addr add 10.8.0.1/24 dev {VETH}")
    sh(f"ip link set {VETH} up")
    sh(f"ip -n {BOX} addr add {BOX_ADDRESS}/24 dev {INSIDE}")
    sh(f"ip -n {BOX} link set {INSIDE} up")
    sh(f"ip -n {BOX} route add default via 10.8.0.1")
    sh(f"ip -n {NETNS} route add 10.8.0.0/24 via {OURS}")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


class Traffic:
    """TCP streams between tenants and the peer."""

    def __init__(self, root: Path) -> None:
        self._root, self._processes, self._port = root, [], PORT  # type: ignore[var-annotated]

    def stream(self, tenant: str, way: str) -> None:
        """Let a tenant send to the peer or receive from it from now on."""
        self._between(str(self._root / tenant / "cgroup.procs"), OURS, way)

    def stream_of_box(self, way: str) -> None:
        """Let a process in the box behind the veth send to the peer, or receive from it."""
        self._between(BOX, BOX_ADDRESS, way)

    def _between(self, where: str, address: str, way: str) -> None:
        self._port += 1
        ours = [where, THEIRS if way == "out" else address]
        theirs = [NETNS, ours[1]]
        server, client = (theirs, ours) if way == "out" else (ours, theirs)
        self._start(SERVER, server)
        self._start(CLIENT, client)

    def _start(self, program: str, words: list[str]) -> None:
        """Run a program in a network namespace, or in a cgroup by its file of processes."""
        place, *rest = words
        where = [] if "/" in place else ["ip", "netns", "exec", place]
        procs = place if "/" in place else ""
        argv = [*where, sys.executable, "-c", program, procs, *rest, str(self._port)]
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
