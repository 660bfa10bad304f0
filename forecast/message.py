"""Messages between the agent and its forecaster: versioned, bounded, checked before use.  Pure.

A frame is a header (magic, version, length) and a msgpack body; arrays travel as raw bytes of
known type and shape.  Anything else is refused with a typed error, never half believed.
"""

import struct
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from forecast.profile import Profile
from forecast.settings import ForecastSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAGIC: Final = b"TIDE"
VERSION: Final = 1
_HEADER = struct.Struct("!4sHQ")
HEADER_BYTES: Final = _HEADER.size
# 50,000 series with 240 steps of history are 48 MB.
MOST_BYTES: Final = 1 << 29
_MOST_SERIES: Final = 1_000_000


class MessageError(Exception):
    """What arrived is not a message of this version: corrupt, foreign or too large."""


class Begin(msgspec.Struct, tag=True, frozen=True):
    """Start afresh with so many series; `rows` holds past steps, float32, oldest first."""

    settings: ForecastSettings
    n_series: int
    rows: bytes


class Rearrange(msgspec.Struct, tag=True, frozen=True):
    """Put the series in a new order: int64 positions among the old ones, -1 for a newcomer."""

    positions: bytes


class Step(msgspec.Struct, tag=True, frozen=True):
    """One closed step of all series, float64; NaN is a gap."""

    step: int
    values: bytes


class Answer(msgspec.Struct, tag=True, frozen=True):
    """The profile that follows a step."""

    step: int
    n_series: int
    levels: bytes
    grid: bytes
    expected: bytes
    upper: bytes
    source: bytes


Message = Begin | Rearrange | Step | Answer
_DECODER = msgspec.msgpack.Decoder(Message)
_ENCODER = msgspec.msgpack.Encoder()


def encoded(message: Message) -> bytes:
    """Return the frame that carries `message`."""
    body = _ENCODER.encode(message)
    return _HEADER.pack(MAGIC, VERSION, len(body)) + body


def body_bytes(header: bytes) -> int:
    """Return how long the body is that follows `header`.

    Raises:
        MessageError: It is no header of ours, or announces more than any message holds.

    """
    magic, version, length = _HEADER.unpack(header)
    if magic != MAGIC or version != VERSION:
        raise MessageError(f"expected a message of version {VERSION}, got {header!r}")
    if length > MOST_BYTES:
        raise MessageError(f"message of {length} bytes, at most {MOST_BYTES} are taken")
    return int(length)


def decoded(body: bytes) -> Message:
    """Return the message in `body`.

    Raises:
        MessageError: It is none.

    """
    try:
        message: Message = _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MessageError(f"not a message: {error}") from error
    return message


def begin(settings: ForecastSettings, n_series: int, history: NDArray[np.floating]) -> Begin:
    """Return the message that starts a forecaster on `history` (steps, series)."""
    return Begin(settings, n_series, np.ascontiguousarray(history, dtype=np.float32).tobytes())


def history_of(message: Begin) -> NDArray[np.float32]:
    """Return the past steps, shape (steps, series).

    Raises:
        MessageError: The bytes do not fill whole steps.

    """
    if not 0 <= message.n_series <= _MOST_SERIES:
        raise MessageError(f"{message.n_series} series")
    row_bytes = 4 * message.n_series
    if len(message.rows) % max(row_bytes, 1) != 0:
        raise MessageError(f"history of {len(message.rows)} bytes, rows of {row_bytes}")
    flat = np.frombuffer(message.rows, dtype=np.float32)
    return flat.reshape(-1, message.n_series) if message.n_series else flat.reshape(0, 0)


def values_of(message: Step, n_series: int) -> Floats:
    """Return one step's values, shape (series,).

    Raises:
        MessageError: There are more or fewer of them.

    """
    return _array(message.values, np.dtype(np.float64), (n_series,))


def positions_of(message: Rearrange, n_series: int) -> Ints:
    """Return the positions among `n_series` old series.

    Raises:
        MessageError: One of them is not among these.

    """
    if len(message.positions) % 8:
        raise MessageError("positions are cut off")
    positions = np.frombuffer(message.positions, dtype=np.int64)
    if np.any((positions < -1) | (positions >= n_series)):
        raise MessageError("a position beyond the series that there are")
    return positions


def answer(profile: Profile) -> Answer:
    """Return the message that carries `profile`."""
    return Answer(
        step=profile.step,
        n_series=len(profile.expected),
        levels=profile.levels.astype(np.float64).tobytes(),
        grid=np.ascontiguousarray(profile.grid, dtype=np.float64).tobytes(),
        expected=profile.expected.astype(np.float64).tobytes(),
        upper=profile.upper.astype(np.float64).tobytes(),
        source=profile.source.astype(np.uint8).tobytes(),
    )


def profile_of(message: Answer) -> Profile:
    """Return the profile in an answer.

    Raises:
        MessageError: Its parts do not fit together, or its quantiles fall along the levels.

    """
    series, floats = message.n_series, np.dtype(np.float64)
    levels = _array(message.levels, floats, (len(message.levels) // 8,))
    grid = _array(message.grid, floats, (len(levels), series))
    if np.any(np.diff(levels) <= 0) or np.any(np.diff(grid, axis=0) < 0) or np.any(grid < 0):
        raise MessageError("quantiles must be at least 0 and rise with their levels")
    return Profile(
        step=message.step,
        levels=levels,
        grid=grid,
        expected=_array(message.expected, floats, (series,)),
        upper=_array(message.upper, floats, (series,)),
        source=np.array(_array(message.source, np.dtype(np.uint8), (series,)), dtype=np.uint8),
    )


def _array(data: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> NDArray[np.float64]:
    expected = int(np.prod(shape)) * dtype.itemsize
    if len(data) != expected:
        raise MessageError(f"array of {len(data)} bytes, expected {expected}")
    return np.asarray(np.frombuffer(data, dtype=dtype).reshape(shape))
