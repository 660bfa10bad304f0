"""Traces made by seed: what tenants of known kinds would want, hour by hour.  Pure.

Each tenant has a generator of its own, seeded with its number: what it does depends on neither how
many others there are nor who they are.  Time 0 is midnight before a Monday.  Shapes are given over
continuous time and averaged or sampled per step, so that any step shows the same tenant.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from agent.backtest.columns import CPU, MEMORY, TenantRows
from agent.backtest.kinds import Kind
from agent.tenant import Floats

MOST_TENANTS = 100_000  # a name has room for five digits
SHORTEST_STEP_S = 1.0
_HOUR_S = 3600.0
_DAY_S = 86400.0
_SATURDAY = 5
_GROWING_SHARE = 0.75
_CORES_DECIMALS = 4
_CORES = (1.0, 2.0, 4.0, 8.0)
_CORES_SHARE = (0.4, 0.3, 0.2, 0.1)
_GIB_PER_CORE = (2.0, 4.0, 8.0)
_MEMORY_FOLLOWS_S = 1800.0  # what is held follows what is done within about this time
# Bytes per second and busy core: the median tenant's, and how far apart tenants are (log).
_RATES = {
    "io_read_bytes_per_s": (4e5, 1.5),
    "io_write_bytes_per_s": (8e5, 1.2),
    "net_rx_bytes_per_s": (6e5, 1.2),
    "net_tx_bytes_per_s": (1.5e6, 1.5),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make; tenants take the `kinds` in turn."""

    n_tenants: int
    n_steps: int
    step_s: float
    kinds: tuple[Kind, ...] = (Kind.MIX,)
    seed: int = 1


def tenants_made(recipe: Recipe) -> Iterator[TenantRows]:
    """Yield each tenant's rows, one tenant after the other.

    Raises:
        ValueError: The recipe has no kind, too short a step, or a number that is not one.

    """
    if not recipe.kinds or recipe.seed < 0 or not 0 <= recipe.n_tenants <= MOST_TENANTS:
        raise ValueError(f"expected a kind, a seed from 0 and at most {MOST_TENANTS} tenants")
    if recipe.n_steps < 1 or not SHORTEST_STEP_S <= recipe.step_s < np.inf:
        raise ValueError(f"expected at least one step, of at least {SHORTEST_STEP_S:g} s")
    edges_s: Floats = np.arange(recipe.n_steps + 1) * np.float64(recipe.step_s)
    for number in range(recipe.n_tenants):
        yield _tenant(recipe, number, edges_s)


def _tenant(recipe: Recipe, number: int, edges_s: Floats) -> TenantRows:
    rng = np.random.default_rng([recipe.seed, number])
    kind = recipe.kinds[number % len(recipe.kinds)]
    if kind is Kind.MIX:
        kind = rng.choice(list(_SHARE_IN_MIX), p=list(_SHARE_IN_MIX.values()))
    n_cores = rng.choice(_CORES, p=_CORES_SHARE)
    memory_bytes = n_cores * rng.choice(_GIB_PER_CORE) * 2**30
    busy = np.clip(_SHAPES[kind](rng, edges_s), 0.0, 1.0)
    held = _held(rng, edges_s, busy)
    values: dict[str, Floats] = {
        CPU.demand: np.round(busy * n_cores, _CORES_DECIMALS),
        CPU.limit: np.full(recipe.n_steps, n_cores),
        MEMORY.demand: np.round(held * memory_bytes),
        MEMORY.limit: np.full(recipe.n_steps, memory_bytes),
        **{name: np.round(busy * n_cores * _rate(rng, edges_s, name)) for name in _RATES},
    }
    return TenantRows(f"{kind}-{number:05d}", edges_s[:-1], values)


def _diurnal(rng: Generator, edges_s: Floats) -> Floats:
    """Rise and fall once a day; most tenants peak in the afternoon."""
    low, high, sharpness = _drawn(rng, (0.03, 0.15), (0.3, 0.9), (1.0, 3.0))
    peak_s = rng.normal(14.0, 1.5) * _HOUR_S
    angle = 2 * np.pi * (_middle_s(edges_s) - peak_s) / _DAY_S
    day = ((1 + np.cos(angle)) / 2) ** sharpness
    return (low + (high - low) * day) * _noise(rng, edges_s, 0.15)


