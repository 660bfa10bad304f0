"""The units of work that tenants do: packing text, and reading pages off the disk first."""

import os
import random
import zlib
from collections.abc import Callable

BLOCK_BYTES = 4096
BLOCKS_PER_CHUNK = 64
CHUNK_BYTES = BLOCKS_PER_CHUNK * BLOCK_BYTES
_LETTERS = bytes(b"etaoinshrdlucmfwypvbgkjqxz .,;\n-"[i % 32] for i in range(256))


def text(size_bytes: int, *, seed: int = 1) -> bytes:
    """Return `size_bytes` of made-up text, which packs about as well as prose."""
    return random.Random(seed).randbytes(size_bytes).translate(_LETTERS)


def pack(data: bytes) -> bytes:
    """Compress one chunk, the CPU work that tenants do."""
    return zlib.compress(data, 6)


def page_reader(file: int, *, seed: int) -> Callable[[], bytes]:
    """Return a function that reads one page's blocks, scattered over `file`.

    The web service's pages are database rows, so to say: each needs a few blocks anywhere.
    """
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    blocks = os.fstat(file).st_size // BLOCK_BYTES
    draw = random.Random(seed)

    def read() -> bytes:
        at = [draw.randrange(blocks) * BLOCK_BYTES for _ in range(BLOCKS_PER_CHUNK)]
        return b"".join(os.pread(file, BLOCK_BYTES, offset) for offset in at)

    return read
