"""Laws of reading addresses from the kernel: messages of any family, whole or cut short."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from enforce.links.messages import HEADER, NEW_ADDRESS, address_of

LOCAL, PEER, LABEL = 2, 1, 3
addresses = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


def message(*attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack("=BBBBi", 0, 24, 0, 0, 7)
    for kind, content in attributes:
        padding = bytes(-len(content) % 4)
        body += struct.pack("=HH", 4 + len(content), kind) + content + padding
    return HEADER.pack(HEADER.size + len(body), NEW_ADDRESS, 0, 1, 0) + body


@given(own=addresses, peer=addresses | st.none(), label=st.binary(max_size=16))
def test_the_own_address_is_found_whatever_is_told_beside_it(
    own: bytes, peer: bytes | None, label: bytes
) -> None:
    found = [(PEER, peer), (LOCAL, own)] if peer is not None else [(PEER, own)]
    said = address_of(message((LABEL, label), *found))
    assert said == (own if len(own) == 16 else bytes(10) + b"\xff\xff" + own)


@given(own=st.binary(max_size=20), noise=st.binary(max_size=60), length=st.integers(0, 99))
def test_what_is_no_address_is_none(own: bytes, noise: bytes, length: int) -> None:
    for content in (message((LOCAL, own))[:length], noise):
        assert len(address_of(content) or bytes(16)) == 16
