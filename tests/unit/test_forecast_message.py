"""forecast.message: what crosses to the child and back, and what is refused."""

import pickle
import struct
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest

from forecast.message import (
    MAGIC,
    MOST_BODY_BYTES,
    MOST_SERIES,
    VERSION,
    Answer,
    Begin,
    Frames,
    Hello,
    Learned,
    Message,
    MessageError,
    Rearrange,
    Step,
    answer_message,
    encoded,
    positions_of,
    profile_of,
    rearrange_message,
    step_message,
    values_of,
)
from forecast.profile import BOUNDS, LEVELS, Profile, Source
from forecast.quality import MOST_EXPERTS, Quality
from forecast.settings import HORIZONS, ForecastSettings

from qualities import quality


def profile(series: int = 3) -> Profile:
    grid = np.sort(np.random.default_rng(1).random((len(LEVELS), series)), axis=0)
    grid[:, -1] = np.nan  # one series was never observed
    return Profile(
        step=7,
        levels=LEVELS,
        grid=grid,
        expected=grid[6],
        maximum=grid[-1] + np.arange(1.0, 10.0).reshape(HORIZONS, len(BOUNDS), 1),
        source=np.full(series, Source.LIVE, dtype=np.uint8),
        quality=quality(series),
    )


MESSAGES: list[Message] = [
    Begin(3, ForecastSettings(step_s=1.0, horizon_steps=4), 12),
    rearrange_message(4, np.array([1, -1, 0])),
    step_message(9, np.array([1.0, np.nan, 1e18]), is_past=True),
    Hello(),
    Learned(3, 8),
    answer_message(3, profile()),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert list(Frames().fed(encoded(message))) == [message]


def test_arrays_arrive_in_single_precision() -> None:
    made = profile()
    answer = MESSAGES[-1]
    assert isinstance(answer, Answer)
    arrived = profile_of(answer, 3)
    assert made.quality is not None
    assert arrived.quality is not None
    assert arrived.quality.experts == made.quality.experts
    for before, after in ((made, arrived), (made.quality, arrived.quality)):
        for field in fields(before):
            if field.name not in ("quality", "experts"):
                sent, got = getattr(before, field.name), getattr(after, field.name)
                np.testing.assert_allclose(got, sent, rtol=1e-7)
    values = np.array([0.1, np.nan, 4e10])
    step = step_message(1, values, is_past=False)
    np.testing.assert_allclose(values_of(step, 3), values, rtol=1e-7)
    np.testing.assert_array_equal(positions_of(rearrange_message(1, np.array([1, -1])), 2), [1, -1])


@pytest.mark.parametrize(
    "foreign",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b'{"step": 1, "values": []}',
        pickle.dumps(list(range(100))),
        b"\0" * 64,
        b"Traceback (most recent call last):\n",
        MAGIC + (VERSION + 1).to_bytes(2) + encoded(Hello())[6:],  # another version
    ],
)
def test_foreign_data_is_refused(foreign: bytes) -> None:
    with pytest.raises(MessageError, match=f"not of version {VERSION}"):
        list(Frames().fed(foreign))


def test_an_announcement_beyond_the_bound_is_refused_before_it_is_waited_for() -> None:
    header = MAGIC + VERSION.to_bytes(2) + (MOST_BODY_BYTES + 1).to_bytes(4) + bytes(4)
    with pytest.raises(MessageError, match="at most"):
        list(Frames().fed(header))


def test_a_message_that_nobody_would_take_is_not_sent() -> None:
    with pytest.raises(ValueError, match="at most"):
        encoded(Step(1, False, bytes(MOST_BODY_BYTES)))


def test_a_sound_frame_around_anything_else_is_refused() -> None:
    for body in (b"", b"\xc1", b"\x80", b"\x81\xa4type\xa4Evil", b"\x93\1\2\3"):
        header = struct.pack("!4sHII", MAGIC, VERSION, len(body), zlib.crc32(body))
        with pytest.raises(MessageError, match="not a message"):
            list(Frames().fed(header + body))


@pytest.mark.parametrize("n_series", [-1, MOST_SERIES + 1])
def test_an_absurd_number_of_series_is_refused(n_series: int) -> None:
    with pytest.raises(MessageError, match="not a message"):
        list(Frames().fed(encoded(Begin(1, ForecastSettings(), n_series))))


