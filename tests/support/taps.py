"""A virtual machine's way to the network, without one: a tap here, and one in a namespace.

A process hands frames from one to the other, as a hypervisor does between its tap and its guest.
"""

import subprocess
import sys

from traffic import BOX, INSIDE, VETH, lead_to_box, make_box, sh

_PUMP = """
import ctypes, fcntl, os, select, struct, sys
def tap(name):
    device = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(device, 0x400454CA, struct.pack('16sH22x', name.encode(), 0x1002))  # TAP, NO_PI
    return device
here = tap(sys.argv[1])
with open('/run/netns/' + sys.argv[3]) as netns:
    assert ctypes.CDLL(None).setns(netns.fileno(), 0x40000000) == 0
there = tap(sys.argv[2])
print('ready', flush=True)
while True:
    for device in select.select([here, there], [], [])[0]:
        try:
            os.write(there if device == here else here, os.read(device, 65536))
        except OSError:
            pass  # the other end is down
"""


class Tap:
    """Lays the tap under the name that a box's veth has elsewhere, and takes it away."""

    def __init__(self) -> None:
        subprocess.run(["modprobe", "-q", "tun"], check=False)
        make_box()
        self._pump = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PUMP, VETH, INSIDE, BOX], stdout=subprocess.PIPE
        )
        assert self._pump.stdout is not None
        assert self._pump.stdout.readline() == b"ready\n"
        lead_to_box()

    def take(self) -> None:
        """End the hypervisor's part: both taps go with it."""
        self._pump.kill()
        self._pump.communicate()
        sh(f"ip netns del {BOX}")