def _weekday(rng: Generator, edges_s: Floats) -> Floats:
    """Work in office hours, and little on the last two days of a week."""
    low, high, weekend_fraction = _drawn(rng, (0.02, 0.08), (0.3, 0.9), (0.05, 0.3))
    opens_h, closes_h, ramp_h = _drawn(rng, (7.0, 9.5), (16.0, 19.0), (0.3, 2.0))
    days, hour = np.divmod(_middle_s(edges_s) / _HOUR_S, 24.0)
    open_fraction = np.clip((hour - opens_h) / ramp_h, 0, 1) * np.clip(
        (closes_h - hour) / ramp_h, 0, 1
    )
    share = np.where(days % 7 >= _SATURDAY, weekend_fraction, 1.0)
    return (low + (high - low) * open_fraction * share) * _noise(rng, edges_s, 0.15)


def _bursty(rng: Generator, edges_s: Floats) -> Floats:
    """Stay low, with bursts of seconds to minutes at random, a few of them very high."""
    gap_s = np.exp(rng.uniform(np.log(600.0), np.log(3 * _HOUR_S)))
    start_s = _moments(rng, edges_s, gap_s)
    length_s = rng.lognormal(np.log(rng.uniform(20.0, 300.0)), 0.8, len(start_s))
    height = 0.12 * (1 + rng.pareto(1.3, len(start_s)))
    low = rng.uniform(0.01, 0.06) * _noise(rng, edges_s, 0.2)
    return low + _pulses(edges_s, start_s, length_s, height)


def _batch(rng: Generator, edges_s: Floats) -> Floats:
    """Run jobs near the limit on a timetable, and nothing between them."""
    period_s = rng.choice((1.0, 6.0, 24.0)) * _HOUR_S
    start_s = np.arange(rng.uniform(-1.0, 0.0) * period_s, edges_s[-1], period_s)
    start_s = start_s + rng.normal(0.0, 0.01, len(start_s)) * period_s
    usual_s = rng.uniform(0.05, 0.3) * period_s
    length_s = usual_s * np.minimum(rng.lognormal(0.0, 0.25, len(start_s)), 3.0)
    height = rng.uniform(0.6, 1.0) * rng.uniform(0.9, 1.0, len(start_s))
    return _pulses(edges_s, start_s, length_s, height) * _noise(rng, edges_s, 0.05) + 0.005


def _flash(rng: Generator, edges_s: Floats) -> Floats:
    """Be a small diurnal tenant, until a crowd comes within minutes and leaves within hours."""
    busy = 0.25 * _diurnal(rng, edges_s)
    crowds = rng.uniform(0.05, 0.9, 1 + rng.poisson(edges_s[-1] / (3 * _DAY_S)))
    for start_s in crowds * edges_s[-1]:
        rise_s, decay_s, height = _drawn(rng, (120, 900), (1200, 3 * _HOUR_S), (0.4, 1.0))
        since_s = _middle_s(edges_s) - start_s
        rise = np.clip(since_s / rise_s, 0.0, 1.0)
        busy = busy + height * rise * np.exp(-np.maximum(since_s - rise_s, 0.0) / decay_s)
    return busy * _noise(rng, edges_s, 0.08)


def _ramp(rng: Generator, edges_s: Floats) -> Floats:
    """Grow all the time, or (one in four) shrink."""
    ends = _drawn(rng, (0.02, 0.15), (0.5, 0.95))
    first, last = ends if rng.random() < _GROWING_SHARE else ends[::-1]
    level: Floats = first + (last - first) * _middle_s(edges_s) / edges_s[-1]
    return level * _noise(rng, edges_s, 0.1)


def _regime(rng: Generator, edges_s: Floats) -> Floats:
    """Keep to a level, then from one moment on to another: a release, a move, a new customer."""
    count = 1 + rng.poisson(edges_s[-1] / (2 * _DAY_S))
    change_s = np.sort(rng.uniform(0.1, 0.9, count)) * edges_s[-1]
    level = np.exp(rng.uniform(np.log(0.02), np.log(0.8), count + 1))
    now = level[np.searchsorted(change_s, _middle_s(edges_s))]
    return np.asarray(now * _noise(rng, edges_s, rng.uniform(0.05, 0.3)))