def test_settings_out_of_range_are_refused() -> None:
    settings = ForecastSettings()
    object.__setattr__(settings, "refit_share", 2.0)  # as another program might send it
    with pytest.raises(MessageError, match="refit_share"):
        list(Frames().fed(encoded(Begin(1, settings, 1))))


@pytest.mark.parametrize("wrong", [2, 4, 0])
def test_a_step_of_other_length_is_refused(wrong: int) -> None:
    with pytest.raises(MessageError, match="bytes"):
        values_of(step_message(1, np.ones(wrong), is_past=False), 3)


@pytest.mark.parametrize("positions", [[3], [-2], [0, 1, 99]])
def test_a_position_that_is_not_there_is_refused(positions: list[int]) -> None:
    with pytest.raises(MessageError, match="position"):
        positions_of(rearrange_message(1, np.array(positions)), 3)
    with pytest.raises(MessageError, match="cut off"):
        positions_of(Rearrange(1, bytes(9)), 3)


def _with_grid(made: Profile, row: int, value: float) -> Profile:
    grid = made.grid.copy()
    grid[row, 0] = value
    return replace(made, grid=grid)


@pytest.mark.parametrize(
    "senseless",
    [
        _with_grid(profile(), 0, 5.0),  # falls
        _with_grid(profile(), 0, -1.0),
        _with_grid(profile(), -1, np.inf),
        _with_grid(profile(), 3, np.nan),  # one quantile of a known series
        replace(profile(), grid=np.full_like(profile().grid, np.nan)),
        replace(profile(), expected=np.array([np.nan, 1.0, np.nan])),
        replace(profile(), expected=np.array([1.0, -1.0, 1.0])),
        replace(profile(), maximum=np.full_like(profile().maximum, np.inf)),
        replace(profile(), maximum=profile().maximum[::-1]),  # falls with the horizon
        replace(profile(), maximum=profile().maximum[:, ::-1]),  # falls with the level
        replace(profile(), levels=LEVELS[::-1]),
        replace(profile(), levels=LEVELS + 0.5),
        replace(profile(), source=np.array([1, 1, 9], dtype=np.uint8)),
        replace(profile(), maximum=profile().maximum[..., :2]),
        replace(profile(), maximum=np.full_like(profile().maximum, np.nan)),
        replace(profile(), maximum=np.ones_like(profile().maximum)),  # of one that is unknown
        replace(profile(), levels=LEVELS[:3], grid=profile().grid[:3]),
        replace(profile(), levels=LEVELS[:0], grid=profile().grid[:0]),
        replace(profile(), grid=np.ones((3, 3))),
        profile(series=4),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(senseless: Profile) -> None:
    with pytest.raises(MessageError):
        profile_of(answer_message(1, senseless), 3)


def test_a_profile_without_figures_arrives_without() -> None:
    bare = replace(profile(), quality=None)
    assert profile_of(answer_message(1, bare), 3).quality is None


SOUND = quality(3)


@pytest.mark.parametrize(
    "senseless",
    [
        quality(4),
        replace(SOUND, experts=("short",)),
        replace(SOUND, shares=SOUND.shares + np.uint8(50)),
        replace(SOUND, verdict=np.full(3, 9, dtype=np.uint8)),
        replace(SOUND, windows=np.full(3, np.nan, dtype=np.float32)),
        replace(SOUND, coverage=SOUND.coverage + np.float32(0.1)),
        replace(SOUND, coverage=-SOUND.coverage),
        replace(SOUND, pinball=-SOUND.pinball),
        replace(SOUND, skill=np.full(3, 1.5, dtype=np.float32)),
        replace(SOUND, bias=np.full(3, np.inf, dtype=np.float32)),
    ],
)
def test_figures_that_cannot_be_are_refused(senseless: Quality) -> None:
    with pytest.raises(MessageError):
        profile_of(answer_message(1, replace(profile(), quality=senseless)), 3)


@pytest.mark.parametrize(
    "names", [("a\n", "b"), ("\x1b[31m", "b"), ("a" * 33, "b"), ("a",) * (MOST_EXPERTS + 1)]
)
def test_names_that_no_expert_has_are_refused(names: tuple[str, ...]) -> None:
    made = replace(profile(), quality=replace(SOUND, experts=names))
    with pytest.raises(MessageError, match="not a message"):
        list(Frames().fed(encoded(answer_message(1, made))))
