"""What each closed step came to, as it is kept in SQLite: the format, and how it is read.

One row a step has all series, in single precision and compressed; `recorder.py` writes them.
"""

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.database import (
    DamagedError,
    Database,
    DatabaseError,
    DeniedError,
    HeldError,
    LaterVersionError,
    Schema,
    read_only,
)
from agent.grid import placed
from agent.reading import is_missing
from agent.steps import ClosedStep
from agent.tenant import Floats, Ints, Resource, Roster

Singles = NDArray[np.float32]

HISTORY_NAME = "history.db"
_DAY_S = 86400.0
FINE_S, COARSE_S = 2 * _DAY_S, 28 * _DAY_S  # how long rows of each kind are kept
COARSE_STEPS = 15  # in each coarse row
MOST_ROWS = 20_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS {} (id INTEGER PRIMARY KEY, ended_at_s REAL NOT NULL,"
    " step_s REAL NOT NULL, series INTEGER NOT NULL, body BLOB NOT NULL)"
)
_SERIES = "CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, names BLOB NOT NULL)"
# Version 1 knew no forecasts: its rows are told by their length, and are read as they are.
SCHEMA = Schema(
    version=2,
    tables=(_SERIES, _TABLE.format("fine"), _TABLE.format("coarse")),
    migrations={1: "DELETE FROM series WHERE FALSE"},
)
_ALL_SERIES = "SELECT id, names FROM series"
FINE, COARSE = "fine", "coarse"
_HEADS = "SELECT id, ended_at_s, step_s, series FROM {} ORDER BY id DESC LIMIT ?"
_BODIES = "SELECT id, body FROM {} WHERE id >= ? ORDER BY id"

_NUMBER = np.dtype("<f4")
_COMPRESSION = 1  # higher levels take four times as long for a tenth less
_SAME_STEP = 1e-6
_ALL_OF_IT = 1 - 1e-9
_MOST_SERIES = 10_000_000
_LATEST_S = 1e11  # the year 5138: later ones some calendars do not know
_SHORTEST_STEP_S = 0.01  # ticks are no shorter than five times that


class Measure(IntEnum):
    """What is kept of each series, in this order; `MISSING` is demand that was not served."""

    DEMAND = 0
    PEAK = 1
    MISSING = 2
    LIMIT = 3
    EXPECTED = 4  # what had been forecast of the step before it began
    BOUND = 5  # of the maximum over the longest horizon from then on, at 95 %


_FIRST_STEP = (
    "the first step is recorded as it ends: periods.step_s (60 s unless configured) after the "
    "agent's start"
)
# What to do where nothing is found: by whether there is any step, and any row of that kind.
_HINTS = {
    (True, True): "ask for a longer one",
    (True, False): f"ask for 2d or less: beyond, the mean of every {COARSE_STEPS} steps is kept, "
    "and none is whole yet",
}
_WITHOUT_FORECAST = Measure.EXPECTED  # so many measures were kept in version 1
# Forecasts are kept to 12 bits, one in 4,000: what is cut off would be most of what they take.
_KEPT_BITS = np.uint32(0xFFFFF000)


class HistoryError(Exception):
    """There is no history to be read; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        self.hint = hint
        super().__init__(message)


class SeriesNames(msgspec.Struct, frozen=True):
    """What the numbers of a row are of: tenants, resource by resource."""

    tenants: tuple[str, ...]
    resources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tenants) * len(self.resources)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is stored, in its place on an even grid."""

    ended_at_s: float  # UNIX time, that of its place
    place: int  # so many steps before the last
    step_s: float
    names: SeriesNames
    body: bytes


@dataclass(frozen=True, slots=True)
class Past:
    """Steps on an even grid, oldest first; columns (steps, tenants), NaN where nothing is known."""

    step_s: float
    ended_at_s: Floats  # (steps,) UNIX time
    tenants: tuple[str, ...]
    demand: Mapping[Resource, Floats]  # mean of a step, corrected for throttling
    peak: Mapping[Resource, Floats]  # the highest demand of a tick in it
    usage: Mapping[Resource, Floats]
    limit: Mapping[Resource, Floats]  # mean of those in force; inf is none
    expected: Mapping[Resource, Floats]  # what had been forecast of the step
    bound: Mapping[Resource, Floats]  # of the maximum over the horizon from then on, at 95 %


def names_of(roster: Roster, resources: Sequence[Resource]) -> SeriesNames:
    """Return what the numbers of a step of this roster are of."""
    return SeriesNames(roster.names, tuple(map(str, resources)))


