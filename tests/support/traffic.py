"""A link to a peer in a network namespace of its own, and endless streams over it."""

import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tenants import wait_until

MBIT = 125_000.0
LINK, PEER, NETNS, OURS, THEIRS, PORT = "up0", "up1", "peer", "10.7.0.1", "10.7.0.2", 5000
OURS_6, THEIRS_6 = "fd07::1", "fd07::2"
NAMES = ("acme", "bits")
SERVER = """
import socket, sys
open(sys.argv[1], "w").write(str(__import__("os").getpid())) if sys.argv[1] else None
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
listener = socket.create_server((sys.argv[2], int(sys.argv[3])), family=family, reuse_port=True)
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
RECEIVER = """
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind((sys.argv[2], int(sys.argv[3])))
receiver.settimeout(10)
print("ready", flush=True)
print(receiver.recv(2048).decode(), flush=True)
"""
SENDER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
sender = socket.socket(family, socket.SOCK_DGRAM)
sender.bind(("", int(sys.argv[1])))
if sys.argv[6]:  # Hop-by-Hop: six bytes of padding
    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, bytes((0, 0, 1, 4, 0, 0, 0, 0)))
for _ in range(int(sys.argv[4])):
    sender.sendto(b"datagram".ljust(int(sys.argv[5]), b"."), (sys.argv[2], int(sys.argv[3])))
"""
FLOOD = """
import socket, sys, time
open(sys.argv[1], "w").write(str(__import__("os").getpid())) if sys.argv[1] else None
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
sender, payload = socket.socket(family, socket.SOCK_DGRAM), bytes(1400)
per_s = float(sys.argv[4]) / (len(payload) + (62 if family == socket.AF_INET6 else 42))
print("ready", flush=True)
began_s, sent = time.monotonic(), 0
while True:
    owed = int((time.monotonic() - began_s) * per_s) - sent
    for _ in range(min(owed, 100)):  # who was kept waiting does not make up for all of it
        sender.sendto(payload, (sys.argv[2], int(sys.argv[3])))
    sent += owed
    time.sleep(0.002)
"""


