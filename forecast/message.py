"""Messages between the agent and its forecaster: versioned, bounded, checked before use.  Pure.

A frame is a header (magic, version, length, checksum) and a msgpack body; arrays travel as raw
single-precision bytes of known shape.  Anything else is refused with a typed error.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from forecast.history import Floats, Ints
from forecast.profile import BOUNDS, LEVELS, Profile, Source
from forecast.quality import MOST_EXPERTS, PINBALLS, WHOLE_PCT, Quality, Verdict
from forecast.settings import HORIZONS, ForecastSettings

MAGIC: Final = b"TIDE"
VERSION: Final = 4
_HEADER: Final = struct.Struct("!4sHII")
# A profile of 50,000 series is 8 MB.
MOST_BODY_BYTES: Final = 1 << 26
MOST_SERIES: Final = 1 << 20
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_ -]{1,32}\Z")]


class MessageError(Exception):
    """What arrived is not a message of this version: corrupt, foreign or too large."""


class Begin(msgspec.Struct, tag=True, frozen=True):
    """Start afresh with `n_series` series.  `generation` comes back in every answer."""

    generation: int
    settings: ForecastSettings
    n_series: Annotated[int, msgspec.Meta(ge=0, le=MOST_SERIES)]


class Rearrange(msgspec.Struct, tag=True, frozen=True):
    """Put the series in a new order: int64 positions among the old ones, -1 for a newcomer."""

    generation: int
    positions: bytes


class Step(msgspec.Struct, tag=True, frozen=True):
    """One closed step of all series, float32; NaN is a gap.  A past one is only learned from."""

    step: int
    is_past: bool
    values: bytes


class Hello(msgspec.Struct, tag=True, frozen=True):
    """The forecaster runs, and is about to load its model library."""


class Learned(msgspec.Struct, tag=True, frozen=True):
    """A past step has been taken in."""

    generation: int
    step: int


class Figures(msgspec.Struct, frozen=True):
    """How good forecasts have been: shares and verdict uint8, all else float32."""

    experts: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=MOST_EXPERTS)]
    shares: bytes
    verdict: bytes
    windows: bytes
    coverage: bytes
    pinball: bytes
    sharpness: bytes
    bias: bytes
    skill: bytes
    skill_best: bytes


class Answer(msgspec.Struct, tag=True, frozen=True):
    """The profile that follows a step: levels float64, source uint8, all else float32."""

    generation: int
    step: int
    levels: bytes
    grid: bytes
    expected: bytes
    maximum: bytes
    source: bytes
    quality: Figures | None = None


Message = Begin | Rearrange | Step | Hello | Learned | Answer

_SINGLE, _BYTE = np.dtype(np.float32), np.dtype(np.uint8)
_ROUNDING: Final = 1e-5
# Columns of `Quality` as they travel: two of bytes, and the others of numbers.
_FIGURES: Final = tuple(field.name for field in fields(Quality))[1:]

_DECODER: Final = msgspec.msgpack.Decoder(Message)
_ENCODER: Final = msgspec.msgpack.Encoder()


def encoded(message: Message) -> bytes:
    """Return the frame that carries `message`.

    Raises:
        ValueError: It is larger than any receiver takes.

    """
    body = _ENCODER.encode(message)
    if len(body) > MOST_BODY_BYTES:
        raise ValueError(f"message of {len(body)} bytes, at most {MOST_BODY_BYTES} are taken")
    return _HEADER.pack(MAGIC, VERSION, len(body), zlib.crc32(body)) + body


class Frames:
    """Bytes as they arrive, cut into messages; holds at most one message that is incomplete."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def fed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes.

        Raises:
            MessageError: The bytes are no message of ours; nothing after them can be trusted.

        """
        self._pending += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if len(self._pending) < _HEADER.size:
            return None
        magic, version, length, checksum = _HEADER.unpack_from(self._pending)
        if (magic, version) != (MAGIC, VERSION):
            raise MessageError(f"not of version {VERSION}: {bytes(self._pending[:6])!r}")
        if length > MOST_BODY_BYTES:
            raise MessageError(f"{length} bytes announced, at most {MOST_BODY_BYTES} are taken")
        end = _HEADER.size + length
        if len(self._pending) < end:
            return None
        body = bytes(self._pending[_HEADER.size : end])
        del self._pending[:end]
        return _decoded(body, checksum)


def step_message(step: int, values: NDArray[np.floating], *, is_past: bool) -> Step:
    """Return the message that carries one step's values (series,)."""
    return Step(step, is_past, values.astype(np.float32).tobytes())


def values_of(message: Step, n_series: int) -> Floats:
    """Return one step's values, shape (series,).

    Raises:
        MessageError: There are more or fewer of them.

    """
    return _singles(message.values, (n_series,))


def rearrange_message(generation: int, positions: Ints) -> Rearrange:
    """Return the message that puts series in a new order."""
    return Rearrange(generation, positions.astype(np.int64).tobytes())