def read_past(
    path: Path,
    *,
    since_s: float,
    now_s: float = math.inf,
    only: Collection[str] | None = None,
    resources: Collection[Resource] | None = None,
    is_coarse: bool = False,
) -> Past:
    """Return what was recorded from a UNIX time to now, of all tenants and resources or of some.

    Fine steps go back two days, coarse ones (of 15 steps) four weeks.

    Raises:
        HistoryError: There is none, or the file cannot be read.

    """
    if is_missing(path):
        raise HistoryError(f"{path}: no such file", "a running agent records each step as it ends")
    kind = COARSE if is_coarse else FINE
    try:
        with closing(read_only(path, SCHEMA)) as database:
            rows = read_rows(database, kind, since_s=since_s, now_s=now_s)
            has = {each: bool(_heads(database, each, 1)) for each in (FINE, COARSE)}
    except (OSError, DatabaseError) as error:
        raise HistoryError(f"{path}: {error}", _hint_for(error)) from error
    past = _past_of(rows, since_s, now_s, _wanted(rows, only, resources)) if rows else None
    if past is None or not len(past.ended_at_s):
        said = "nothing was recorded in that time" if has[FINE] else "nothing is recorded yet"
        raise HistoryError(f"{path}: {said}", _HINTS.get((has[FINE], has[kind]), _FIRST_STEP))
    return past


def read_tenant(path: Path, tenant: str, *, lasts_s: float, now_s: float) -> Past:
    """Return what was recorded of one tenant in the last `lasts_s` seconds, fine if it can be.

    Raises:
        HistoryError: As `read_past` does.

    """
    return read_past(
        path, since_s=now_s - lasts_s, now_s=now_s, only=[tenant], is_coarse=lasts_s > FINE_S
    )


def _hint_for(error: Exception) -> str:
    """Return what to do about a file that cannot be read."""
    if isinstance(error, DamagedError):
        return "the agent sets it aside when it starts, and begins a new one"
    if isinstance(error, LaterVersionError):
        return "read it with the tidegate that wrote it"
    if isinstance(error, HeldError):
        return "another process holds it: try again"
    if isinstance(error, DeniedError | PermissionError):
        return "read it as the user who runs the agent"
    return "see whether its disk is in order and has room"


def read_rows(
    database: Database,
    kind: str,
    *,
    most: int = MOST_ROWS,
    since_s: float = -math.inf,
    now_s: float = math.inf,
) -> list[Row]:
    """Return the newest rows that have one step length, oldest first, without what is damaged.

    None is older than `most` steps or `since_s`; see `placed` for rows of a wrong clock.

    Raises:
        DatabaseError: The file cannot be read.

    """
    names = {number: _names_in(text) for number, text in database.rows(_ALL_SERIES)}
    heads = [head for head in _heads(database, kind, most) if names.get(head.series) is not None]
    if not heads:
        return []
    step_s = heads[-1].step_s
    places, last_s = placed(np.array([head.ended_at_s for head in heads]), step_s, now_s=now_s)
    oldest = min(most, (last_s - since_s) / step_s + 1)
    wanted = {
        head.number: (head, int(place))
        for head, place in zip(heads, places, strict=True)
        if 0 <= place < oldest
    }
    if not wanted:
        return []
    found = []
    for number, body in database.rows(_BODIES.format(kind), (min(wanted),)):
        if number in wanted:
            head, place = wanted[number]
            said = names[head.series]
            if said is not None:
                found.append(Row(last_s - place * step_s, place, step_s, said, body))
    return found


@dataclass(frozen=True, slots=True)
class _Head:
    """What a row says beside its numbers."""

    number: int
    ended_at_s: float
    step_s: float
    series: int


def _heads(database: Database, kind: str, most: int) -> list[_Head]:
    """Return the newest rows that have one step length, oldest first."""
    found: list[_Head] = []
    for number, ended_at_s, step_s, series in database.rows(_HEADS.format(kind), (most,)):
        if not (_is_time(ended_at_s) and _is_time(step_s) and step_s >= _SHORTEST_STEP_S):
            continue
        if found and not is_same_step(step_s, found[0].step_s):
            break
        found.append(_Head(number, ended_at_s, step_s, series))
    return found[::-1]


def is_same_step(one_s: float, other_s: float) -> bool:
    """Say whether two lengths of steps are the same, but for rounding."""
    return abs(one_s - other_s) <= _SAME_STEP * other_s


def on_grid(rows: Sequence[Row], wanted: SeriesNames, measures: Sequence[Measure]) -> Singles:
    """Return measures of the wanted series from the oldest row on, NaN a gap.

    The shape is (measures, steps, series); the last step is the one of place 0.
    """
    steps = max(row.place for row in rows) + 1
    grid = np.full((len(measures), steps, len(wanted)), np.nan, dtype=np.float32)
    moves: dict[int, tuple[Ints, Ints]] = {}
    for row in rows:
        numbers = unpacked(row.body, len(row.names))
        if numbers is None:
            continue
        if id(row.names) not in moves:
            moves[id(row.names)] = _matched(row.names, wanted)
        source, target = moves[id(row.names)]
        grid[:, steps - 1 - row.place, target] = numbers[list(measures)][:, source]
    return grid


