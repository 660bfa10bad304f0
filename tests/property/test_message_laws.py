"""forecast.message: whatever bytes come, a message is whole and sound, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forecast.message import (
    Begin,
    Frames,
    Hello,
    Learned,
    Message,
    MessageError,
    encoded,
    rearrange_message,
    step_message,
)
from forecast.settings import ForecastSettings

numbers = st.integers(min_value=0, max_value=2**62)
columns = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(width=32))
messages: st.SearchStrategy[Message] = st.one_of(
    st.just(Hello()),
    st.builds(Learned, numbers, numbers),
    st.builds(Begin, numbers, st.just(ForecastSettings()), st.integers(0, 50_000)),
    st.builds(step_message, numbers, columns, is_past=st.booleans()),
    st.builds(rearrange_message, numbers, hnp.arrays(np.int64, st.integers(0, 40))),
)


@given(st.lists(messages, max_size=6), st.data())
def test_messages_arrive_whole_however_the_bytes_are_cut(
    sent: list[Message], data: st.DataObject
) -> None:
    stream = b"".join(encoded(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, arrived = Frames(), list[Message]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += frames.fed(stream[start:end])
    assert arrived == sent


@given(messages, st.data())
def test_a_cut_off_message_never_arrives(message: Message, data: st.DataObject) -> None:
    frame = encoded(message)
    assert list(Frames().fed(frame[: data.draw(st.integers(0, len(frame) - 1))])) == []


@given(messages, st.data())
def test_a_message_with_a_wrong_byte_never_arrives(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encoded(message))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    try:
        arrived = list(Frames().fed(bytes(frame)))
    except MessageError:
        return
    assert arrived == []  # a longer one was announced, and is waited for


@given(st.binary(min_size=14, max_size=300))
def test_noise_is_refused_at_once(noise: bytes) -> None:
    with pytest.raises(MessageError):
        list(Frames().fed(noise))