def positions_of(message: Rearrange, n_series: int) -> Ints:
    """Return positions among `n_series` old series, -1 for newcomers.

    Raises:
        MessageError: They are cut off, or one is not among the old series.

    """
    if len(message.positions) % np.dtype(np.int64).itemsize:
        raise MessageError("positions are cut off")
    positions = np.frombuffer(message.positions, dtype=np.int64)
    if ((positions < -1) | (positions >= n_series)).any():
        raise MessageError("a position beyond the series that there are")
    return positions


def answer_message(generation: int, profile: Profile) -> Answer:
    """Return the message that carries `profile`."""
    return Answer(
        generation=generation,
        step=profile.step,
        levels=profile.levels.astype(np.float64).tobytes(),
        grid=profile.grid.astype(np.float32).tobytes(),
        expected=profile.expected.astype(np.float32).tobytes(),
        maximum=profile.maximum.astype(np.float32).tobytes(),
        source=profile.source.astype(np.uint8).tobytes(),
        quality=None if profile.quality is None else _figures(profile.quality),
    )


def _figures(quality: Quality) -> Figures:
    columns = {name: getattr(quality, name).tobytes() for name in _FIGURES}
    return Figures(experts=quality.experts, **columns)


def profile_of(message: Answer, n_series: int) -> Profile:
    """Return the profile in an answer; quantiles and bounds stay where they are, in singles.

    Raises:
        MessageError: Its parts do not fit together, or are nothing that a forecast can say.

    """
    levels = np.asarray(LEVELS)
    if message.levels != levels.tobytes():
        raise MessageError(f"quantiles at other levels: {len(message.levels)} bytes of them")
    if len(message.source) != n_series:
        raise MessageError(f"sources of {len(message.source)} series, expected {n_series}")
    profile = Profile(
        step=message.step,
        levels=levels,
        grid=_array(message.grid, (len(levels), n_series), _SINGLE),
        expected=_singles(message.expected, (n_series,)),
        maximum=_array(message.maximum, (HORIZONS, len(BOUNDS), n_series), _SINGLE),
        source=np.frombuffer(message.source, dtype=np.uint8),
        quality=None if message.quality is None else _quality_of(message.quality, n_series),
    )
    if not _is_sound(profile):
        raise MessageError(
            "quantiles must be finite, at least 0, and rise with their levels; all or none known"
        )
    return profile


def _quality_of(said: Figures, n_series: int) -> Quality:
    """Return the figures in an answer.

    Raises:
        MessageError: They are not of so many series, or are nothing that can be.

    """
    several = {"coverage": len(BOUNDS), "pinball": PINBALLS}
    singles = {
        name: _array(getattr(said, name), (several[name], n_series), _SINGLE)
        if name in several
        else _array(getattr(said, name), (n_series,), _SINGLE)
        for name in _FIGURES[2:]
    }
    shares = _array(said.shares, (len(said.experts), n_series), _BYTE)
    verdict = _array(said.verdict, (n_series,), _BYTE)
    found = Quality(said.experts, shares, verdict, **singles)
    if not _is_possible(found):
        raise MessageError("figures of a forecast's quality that cannot be")
    return found


def _is_possible(found: Quality) -> bool:
    amounts = (found.windows, found.coverage, found.pinball)
    figures = (*amounts, found.sharpness, found.bias, found.skill, found.skill_best)
    whole_pct = found.shares.sum(axis=0, dtype=np.int64)  # each is rounded by itself
    return bool(
        (found.shares <= WHOLE_PCT).all()
        and len(set(found.experts)) == len(found.experts)
        and (whole_pct <= WHOLE_PCT + len(found.experts)).all()
        and (found.verdict <= max(Verdict)).all()
        and not any((column < 0).any() for column in amounts)
        and not any(np.isinf(column).any() for column in figures)
        and not np.isnan(found.windows).any()
        and not (found.coverage > 1 + _ROUNDING).any()
        and not (found.skill > 1).any()
        and not (found.skill_best > 1).any()
    )


def _is_sound(profile: Profile) -> bool:
    """Say whether quantiles rise with their levels, and all else is demand.

    What is unknown of a series is all of it: a quantile without the others would be decided by.
    """
    columns = (profile.grid, profile.expected, profile.maximum)
    return bool(
        not (np.diff(profile.grid, axis=0) < 0).any()
        and not (profile.maximum[1:] < profile.maximum[:-1]).any()
        and not (profile.maximum[:, 1:] < profile.maximum[:, :-1]).any()
        and not any((column < 0).any() or np.isinf(column).any() for column in columns)
        and (np.isnan(profile.grid) == np.isnan(profile.expected)).all()
        and (np.isnan(profile.maximum) == np.isnan(profile.expected)).all()
        and (profile.source <= max(Source)).all()
    )


def _decoded(body: bytes, checksum: int) -> Message:
    if zlib.crc32(body) != checksum:
        raise MessageError("the checksum does not match")
    try:
        message: Message = _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MessageError(f"not a message: {error}") from error
    return message


def _singles(data: bytes, shape: tuple[int, ...]) -> Floats:
    return _array(data, shape, _SINGLE).astype(np.float64)


def _array(data: bytes, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    expected = int(np.prod(shape)) * kind.itemsize
    if len(data) != expected:
        raise MessageError(f"array of {len(data)} bytes, expected {expected}")
    return np.frombuffer(data, dtype=kind).reshape(shape)