def packed(step: ClosedStep, machine: Floats) -> bytes:
    """Return a step as it is stored; of usage what demand has on top, which is mostly nothing.

    `machine` (series,) is what the machine has: a limit that is as much is none.
    """
    limit = np.where(step.limit >= machine * _ALL_OF_IT, np.inf, step.limit)
    nothing = np.full_like(limit, np.nan)
    forecast = [nothing if one is None else one for one in (step.expected, step.bound)]
    columns = np.stack((step.demand, step.peak, step.demand - step.usage, limit, *forecast))
    numbers = columns.astype(_NUMBER)
    numbers[_WITHOUT_FORECAST:].view(np.uint32)[:] &= _KEPT_BITS
    return zlib.compress(numbers.tobytes(), _COMPRESSION)


def unpacked(body: object, series: int) -> Singles | None:
    """Return a stored step, shape (measures, series); None where it is not what was stored."""
    size = len(Measure) * series * _NUMBER.itemsize
    if not isinstance(body, bytes) or series > _MOST_SERIES:
        return None
    try:
        data = zlib.decompressobj().decompress(body, size + 1)
    except zlib.error:
        return None
    if len(data) == size:
        return np.frombuffer(data, _NUMBER).reshape(len(Measure), series)
    if len(data) == _WITHOUT_FORECAST * series * _NUMBER.itemsize:
        known = np.frombuffer(data, _NUMBER).reshape(_WITHOUT_FORECAST, series)
        unknown = np.full((len(Measure) - _WITHOUT_FORECAST, series), np.nan, dtype=_NUMBER)
        return np.concatenate((known, unknown))
    return None


def closed_step(numbers: Singles) -> ClosedStep:
    """Return a step as it was before it was stored; no limit is infinite."""
    demand, peak, missing, limit, expected, bound = numbers.astype(np.float64)
    return ClosedStep(demand, peak, demand - missing, limit, expected, bound)


def _wanted(
    rows: Sequence[Row], only: Collection[str] | None, resources: Collection[Resource] | None
) -> SeriesNames:
    """Return what rows tell of, of all tenants and resources or of some."""
    rosters = {id(row.names): row.names for row in rows}.values()  # most rows have the same
    tenants = {name for names in rosters for name in names.tenants}
    found = {name for names in rosters for name in names.resources}
    return SeriesNames(
        tuple(sorted(tenants if only is None else tenants.intersection(only))),
        tuple(sorted(found if resources is None else found.intersection(map(str, resources)))),
    )


def _past_of(rows: Sequence[Row], since_s: float, now_s: float, wanted: SeriesNames) -> Past:
    """Return rows of any rosters on one grid; times are counted back from the last place."""
    step_s = rows[-1].step_s
    last_s = rows[-1].ended_at_s + rows[-1].place * step_s
    grid = on_grid(rows, wanted, list(Measure))
    ended_at_s: Floats = last_s - step_s * np.arange(grid.shape[1], dtype=np.float64)[::-1]
    is_in = (ended_at_s >= since_s) & (ended_at_s <= now_s)
    step = closed_step(grid[:, is_in])

    def by_resource(columns: Floats | None) -> dict[Resource, Floats]:
        if not wanted.resources or columns is None:
            return {}
        parts = np.split(columns, len(wanted.resources), axis=1)
        return dict(zip(map(Resource.parsed, wanted.resources), parts, strict=True))

    return Past(
        step_s=step_s,
        ended_at_s=np.asarray(ended_at_s[is_in], dtype=np.float64),
        tenants=wanted.tenants,
        demand=by_resource(step.demand),
        peak=by_resource(step.peak),
        usage=by_resource(step.usage),
        limit=by_resource(step.limit),
        expected=by_resource(step.expected),
        bound=by_resource(step.bound),
    )


def _matched(names: SeriesNames, wanted: SeriesNames) -> tuple[Ints, Ints]:
    """Return places in `names` and in `wanted` of the series that are in both."""
    at = {series: place for place, series in enumerate(_series(wanted))}
    pairs = [(here, at[one]) for here, one in enumerate(_series(names)) if one in at]
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _series(names: SeriesNames) -> list[tuple[str, str]]:
    return [(resource, tenant) for resource in names.resources for tenant in names.tenants]


def _names_in(text: object) -> SeriesNames | None:
    """Return what a row of the file names, None where it is not what was stored."""
    if not isinstance(text, bytes):
        return None
    try:
        found = msgspec.json.decode(text, type=SeriesNames)
        for resource in found.resources:
            Resource.parsed(resource)
    except (msgspec.DecodeError, ValueError):
        return None
    is_sound = all(name.isprintable() for name in (*found.tenants, *found.resources))
    return found if is_sound else None


def _is_time(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < _LATEST_S