def sh(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def lay_link(root: Path) -> None:
    """Lay a link to a peer; make the cgroups of two tenants below `root`."""
    sh(f"ip netns add {NETNS}")
    ip(
        f"link add {LINK} type veth peer name {PEER} netns {NETNS}",
        f"addr add {OURS}/24 dev {LINK}",
        f"link set {LINK} up",
    )
    ip(
        f"addr add {THEIRS}/24 dev {PEER}",
        f"link set {PEER} up",
        netns=NETNS,
    )
    # Who comes before loses packets, and sees the interface in another state than who comes later.
    wait_until(lambda: Path(f"/sys/class/net/{LINK}/operstate").read_text() == "up\n")
    for name in NAMES:
        (root / name).mkdir(exist_ok=True)


def lay_ipv6() -> None:
    """Give both ends of the link IPv6 addresses."""
    sh("modprobe ipv6")
    ip(f"addr add {OURS_6}/64 dev {LINK} nodad")
    ip(f"addr add {THEIRS_6}/64 dev {PEER} nodad", netns=NETNS)


VLAN, OURS_7, THEIRS_7 = "up0.7", "10.9.0.1", "10.9.0.2"


def lay_vlan() -> None:
    """Give both ends of the link a VLAN; that of this host's is `VLAN`."""
    sh("modprobe 8021q")
    for name, address, netns in ((LINK, OURS_7, ""), (PEER, THEIRS_7, NETNS)):
        ip(
            f"link add link {name} name {name}.7 type vlan id 7",
            f"addr add {address}/24 dev {name}.7",
            f"link set {name}.7 up",
            netns=netns,
        )


def ip(*commands: str, netns: str = "") -> None:
    """Run several commands of ip with one process: starting one takes long in the lab."""
    where = ["-n", netns] if netns else []
    text = "\n".join(commands)
    subprocess.run(["ip", *where, "-batch", "-"], input=text, check=True, text=True)


BOX, VETH, INSIDE, BOX_ADDRESS = "box", "ve-bits", "ve-in", "10.8.0.2"


def lay_veth(inside_ifindex: int = 0) -> None:
    """Put a network namespace behind a veth of this host, and let the peer find the way there."""
    make_box()
    numbers = ("index 1000", f"index {inside_ifindex}") if inside_ifindex else ("", "")
    ip(
        f"link add {VETH} {numbers[0]} type veth peer name {INSIDE} {numbers[1]} netns {BOX}",
    )
    lead_to_box()


def make_box() -> None:
    """Make the namespace, without a way there."""
    sh(f"ip netns add {BOX}")


def lead_to_box() -> None:
    """Give what leads into the namespace its addresses, and let both sides find the way."""
    ip(f"addr add 10.8.0.1/24 dev {VETH}", f"link set {VETH} up")
    ip(
        f"addr add {BOX_ADDRESS}/24 dev {INSIDE}",
        f"link set {INSIDE} up",
        "route add default via 10.8.0.1",
        netns=BOX,
    )
    ip(f"route replace 10.8.0.0/24 via {OURS}", netns=NETNS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


BRIDGE = "br8"


def lay_bridge() -> None:
    """Let the host's end of the box's way be a port of a bridge, which routes."""
    ip(
        f"link add {BRIDGE} type bridge",
        f"addr flush dev {VETH}",
        f"link set {VETH} master {BRIDGE}",
        f"addr add 10.8.0.1/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    )


def lay_bridge_with_link() -> None:
    """Let the link be a port of the bridge too, which has the host's address: nothing is routed."""
    lay_bridge()
    ip(
        f"addr flush dev {LINK}",
        # Of its own, as bridges have where machines come and go.
        f"link set {BRIDGE} address 02:00:00:00:00:08",
        f"link set {LINK} master {BRIDGE}",
        f"addr add {OURS}/24 dev {BRIDGE}",
    )
    ip(f"route replace {THEIRS}/32 dev {INSIDE}", netns=BOX)
    ip(f"route replace 10.8.0.0/24 dev {PEER}", netns=NETNS)


def take_bridge() -> None:
    """Take it away; its ports are interfaces of their own again."""
    ip(f"link del {BRIDGE}")


def take_veth() -> None:
    """Take both away; of the namespace alone the kernel would clean up later."""
    ip(f"link del {VETH}")
    sh(f"ip netns del {BOX}")


def send_datagrams(
    to: str, port: int, *, sent_from: int = 0, count: int = 1, size: int = 8, options: bool = False
) -> None:
    """Let the peer send UDP datagrams to a port; with a hop-by-hop header if `options`."""
    words = [str(sent_from), to, str(port), str(count), str(size), "hop" * options]
    argv = ["ip", "netns", "exec", NETNS, sys.executable, "-c", SENDER, *words]
    subprocess.run(argv, check=True)


class Traffic:
    """Streams between tenants and the peer."""

    def __init__(self, root: Path) -> None:
        self._root, self._processes, self._port = root, [], PORT  # type: ignore[var-annotated]

    def stream(self, tenant: str, way: str, *, ours: str = OURS, theirs: str = THEIRS) -> None:
        """Let a tenant send to the peer or receive from it from now on, by TCP."""
        self._between(str(self._root / tenant / "cgroup.procs"), ours, way, theirs)

    def flood(self, tenant: str, to: str, port: int, bytes_per_s: float) -> None:
        """Let a tenant send datagrams of 1,400 bytes from now on; "": let the peer."""
        where = str(self._root / tenant / "cgroup.procs") if tenant else NETNS
        self._start(FLOOD, [where, to], port, [str(bytes_per_s)])

    def stream_of_box(self, way: str) -> None:
        """Let a process in the box behind the veth send to the peer, or receive from it."""
        self._between(BOX, BOX_ADDRESS, way)

    def box_receives_datagram(self, port: int) -> bool:
        """Say whether a UDP datagram of the peer's reaches a process in the box."""
        self._start(RECEIVER, [BOX, BOX_ADDRESS], port)
        output = self._processes[-1].stdout
        assert output is not None
        for _ in range(8):  # links that have just come up may lose some
            send_datagrams(BOX_ADDRESS, port)
            if select.select([output], [], [], 1.0)[0]:
                return str(output.readline()) == "datagram\n"
        return False

    def _between(self, where: str, address: str, way: str, peer: str = THEIRS) -> None:
        self._port += 1
        ours = [where, peer if way == "out" else address]
        theirs = [NETNS, ours[1]]
        server, client = (theirs, ours) if way == "out" else (ours, theirs)
        self._start(SERVER, server)
        self._start(CLIENT, client)

    def _start(
        self, program: str, words: list[str], port: int = 0, more: Sequence[str] = ()
    ) -> None:
        """Run a program in a network namespace, or in a cgroup by its file of processes."""
        place, *rest = words
        where = [] if "/" in place else ["ip", "netns", "exec", place]
        procs = place if "/" in place else ""
        argv = [*where, sys.executable, "-c", program, procs, *rest, str(port or self._port), *more]
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
