"""The rule that stands in where there is no model: recent values and maxima, plus a prior.  Pure.

Cheap enough for the agent's tick, and sensible from the first point on.
"""

import numpy as np
from numpy.typing import NDArray

from forecast.profile import BOUNDS, LEVELS, Profile, Source
from forecast.sample import quantiles
from forecast.settings import HORIZONS

Floats = NDArray[np.float64]

# How many steps are looked back on: for the next step's spread, and for the last maximum.
SPREAD_STEPS = 12
MAXIMUM_STEPS = 24
# What might happen that has not been seen yet, relative to the last maximum.
_PRIOR_FRACTION = 0.1
# Scratch memory is some kilobytes a series, of which a large host has a hundred thousand.
_SERIES_AT_ONCE = 4096


def fallback_profile(history: NDArray[np.floating], *, step: int, min_points: int = 12) -> Profile:
    """Return a profile from the last rows of `history` (steps, series); NaN is a gap.

    The sample of the next step is the last 12 values, the newest again, and the newest more or
    less the prior; the bound on the maximum is the last maximum plus the prior.  A series with
    fewer than `min_points` points is LEARNING, others FALLBACK; one with none is NaN throughout.
    """
    series = history.shape[1]
    grid, expected, bound = np.empty((len(LEVELS), series)), np.empty(series), np.empty(series)
    for first in range(0, series, _SERIES_AT_ONCE):
        some = slice(first, first + _SERIES_AT_ONCE)
        recent = history[-MAXIMUM_STEPS:, some].astype(np.float64)
        expected[some], bound[some] = _newest(recent), last_maximum_bound(recent)
        grid[:, some] = _spread(recent, expected[some])
    points = np.isfinite(history[-max(min_points, 1) :]).sum(axis=0)
    return Profile(
        step=step,
        levels=LEVELS,
        grid=grid,
        expected=expected,
        maximum=np.broadcast_to(bound, (HORIZONS, len(BOUNDS), series)),
        source=np.where(points < min_points, Source.LEARNING, Source.FALLBACK).astype(np.uint8),
    )


def _spread(recent: Floats, newest: Floats) -> Floats:
    """Return the quantiles of the next step, (levels, series)."""
    prior = _PRIOR_FRACTION * _highest(recent)
    around = np.stack((newest, newest, newest + prior, np.maximum(newest - prior, 0.0)))
    sample = np.concatenate((recent[-SPREAD_STEPS:], around))
    return quantiles(np.sort(sample, axis=0).T, LEVELS).T


def last_maximum_bound(rows: NDArray[np.floating]) -> Floats:
    """Return each series' maximum over `rows` (steps, series) plus the prior; NaN without any."""
    return (1.0 + _PRIOR_FRACTION) * _highest(rows)


def _highest(rows: NDArray[np.floating]) -> Floats:
    """Return each series' maximum, NaN where there is no value at all."""
    return np.asarray(np.fmax.reduce(rows, axis=0, initial=np.nan), dtype=np.float64)


def _newest(rows: Floats) -> Floats:
    """Return each series' last value that is not a gap."""
    newest = np.full(rows.shape[1], np.nan)
    for row in rows:
        newest = np.where(np.isfinite(row), row, newest)
    return newest
