"""agent.heap: memory that is free goes back to the kernel, in a process of its own."""

import subprocess
import sys

PROGRAM = """
import ctypes
from agent.heap import give_back_large_blocks
{call}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident_kib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

def touched(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block

before = resident_kib()
libc.free(touched(24 << 20))
large, small = touched(20 << 20), touched(100 << 10)  # where both are in the heap, small is behind
libc.free(large)
print(resident_kib() - before)
"""


def left_kib(call: str) -> int:
    """Return how much memory a process holds once it has freed all that was large."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_large_blocks_that_are_freed_are_given_back() -> None:
    assert left_kib("") > 16 << 10, "this C library gives them back by itself"
    assert left_kib("give_back_large_blocks()") < 2 << 10
