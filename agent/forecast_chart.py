"""A forecast as a plot of dots in the terminal: the one place that imports plotille.

Four dots of height and two of width are a character; colours are those of the terminal.
"""

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from plotille import Canvas

from agent.amounts import bare_text, unit_of
from agent.forecast_view import View
from agent.tenant import Floats, Kind

_DOTS_WIDE, _DOTS_HIGH = 2, 4
_ROWS = 16
_LEAST_COLUMNS, _MOST_COLUMNS = 24, 150
_LABELLED_ROWS = 4  # one label each so many
_SPAN_OF_TICKS = 14  # columns, at least, from one time to the next
_NICE_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800)
_BAND, _AHEAD, _ABOVE, _NOW = "blue", "cyan", "bright_red", "bright_black"
_DAY_S = 86_400.0
_LEAST_TOP = 1e-6  # what is less is nothing, of any resource
_PARTS = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 4.8, 6, 8, 10)


def chart_lines(view: View, *, width: int) -> list[str]:
    """Return the plot, its axes and what is what; nothing where there is nothing to be seen."""
    start_s, end_s = _span(view)
    top = _top(view)
    if not end_s > start_s:
        return []
    labels = level_labels(view.resource.kind, _levels(top))
    margin = max(map(len, labels)) + 1
    columns = min(max(width - margin - 1, _LEAST_COLUMNS), _MOST_COLUMNS)
    canvas = Canvas(columns, _ROWS, xmin=0, ymin=0, xmax=columns * _DOTS_WIDE, ymax=top)
    across = _Across(start_s, end_s, columns * _DOTS_WIDE)
    _draw_past(canvas, view, across, top)
    _draw_ahead(canvas, view, across, top)
    drawn = canvas.plot(linesep="\n").split("\n")
    sides = [label.rjust(margin - 1) + " ┤" for label in labels]
    rows = [
        (sides[at // _LABELLED_ROWS] if at % _LABELLED_ROWS == 0 else " " * margin + "│") + row
        for at, row in enumerate(drawn)
    ]
    zero = bare_text(view.resource.kind, 0.0).rjust(margin - 1)
    return [*rows, *_time_axis(zero, across, columns)]


class _Across:
    """Where a time is, in dots from the left."""

    def __init__(self, start_s: float, end_s: float, dots: int) -> None:
        self.start_s, self.end_s, self._dots = start_s, end_s, dots

    def dot(self, at_s: float) -> int:
        """Return the dot of a time, of the last one at most."""
        share = (at_s - self.start_s) / (self.end_s - self.start_s)
        return min(max(int(share * self._dots), 0), self._dots - 1)


def _span(view: View) -> tuple[float, float]:
    """Return when the plot begins and ends."""
    ends, _ = view.ahead()
    times = [*view.ended_at_s[-1:].tolist(), view.made_at_s, *ends.tolist()]
    end_s = max((at_s for at_s in times if math.isfinite(at_s)), default=0.0)
    first = (view.ended_at_s[:1] - view.step_s).tolist()
    start_s = min([*first, view.made_at_s] if math.isfinite(view.made_at_s) else first, default=0.0)
    return start_s, end_s


def _top(view: View) -> float:
    """Return where the axis ends: above all that was wanted, and above what bounds usually are."""
    _, ahead = view.ahead()
    demand, bound = (column[np.isfinite(column)] for column in (view.demand, view.bound))
    usual = float(np.percentile(bound, 98)) if len(bound) else 0.0
    most = max([usual, *demand.tolist(), *ahead[1][np.isfinite(ahead[1])].tolist()], default=0.0)
    return nice_top(1.02 * most, view.resource.kind) if most > _LEAST_TOP else 1.0


def nice_top(most: float, kind: Kind) -> float:
    """Return a number that is round in the units of a kind, in four parts, and not below `most`."""
    unit = (
        1024.0 ** math.floor(math.log(most, 1024.0)) if unit_of(kind).startswith("bytes") else 1.0
    )
    power = unit * 10.0 ** math.floor(math.log10(most / unit))
    return next(part * power for part in _PARTS if part * power >= most * (1 - 1e-9))


def _levels(top: float) -> list[float]:
    """Return what the labelled rows stand for, the highest first."""
    return [top * (1 - at / _ROWS) for at in range(0, _ROWS, _LABELLED_ROWS)]


def level_labels(kind: Kind, levels: Sequence[float]) -> list[str]:
    """Return what stands at levels > 0, highest first: with more digits where two read alike."""
    labels = [bare_text(kind, level) for level in levels]
    if len(set(labels)) == len(labels) or unit_of(kind).startswith("bytes"):
        return labels
    decimals = 2 - math.floor(math.log10(levels[0]))
    return [f"{level:.{decimals}f}" for level in levels]


def _draw_past(canvas: Canvas, view: View, across: _Across, top: float) -> None:
    """Draw the band of each step, then what was wanted over it, step by step."""
    dot = top / (_ROWS * _DOTS_HIGH)
    ends = view.ended_at_s.tolist()
    starts = [end_s - view.step_s for end_s in ends]
    columns = (view.demand, view.expected, view.bound, view.is_above)
    steps = list(zip(starts, ends, *(column.tolist() for column in columns), strict=True))
    for start_s, end_s, _, low, high, _ in steps:
        _band(canvas, across.dot(start_s), across.dot(end_s), (low, high), dot, _BAND)
    before = math.nan
    for start_s, end_s, demand, _, _, is_above in steps:
        colour = _ABOVE if is_above else None
        if math.isfinite(demand):
            left, right = across.dot(start_s), max(across.dot(end_s) - 1, across.dot(start_s))
            if math.isfinite(before):
                canvas.line(left, _within(before, top), left, _within(demand, top), color=colour)
            canvas.line(left, _within(demand, top), right, _within(demand, top), color=colour)
        before = demand


def _draw_ahead(canvas: Canvas, view: View, across: _Across, top: float) -> None:
    """Draw the moment of the forecast, and the band from it on."""
    ends, bounds = view.ahead()
    if not len(ends) or view.forecast is None or view.forecast.expected is None:
        return
    dot, start = top / (_ROWS * _DOTS_HIGH), across.dot(view.made_at_s)
    for end_s, high in zip(ends.tolist(), bounds[1].tolist(), strict=True):
        end = across.dot(end_s)
        _band(canvas, start + 1, end + 1, (view.forecast.expected, high), dot, _AHEAD)
        start = end
    now = across.dot(view.made_at_s)
    for row in range(_ROWS):
        canvas.text(now, (row + 0.5) * top / _ROWS, "│", color=_NOW)


def _band(
    canvas: Canvas, left: int, right: int, between: tuple[float, float], dot: float, colour: str
) -> None:
    """Draw the upper edge of a rectangle, and few enough dots in it that lines are seen."""
    low, high = between
    if not (math.isfinite(low) and low <= high < math.inf):
        return
    top = dot * _ROWS * _DOTS_HIGH
    low = _within(low, top)
    first, last = math.ceil(low / dot), math.ceil(_within(high, top) / dot)
    for x in range(left, right):
        canvas.point(x, _within(high, top), color=colour)
        if x % _DOTS_WIDE == 0:
            for y in range(first + (x - first) % _DOTS_HIGH, last, _DOTS_HIGH):
                canvas.point(x, y * dot, color=colour)


def _within(value: float, top: float) -> float:
    """Return a value as it is drawn: what is above the axis lies on its end."""
    return min(value, top * (1 - 0.5 / (_ROWS * _DOTS_HIGH)))


def _time_axis(zero: str, across: _Across, columns: int) -> Sequence[str]:
    """Return the axis and its times, at round ones."""
    span_s = across.end_s - across.start_s
    most = max(columns // _SPAN_OF_TICKS, 1)
    every_s = next((nice for nice in _NICE_S if span_s / nice <= most), _NICE_S[-1])
    form = "%H:%M" if span_s <= _DAY_S else "%b %d %H:%M"
    axis, times = ["─"] * columns, [" "] * (columns + len(form) + 12)
    for at_s in _round_times(across.start_s, across.end_s, float(every_s)):
        place = across.dot(at_s) // _DOTS_WIDE
        axis[place] = "┬"
        text = datetime.fromtimestamp(at_s).astimezone().strftime(form)
        if place + len(text) <= columns:
            times[place : place + len(text)] = text
    return [f"{zero} └{''.join(axis)}", " " * (len(zero) + 2) + "".join(times).rstrip()]


def _round_times(start_s: float, end_s: float, every_s: float) -> Floats:
    """Return times that a clock shows as round, local time."""
    offset = datetime.fromtimestamp(start_s).astimezone().utcoffset()
    shift_s = 0.0 if offset is None else offset.total_seconds()
    first = math.ceil((start_s + shift_s) / every_s) * every_s - shift_s
    return np.arange(first, end_s, every_s, dtype=np.float64)