def _idle(rng: Generator, edges_s: Floats) -> Floats:
    """Do next to nothing, but for a little housekeeping."""
    start_s = _moments(rng, edges_s, 8 * _HOUR_S)
    length_s = rng.uniform(30.0, 300.0, len(start_s))
    chores = _pulses(edges_s, start_s, length_s, rng.uniform(0.02, 0.15, len(start_s)))
    return rng.uniform(0.001, 0.01) * _noise(rng, edges_s, 0.1) + chores


_SHAPES: Mapping[Kind, Callable[[Generator, Floats], Floats]] = MappingProxyType(
    {
        Kind.DIURNAL: _diurnal,
        Kind.WEEKDAY: _weekday,
        Kind.BURSTY: _bursty,
        Kind.BATCH: _batch,
        Kind.FLASH: _flash,
        Kind.RAMP: _ramp,
        Kind.REGIME: _regime,
        Kind.IDLE: _idle,
    }
)
# Hosting is mostly idle; about a fifth of its tenants show a strong daily cycle.
_SHARE_IN_MIX: Mapping[Kind, float] = MappingProxyType(
    {
        Kind.IDLE: 0.35,
        Kind.BURSTY: 0.2,
        Kind.DIURNAL: 0.12,
        Kind.WEEKDAY: 0.08,
        Kind.BATCH: 0.1,
        Kind.REGIME: 0.08,
        Kind.FLASH: 0.04,
        Kind.RAMP: 0.03,
    }
)


def _held(rng: Generator, edges_s: Floats, busy: Floats) -> Floats:
    """Return the fraction of its memory that a tenant holds: a core, and what its work adds."""
    resident, added = _drawn(rng, (0.05, 0.5), (0.1, 0.6))
    steps = max(1, round(_MEMORY_FOLLOWS_S / (edges_s[1] - edges_s[0])))
    done = np.concatenate([[0.0], np.cumsum(busy)])
    until = np.arange(1, len(done))
    recent = (done[until] - done[np.maximum(until - steps, 0)]) / np.minimum(until, steps)
    held: Floats = resident * _noise(rng, edges_s, 0.02) + added * recent
    return held.clip(0.0, 1.0)


def _rate(rng: Generator, edges_s: Floats, name: str) -> Floats:
    """Return the bytes per second that a busy core of one tenant moves."""
    median, spread = _RATES[name]
    return rng.lognormal(np.log(median), spread) * _noise(rng, edges_s, 0.3)


def _noise(rng: Generator, edges_s: Floats, spread: float) -> Floats:
    """Return factors around 1: a slow wander with some jitter of each step."""
    return np.exp(
        spread * _wander(rng, edges_s) + 0.3 * spread * rng.standard_normal(len(edges_s) - 1)
    )


def _wander(rng: Generator, edges_s: Floats) -> Floats:
    """Return a smooth random line: a normal draw for each hour, straight between them."""
    knots_s = np.arange(0.0, edges_s[-1] + _HOUR_S, _HOUR_S)
    return np.interp(_middle_s(edges_s), knots_s, rng.standard_normal(len(knots_s)))


def _drawn(rng: Generator, *ranges: tuple[float, float]) -> list[float]:
    """Return a uniform draw from each range."""
    return [rng.uniform(low, high) for low, high in ranges]


def _moments(rng: Generator, edges_s: Floats, gap_s: float) -> Floats:
    """Return moments at random, `gap_s` apart on average."""
    moments: Floats = rng.uniform(0.0, edges_s[-1], rng.poisson(edges_s[-1] / gap_s))
    return moments


def _pulses(edges_s: Floats, start_s: Floats, length_s: Floats, height: Floats) -> Floats:
    """Return the mean height per step of pulses that add up where they overlap.

    Pulses shorter than a step keep their area: the sum's integral is exact at each edge.
    """
    at_s = np.concatenate([start_s, start_s + length_s])
    order = np.argsort(at_s, kind="stable")
    level = np.cumsum(np.concatenate([height, -height])[order])
    at_s = at_s[order]
    if len(at_s) == 0:
        return np.zeros(len(edges_s) - 1)
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at_s))])
    mean: Floats = np.diff(np.interp(edges_s, at_s, area)) / np.diff(edges_s)
    return mean


def _middle_s(edges_s: Floats) -> Floats:
    return (edges_s[:-1] + edges_s[1:]) / 2
